// Sums of embeddings that lie side by side in a sample's row, and their adjoint.  See `nn/pairs.py`.
//
// Contract
//   x, gradient (n, n_fields DIM or more), whose rows may lie apart, and begin anywhere: behind a linear term, say
//   total, upstream (n, DIM);  result (n);  n < 2^31
//   A thread has one coordinate of a sample, so all is coalesced.  All are the CPU's bits, half squares where DIM is a power
//   of two (the tree of their sum).
#include "numbers.cuh"

constexpr int WIDE = vector_width<COMPUTE>(DIM);
constexpr int VECTORS = DIM / WIDE;
constexpr int LANES = lanes_for(VECTORS);
constexpr int EACH = (VECTORS + LANES - 1) / LANES;

// total += the sum of the embeddings
extern "C" __global__ void __launch_bounds__(256) sum_fields(
    const COMPUTE* x, int64 x_row, int64 n, int32 n_fields, COMPUTE* total
) {
    const int64 i = thread_number() / DIM, c = thread_number() % DIM;
    if (i >= n) return;
    COMPUTE sum = total[i * DIM + c];
#pragma unroll 4
    for (int32 f = 0; f < n_fields; f++) sum += x[i * x_row + (int64)f * DIM + c];
    total[i * DIM + c] = sum;
}

// result += |total|^2 / 2
extern "C" __global__ void __launch_bounds__(256) half_squares(const COMPUTE* total, int64 n, COMPUTE* result) {
    const int64 i = thread_number() / LANES;
    if (i >= n) return;
    const int lane = threadIdx.x % LANES;
    COMPUTE squares[EACH][WIDE] = {};
#pragma unroll
    for (int e = 0; e < EACH; e++) {
        if (lane + e * LANES >= VECTORS) break;
#pragma unroll
        for (int c = 0; c < WIDE; c++) {
            const COMPUTE number = total[i * DIM + (lane + e * LANES) * WIDE + c];
            squares[e][c] = number * number * (COMPUTE)0.5;
        }
    }
    const COMPUTE sum = row_sum<LANES>(squares);
    if (lane == 0) result[i] += sum;
}

// gradient of each embedding = upstream, or += unless `fresh`
extern "C" __global__ void __launch_bounds__(256) add_to_fields(
    const COMPUTE* upstream, int64 n, int32 n_fields, int32 fresh, COMPUTE* gradient, int64 gradient_row
) {
    const int64 i = thread_number() / DIM, c = thread_number() % DIM;
    if (i >= n) return;
    const COMPUTE one = upstream[i * DIM + c];
#pragma unroll 4
    for (int32 f = 0; f < n_fields; f++) {
        COMPUTE* place = gradient + i * gradient_row + (int64)f * DIM + c;
        *place = fresh ? one : one + *place;
    }
}
