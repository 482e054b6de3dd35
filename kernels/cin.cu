// xDeepFM's compressed interaction network, but for its matrix products.  See `nn/cin.py`.
//
// Contract
//   A row of maps (n dim, H) is one coordinate of a sample;  first (n dim, fields) : the embeddings
//   embeddings (n, fields dim), out and gradient (n, H) may have rows that lie apart;  upstream and products (r, H fields)
//   A thread has one number and adds up in order: the same bits on every schedule.
#include "numbers.cuh"

// first[i dim + c, f] = embeddings[i, f dim + c]
extern "C" __global__ void __launch_bounds__(256) by_coordinate(
    const COMPUTE* embeddings, int64 embeddings_row, int64 n, int32 fields, int32 dim, COMPUTE* first
) {
    const Quotient place = divide(thread_number(), fields), row = divide(place.whole, dim);
    if (row.whole < n) first[thread_number()] = embeddings[row.whole * embeddings_row + place.rest * dim + row.rest];
}

// The inverse, or += with `add`
extern "C" __global__ void __launch_bounds__(256) by_field(
    const COMPUTE* first, int64 n, int32 fields, int32 dim, COMPUTE* embeddings, int64 embeddings_row, int32 add
) {
    const Quotient place = divide(thread_number(), (int64)fields * dim), field = divide(place.rest, dim);
    if (place.whole >= n) return;
    const COMPUTE number = first[(place.whole * dim + field.rest) * fields + field.whole];
    COMPUTE* to = embeddings + place.whole * embeddings_row + place.rest;
    *to = add ? *to + number : number;
}

// out = every map times every field
extern "C" __global__ void __launch_bounds__(256) products(
    const COMPUTE* maps, int64 rows, int32 h, const COMPUTE* first, int32 fields, COMPUTE* out
) {
    const Quotient place = divide(thread_number(), fields);
    if (place.whole >= rows * h) return;
    out[thread_number()] = maps[place.whole] * first[divide(place.whole, h).whole * fields + place.rest];
}

// of_maps = sum_f upstream first_f
extern "C" __global__ void __launch_bounds__(256) products_by_maps(
    const COMPUTE* upstream, int64 rows, int32 h, const COMPUTE* first, int32 fields, COMPUTE* of_maps
) {
    const int64 number = thread_number(), row = divide(number, h).whole;
    if (row >= rows) return;
    COMPUTE total = 0;
#pragma unroll 4
    for (int32 f = 0; f < fields; f++) total += upstream[number * fields + f] * first[row * fields + f];
    of_maps[number] = total;
}

// of_first += sum_h upstream maps_h
extern "C" __global__ void __launch_bounds__(256) products_by_first(
    const COMPUTE* upstream, const COMPUTE* maps, int64 rows, int32 h, int32 fields, COMPUTE* of_first
) {
    const Quotient place = divide(thread_number(), fields);
    if (place.whole >= rows) return;
    COMPUTE total = 0;
#pragma unroll 4
    for (int64 map = place.whole * h; map < (place.whole + 1) * h; map++) total += upstream[map * fields + place.rest] * maps[map];
    of_first[thread_number()] += total;
}

// out = the sum of each sample's rows of maps
extern "C" __global__ void __launch_bounds__(256) sum_coordinates(
    const COMPUTE* maps, int64 n, int32 h, int32 dim, COMPUTE* out, int64 out_row
) {
    const Quotient place = divide(thread_number(), h);
    if (place.whole >= n) return;
    COMPUTE total = 0;
#pragma unroll 4
    for (int32 c = 0; c < dim; c++) total += maps[(place.whole * dim + c) * h + place.rest];
    out[place.whole * out_row + place.rest] = total;
}

// each sample's rows of of_maps = gradient, or += with `add`
extern "C" __global__ void __launch_bounds__(256) spread_coordinates(
    const COMPUTE* gradient, int64 gradient_row, int64 n, int32 h, int32 dim, COMPUTE* of_maps, int32 add
) {
    const Quotient place = divide(thread_number(), h);
    const int64 i = divide(place.whole, dim).whole;
    if (i >= n) return;
    const COMPUTE number = gradient[i * gradient_row + place.rest];
    COMPUTE* to = of_maps + thread_number();
    *to = add ? *to + number : number;
}
