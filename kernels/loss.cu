// Sums over the samples of a batch, and the largest of their numbers.  The loss itself is elementwise (Numba).
//
// Contract
//   Part p of n samples begins at sample n p / parts; a block sums a part in a fixed tree, so sums have the same bits on
//   every schedule, and in fixed point those of the CPU.  Losses are added as integers: in any order the same.
#include "block.cuh"

constexpr int THREADS = 256;

// The sum of the losses (float64, none negative) of part p, as deshpc.backend.exact_sum has it: sums (parts, 2) high and low,
// of multiples of 2^-15 and 2^-50 of losses below 2^20; beyond[p] that of all others, NaN among them.
extern "C" __global__ void __launch_bounds__(256) sum_losses(
    const double* losses, int64 n, int32 parts, int64* sums, double* beyond
) {
    const int64 part = blockIdx.x;
    int64 high = 0, low = 0;
    double rest = 0.0;
    for (int64 i = n * part / parts + threadIdx.x; i < n * (part + 1) / parts; i += THREADS) {
        const double loss = losses[i];
        if (loss < 1048576.0) {
            const double scaled = loss * 32768.0;
            const int64 whole = (int64)scaled;
            high += whole;
            low += (int64)((scaled - (double)whole) * 34359738368.0 + 0.5);
        } else {
            rest += loss;
        }
    }
    high = block_sum<THREADS>(high);
    low = block_sum<THREADS>(low);
    rest = block_sum<THREADS>(rest);
    if (threadIdx.x == 0) {
        sums[2 * part] = high;
        sums[2 * part + 1] = low;
        beyond[part] = rest;
    }
}

// sums[p] = sum of the gradients of part p: the bias's
extern "C" __global__ void __launch_bounds__(256) sum_gradient(
    const COMPUTE* gradient, int64 n, int32 parts, double scale, SUM* sums
) {
    const int64 part = blockIdx.x;
    SUM total = 0;
    for (int64 i = n * part / parts + threadIdx.x; i < n * (part + 1) / parts; i += THREADS)
        total = add_term(total, gradient[i], scale);
    total = block_sum<THREADS>(total);
    if (threadIdx.x == 0) sums[part] = total;
}

// counts[label from one half on, bin of the logit] += 1: bins of 1 / 64 around 0, outermost for whatever lies outside,
// the first for NaN.  A label that is NaN is not counted.
// counts (2, BINS) int64; each block counts in shared memory first, since most samples fall into few bins.
constexpr int BINS = 1024;
extern "C" __global__ void __launch_bounds__(256) count_scores(
    const COMPUTE* logit, const float* labels, int64 n, int64* counts
) {
    __shared__ uint32 found[2 * BINS];
    for (int slot = threadIdx.x; slot < 2 * BINS; slot += THREADS) found[slot] = 0;
    __syncthreads();
    for (int64 i = thread_number(); i < n; i += (int64)gridDim.x * THREADS) {
        if (labels[i] != labels[i]) continue;
        const double place = ((double)logit[i] + BINS / 128) * 64.0;
        const int bin = (int)fmin(fmax(place, 0.0), BINS - 1.0);
        atomicAdd(found + (labels[i] >= 0.5f ? BINS : 0) + bin, 1u);
    }
    __syncthreads();
    for (int slot = threadIdx.x; slot < 2 * BINS; slot += THREADS)
        if (found[slot] != 0) atomicAdd((uint64*)counts + slot, (uint64)found[slot]);
}

// total[i] = sums of all parts (parts, n), added in order; they become zero.
extern "C" __global__ void __launch_bounds__(256) sum_parts(SUM* sums, int32 parts, int64 n, SUM* total) {
    const int64 i = thread_number();
    if (i >= n) return;
    SUM all = 0;
    for (int part = 0; part < parts; part++) {
        all += sums[part * n + i];
        sums[part * n + i] = 0;
    }
    total[i] = all;
}

// Whether (a, i) goes before (b, j): NaN before all, then the larger number, then the earlier sample.
__device__ __forceinline__ bool goes_before(double a, int64 i, double b, int64 j) {
    const bool a_is_no_number = a != a, b_is_no_number = b != b;
    if (a_is_no_number != b_is_no_number) return a_is_no_number;
    if (a_is_no_number || a == b) return i < j;
    return a > b;
}

// The worst of the numbers of each block's samples, none of which is below 0, and its sample: (0, 0) where all are 0.
extern "C" __global__ void __launch_bounds__(256) worst(const double* numbers, int64 n, double* worst_numbers, int64* samples) {
    __shared__ double number[THREADS];
    __shared__ int64 sample[THREADS];
    const int t = threadIdx.x;
    double most = 0.0;
    int64 where = 0;
    for (int64 i = thread_number(); i < n; i += (int64)gridDim.x * THREADS) {
        if (goes_before(numbers[i], i, most, where)) {
            most = numbers[i];
            where = i;
        }
    }
    number[t] = most;
    sample[t] = where;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (t < half && goes_before(number[t + half], sample[t + half], number[t], sample[t])) {
            number[t] = number[t + half];
            sample[t] = sample[t + half];
        }
        __syncthreads();
    }
    if (t == 0) {
        worst_numbers[blockIdx.x] = number[0];
        samples[blockIdx.x] = sample[0];
    }
}

// largest[i] = the largest |value| of sample i (1 where there are none), or |dense feature|.  offsets count from the first.
extern "C" __global__ void __launch_bounds__(256) largest_values(
    const int64* offsets, int64 samples, const float* values, const float* dense, int32 n_dense, double* largest
) {
    const int64 i = thread_number();
    if (i >= samples) return;
    double most = VALUES == 0 ? 1.0 : 0.0;
    const int64 begin = offsets[i] - offsets[0], end = offsets[i + 1] - offsets[0];
    for (int64 place = VALUES * begin; place < VALUES * end; place++) most = fmax(most, fabs((double)values[place]));
    for (int f = 0; f < n_dense; f++) most = fmax(most, fabs((double)dense[i * n_dense + f]));
    largest[i] = most;
}
