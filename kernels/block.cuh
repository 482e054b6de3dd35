// Sums and prefix sums over the threads of one block.
#pragma once
#include "numbers.cuh"

// Exclusive prefix sum over the block's THREADS threads; *total is the sum of all.  Every thread must call it.
template <int THREADS, typename T>
__device__ __forceinline__ T prefix_sum(T number, T* total) {
    __shared__ T of_warp[THREADS / 32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    T sum = number;
#pragma unroll
    for (int distance = 1; distance < 32; distance *= 2) {
        const T before = __shfl_up_sync(0xffffffffu, sum, distance);
        if (lane >= distance) sum += before;
    }
    if (lane == 31) of_warp[warp] = sum;
    __syncthreads();
    T before = 0, all = 0;
    for (int w = 0; w < THREADS / 32; w++) {
        if (w == warp) before = all;
        all += of_warp[w];
    }
    __syncthreads();  // before the next call writes again
    *total = all;
    return before + sum - number;
}

// Sum over the block in a fixed tree; thread 0 has it.  Every thread must call it.
template <int THREADS, typename T>
__device__ __forceinline__ T block_sum(T number) {
    __shared__ T part[THREADS];
    part[threadIdx.x] = number;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
        __syncthreads();
    }
    const T sum = part[0];
    __syncthreads();
    return sum;
}
