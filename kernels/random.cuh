// Counter-based random numbers, the same as `hashing/splitmix.py`: SplitMix64's output function, folded over words.
#pragma once
#include "numbers.cuh"

__device__ __forceinline__ uint64 mix64(uint64 x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    return x ^ (x >> 31);
}

__device__ __forceinline__ uint64 fold(uint64 state, uint64 word) { return mix64((state ^ word) + 0x9E3779B97F4A7C15ull); }

// The top 24 bits in [-1, 1): exact.
__device__ __forceinline__ float uniform24(uint64 x) { return ((float)(int64)(x >> 40) - 8388607.5f) * 0x1p-23f; }
