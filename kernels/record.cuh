// The record of a row, byte for byte that of `backend/record.py`:
//   0 key uint64 | .. | linear weight, in front of 16 | 16 embedding | its state | state of the linear weight |
//   last step uint32 | count uint32 | field uint32 | padding to 32 bytes
// and where rows lie: chunks of 2^16 records, whose addresses are in an array.  Row numbers and byte offsets are 64 bits.
#pragma once
#include "numbers.cuh"

constexpr int EMBEDDING = 16;
constexpr int CHUNK_ROWS_LOG2 = 16;

__device__ __forceinline__ int64 record_address(const int64* chunks, int64 record_bytes, int64 row) {
    return chunks[row >> CHUNK_ROWS_LOG2] + (row & ((1 << CHUNK_ROWS_LOG2) - 1)) * record_bytes;
}

// The compiler cannot know that a number is an address in global memory; told, it uses loads that are for that alone.
template <typename T>
__device__ __forceinline__ T* at(int64 address, int64 offset = 0) {
    return (T*)__cvta_global_to_generic((uint64)(address + offset));
}
