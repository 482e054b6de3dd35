// xDeepFM's compressed interaction network, but for its matrix products.  See `nn/cin.py`.
//
// Contract
//   A row of maps is one coordinate c of a sample's embeddings: row i dim + c.  maps (rows, width), first (rows, fields).
//   A thread makes one number of the result, by its own loop: sums are added in order.
#include "numbers.cuh"

// first (n dim, fields) = embeddings (n, fields dim), turned
extern "C" __global__ void __launch_bounds__(256) by_coordinate(
    const COMPUTE* embeddings, int64 embeddings_row, int64 n, int32 dim, int32 fields, COMPUTE* first
) {
    const int64 place = thread_number();
    if (place >= n * dim * fields) return;
    const int64 row = place / fields, i = row / dim;
    first[place] = embeddings[i * embeddings_row + place % fields * dim + row % dim];
}

// embeddings = first turned back, or += with `add`
extern "C" __global__ void __launch_bounds__(256) by_field(
    const COMPUTE* first, int64 n, int32 dim, int32 fields, COMPUTE* embeddings, int64 embeddings_row, int32 add
) {
    const int64 place = thread_number(), width = (int64)dim * fields;
    if (place >= n * width) return;
    const int64 i = place / width, f = place % width / dim, c = place % dim;
    COMPUTE* target = embeddings + i * embeddings_row + place % width;
    const COMPUTE number = first[(i * dim + c) * fields + f];
    *target = add ? *target + number : number;
}

// out (rows, width fields) = every map times every field
extern "C" __global__ void __launch_bounds__(256) products(
    const COMPUTE* maps, int64 rows, int32 width, const COMPUTE* first, int32 fields, COMPUTE* out
) {
    const int64 place = thread_number();
    if (place >= rows * width * fields) return;
    out[place] = maps[place / fields] * first[place / fields / width * fields + place % fields];
}

// of_maps = sum_f upstream first_f;  of_first += sum_h upstream maps_h.  upstream (rows, width fields)
extern "C" __global__ void __launch_bounds__(256) products_adjoint(
    const COMPUTE* upstream, const COMPUTE* maps, int64 rows, int32 width, const COMPUTE* first, int32 fields, COMPUTE* of_maps,
    COMPUTE* of_first
) {
    const int64 number = thread_number(), r = number / (width + fields);
    if (r >= rows) return;
    const int32 j = (int32)(number % (width + fields));
    const COMPUTE* own = upstream + r * width * fields;
    COMPUTE total = 0;
    if (j < width) {
        for (int32 f = 0; f < fields; f++) total = multiply_add(own[(int64)j * fields + f], first[r * fields + f], total);
        of_maps[r * width + j] = total;
    } else {
        for (int32 h = 0; h < width; h++) total = multiply_add(own[(int64)h * fields + j - width], maps[r * width + h], total);
        of_first[r * fields + j - width] += total;
    }
}

// out (n, width) = the sum of each sample's rows of maps
extern "C" __global__ void __launch_bounds__(256) sum_coordinates(
    const COMPUTE* maps, int64 n, int32 dim, int32 width, COMPUTE* out, int64 out_row
) {
    const int64 place = thread_number(), i = place / width, h = place % width;
    if (i >= n) return;
    COMPUTE total = 0;
    for (int32 c = 0; c < dim; c++) total += maps[(i * dim + c) * width + h];
    out[i * out_row + h] = total;
}

// each sample's rows of of_maps = gradient (n, width), or += with `add`
extern "C" __global__ void __launch_bounds__(256) spread_coordinates(
    const COMPUTE* gradient, int64 gradient_row, int64 n, int32 dim, int32 width, COMPUTE* of_maps, int32 add
) {
    const int64 place = thread_number(), row = place / width;
    if (row >= n * dim) return;
    const COMPUTE number = gradient[row / dim * gradient_row + place % width];
    of_maps[place] = add ? of_maps[place] + number : number;
}
