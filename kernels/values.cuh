// The values of occurrences in their three forms (VALUES = 0, 1 or 2 numbers an occurrence; see `backend/values.py`).
#pragma once
#include "numbers.cuh"

// x by which an occurrence multiplies its embedding.
template <typename T>
__device__ __forceinline__ T embedding_value(const float* values, int64 occurrence) {
    return VALUES == 0 ? (T)1 : (T)values[VALUES * occurrence];
}

// x by which an occurrence multiplies its linear weight.
template <typename T>
__device__ __forceinline__ T linear_value(const float* values, int64 occurrence) {
    return VALUES == 0 ? (T)1 : (T)values[VALUES * occurrence + VALUES - 1];
}
