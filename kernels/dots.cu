// Dot products of all pairs of a sample's vectors, and their adjoint.  See `nn/dots.py`.
//
// FIELDS  embeddings of a sample, below 2^15
//
// Contract
//   n < 2^31
//   x, gradient (n, FIELDS DIM or more), whose rows may lie apart, and begin anywhere;  last, last_gradient (n, DIM)
//   result, upstream (n, width): the pairs from `column` on, in the order (1, 0), (2, 0), (2, 1), ...
//   A block has one sample, whose vectors lie in shared memory; where they have no room there, they are read from where they
//   are.  A thread has a pair, or, in the adjoint, some coordinates of a vector.  All are the CPU's bits.
#include "numbers.cuh"

constexpr int THREADS = 128;
constexpr int VECTORS = FIELDS + 1;
constexpr int PAIRS = FIELDS * VECTORS / 2;
constexpr int64 SHARED_BYTES = 48 << 10;

// An odd number of parts between the vectors: threads that read the same part of several meet no bank twice.
__host__ __device__ constexpr int pitch_of(int wide) { return (DIM / wide | 1) * wide; }

constexpr bool STAGED = ((int64)VECTORS * pitch_of(vector_width<COMPUTE>(DIM)) + PAIRS) * (int64)sizeof(COMPUTE) <= SHARED_BYTES;
constexpr int WIDE = STAGED ? vector_width<COMPUTE>(DIM) : 1;
constexpr int PITCH = pitch_of(WIDE);
constexpr int PARTS = DIM / WIDE;

__device__ __forceinline__ int place_of(int f, int h) { return f * (f - 1) / 2 + h; }

// Vector f of a sample: held, or of its row of x, or the last.
__device__ __forceinline__ const COMPUTE* vector_of(const COMPUTE* held, const COMPUTE* row, const COMPUTE* last, int f) {
    if (STAGED) return held + f * PITCH;
    return f < FIELDS ? row + (int64)f * DIM : last;
}

__device__ __forceinline__ void hold(const COMPUTE* row, const COMPUTE* last, COMPUTE* held) {
    for (int place = threadIdx.x; place < VECTORS * DIM; place += THREADS)
        held[place / DIM * PITCH + place % DIM] = place < FIELDS * DIM ? row[place] : last[place - FIELDS * DIM];
}

extern "C" __global__ void __launch_bounds__(128) dots(
    const COMPUTE* x, int64 x_row, const COMPUTE* last, COMPUTE* result, int32 width, int32 column
) {
    __shared__ __align__(16) COMPUTE held[STAGED ? VECTORS * PITCH : 1];
    const int64 i = blockIdx.x;
    const COMPUTE *row = x + i * x_row, *own = last + i * DIM;
    if (STAGED) {
        hold(row, own, held);
        __syncthreads();
    }
    int f = 1, begin = 0;  // the greater vector of a pair, and its pairs' begin
    for (int pair = threadIdx.x; pair < PAIRS; pair += THREADS) {
        for (; pair >= begin + f; f++) begin += f;
        const COMPUTE *one = vector_of(held, row, own, f), *other = vector_of(held, row, own, pair - begin);
        COMPUTE total = 0;
#pragma unroll 4
        for (int part = 0; part < PARTS; part++) {
            const Vector<COMPUTE, WIDE> a = load<COMPUTE, WIDE>(other + part * WIDE), b = load<COMPUTE, WIDE>(one + part * WIDE);
#pragma unroll
            for (int c = 0; c < WIDE; c++) total = multiply_add(a.number[c], b.number[c], total);
        }
        result[i * width + column + pair] = total;
    }
}

// gradient = sum_h u_fh e_h, or += unless `fresh`;  last_gradient += that of `last`
extern "C" __global__ void __launch_bounds__(128) dots_adjoint(
    const COMPUTE* x, int64 x_row, const COMPUTE* last, const COMPUTE* upstream, int32 width, int32 column,
    COMPUTE* gradient, int64 gradient_row, int32 fresh, COMPUTE* last_gradient
) {
    __shared__ __align__(16) COMPUTE held[STAGED ? VECTORS * PITCH : 1];
    __shared__ COMPUTE held_slopes[STAGED ? PAIRS : 1];
    const int64 i = blockIdx.x;
    const COMPUTE *row = x + i * x_row, *own = last + i * DIM;
    const COMPUTE* slopes = upstream + i * width + column;
    if (STAGED) {
        hold(row, own, held);
        for (int pair = threadIdx.x; pair < PAIRS; pair += THREADS) held_slopes[pair] = slopes[pair];
        __syncthreads();
        slopes = held_slopes;
    }
    for (int item = threadIdx.x; item < VECTORS * PARTS; item += THREADS) {
        const int f = item / PARTS, begin = item % PARTS * WIDE;
        COMPUTE total[WIDE];
        for (int turn = 0; turn < VECTORS; turn++) {
            const int h = turn == 0 ? FIELDS : turn - 1;  // the last vector comes first
            const COMPUTE slope = h < f ? slopes[place_of(f, h)] : h > f ? slopes[place_of(h, f)] : (COMPUTE)0;
            const Vector<COMPUTE, WIDE> vector = load<COMPUTE, WIDE>(vector_of(held, row, own, h) + begin);
#pragma unroll
            for (int c = 0; c < WIDE; c++)
                total[c] = turn == 0 ? vector.number[c] * slope : multiply_add(vector.number[c], slope, total[c]);
        }
        const bool is_last = f == FIELDS;
        COMPUTE* target = is_last ? last_gradient + i * DIM + begin : gradient + i * gradient_row + (int64)f * DIM + begin;
#pragma unroll
        for (int c = 0; c < WIDE; c++) target[c] = fresh && !is_last ? total[c] : total[c] + target[c];
    }
}
