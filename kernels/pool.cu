// Embeddings of a sample added up field by field: partial (E_f, c), and bounds for fixed point.  See `ops/pool.py`.
//
// Contract
//   samples and occurrences < 2^31;  fields (distinct) : of the rows; or, where SEATED is 1, (nnz), the seat of each occurrence
//   state (samples, ..): c at 0 if there is one, the sum E_f of field f at columns[f] .. columns[f] + DIM.  Sums of different
//   columns do not overlap.  `state` points to the first sample of a call, as offsets does; a row has fewer than 2^31 numbers.
//   Set besides: LINEAR, SQUARES, 0 or 1: whether c has the terms w xl, and - |v|^2 x^2 / 2;  SEATED, 0 or 1.
//   A group of LANES threads works on a sample, each on numbers of the embedding that it loads with 16 bytes (8 or 4 where
//   DIM is not a multiple of 4), so a row is one coalesced read; those of AHEAD occurrences are asked for at once.  What an
//   occurrence adds is added in memory, occurrence after occurrence: the CPU's bits.  c and magnitudes have them where DIM is
//   a power of two (the tree of |v|^2), c without squares for any DIM.
#include "embedding.cuh"
#include "values.cuh"

constexpr int AHEAD = EACH == 1 ? 4 : 1;
constexpr int WARP = 32;

// Set the first `columns` numbers of every sample to zero, one warp a sample.
extern "C" __global__ void __launch_bounds__(256) clear(SUM* state, int64 state_row, int64 samples, int64 columns) {
    const int64 i = thread_number() / WARP;
    if (i >= samples) return;
    for (int64 c = threadIdx.x % WARP; c < columns; c += WARP) state[i * state_row + c] = 0;
}

extern "C" __global__ void __launch_bounds__(256) partial(
    const int64* offsets, int64 samples, const int32* local, const float* values, const int64* addresses,
    const uint16* fields, const int64* columns, double scale, SUM* state, int64 state_row
) {
    const int64 i = thread_number() / LANES;
    if (i >= samples) return;
    const int lane = threadIdx.x % LANES;
    SUM* row = state + i * state_row;
    SUM scalar = 0;
    int64 j = offsets[i];
    for (int32 left = (int32)(offsets[i + 1] - j); left > 0; left -= AHEAD) {  // 32 bits: with 64 some forms spill
        Vector<NUMBER, WIDE> weights[AHEAD][EACH];
        NUMBER linear[AHEAD];
        int32 place[AHEAD];
#pragma unroll
        for (int a = 0; a < AHEAD; a++) {  // behind the last occurrence the last one again: no load waits for a comparison
            const int64 c = local[j + (a < left ? a : left - 1)], record = addresses[c];
            place[a] = (int32)columns[fields[SEATED == 1 ? j + (a < left ? a : left - 1) : c]];
            if (LINEAR == 1) linear[a] = *at<NUMBER>(record, EMBEDDING - (int64)sizeof(NUMBER));
#pragma unroll
            for (int e = 0; e < EACH; e++)
                if (lane + e * LANES < VECTORS)
                    weights[a][e] = load<NUMBER, WIDE>(at<NUMBER>(record, EMBEDDING) + (lane + e * LANES) * WIDE);
        }
#pragma unroll
        for (int a = 0; a < AHEAD; a++, j++) {
            if (a >= left) break;
            const COMPUTE x = embedding_value<COMPUTE>(values, j);
            COMPUTE squares[EACH][WIDE] = {};
#pragma unroll
            for (int e = 0; e < EACH; e++) {
                if (lane + e * LANES >= VECTORS) break;
                SUM* total = row + place[a] + (lane + e * LANES) * WIDE;
#pragma unroll
                for (int c = 0; c < WIDE; c++) {
                    const COMPUTE v = (COMPUTE)weights[a][e].number[c] * x;
                    total[c] = add_term(total[c], v, scale);
                    squares[e][c] = v * v * (COMPUTE)0.5;
                }
            }
            if (LINEAR == 1) scalar = add_product(scalar, (COMPUTE)linear[a], linear_value<COMPUTE>(values, j), scale);
            if (SQUARES == 1) scalar = add_term(scalar, -row_sum<LANES>(squares), scale);
        }
    }
    if ((LINEAR == 1 || SQUARES == 1) && lane == 0) row[0] += scalar;
}

// sizes[i] = the largest sum of |terms| of sample i's partial, as the CPU bounds it; groups take samples in turns
//   of_field (groups, n_fields) : scratch
extern "C" __global__ void __launch_bounds__(256) magnitude(
    const int64* offsets, int64 samples, const int32* local, const float* values, const int64* addresses,
    const uint16* fields, int64 n_fields, double* of_field, double* sizes
) {
    const int64 group = thread_number() / LANES, groups = (int64)gridDim.x * blockDim.x / LANES;
    const int lane = threadIdx.x % LANES;
    double* sums = of_field + group * n_fields;  // of the first lane
    for (int64 i = group; i < samples; i += groups) {
        const int32 begin = (int32)offsets[i], end = (int32)offsets[i + 1];  // 32 bits: with 64 some forms spill
        for (int32 j = begin; j < end && lane == 0; j++) sums[fields[SEATED == 1 ? j : local[j]]] = 0.0;
        double largest = 0.0, scalar = 0.0;
        for (int32 j = begin; j < end; j++) {
            const int64 c = local[j], record = addresses[c];
            const double x = embedding_value<double>(values, j);
            const double square = square_norm(record, lane) * x * x;
            scalar += square * (SQUARES == 1 ? 0.5 : 0.0);
            if (LINEAR == 1) {
                const double weight = (double)*at<NUMBER>(record, EMBEDDING - (int64)sizeof(NUMBER));
                scalar += fabs(weight * linear_value<double>(values, j));
            }
            if (lane == 0) {
                double* own = sums + fields[SEATED == 1 ? j : c];
                const double sum = *own + root(square);
                *own = sum;
                largest = sum > largest ? sum : largest;
            }
        }
        if (lane == 0) sizes[i] = scalar != scalar || scalar > largest ? scalar : largest;
    }
}

// terms[i] = a bound of the |terms| of gradients of sample i: x dE, g xl, g x^2; NaN where its gradient has one.  One warp a
// sample.
//   gradient (n, ..) : of the states, of which `width` columns are read;  largest_values (n) : the largest |x| or |xl|
extern "C" __global__ void __launch_bounds__(256) largest_term(
    const COMPUTE* gradient, int64 gradient_row, int64 width, const double* largest_values, int64 n, double* terms
) {
    const int64 i = thread_number() / WARP;
    if (i >= n) return;
    const int lane = threadIdx.x % WARP;
    double total = 0.0;
    for (int64 c = lane; c < width; c += WARP) {
        const double number = fabs((double)gradient[i * gradient_row + c]);
        if (!(number <= total) && total == total) total = number;
    }
#pragma unroll
    for (int half = WARP / 2; half > 0; half /= 2) {
        const double other = __shfl_xor_sync(0xffffffffu, total, half);
        if (!(other <= total) && total == total) total = other;
    }
    const double x = fmax(1.0, largest_values[i]);
    if (lane == 0) terms[i] = total * x * x;
}
