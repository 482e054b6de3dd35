// Who owns a key: the same as `hashing/partition.py`.
#pragma once
#include "numbers.cuh"

// owner_of_field : (fields) int64 where rows are split by field, null where by key
__device__ __forceinline__ int64 owner_of(uint64 key, uint16 field, int64 owners, const int64* owner_of_field) {
    return owner_of_field != nullptr ? owner_of_field[field] : (int64)(((key >> 32) * (uint64)owners) >> 32);
}
