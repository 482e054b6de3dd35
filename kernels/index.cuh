// The index of a shard: buckets of 64 bytes, four keys (one 32-byte sector), four row numbers, four marks.
//
// A key is looked for from its own bucket on (its low bits; keys are hashes), bucket by bucket; 0 is no key, and a bucket
// with an empty slot ends a search.  A slot's number is 4 bucket + place, below 2^32.
#pragma once
#include "numbers.cuh"

constexpr uint32 NO_SLOT = 0xffffffffu;

__device__ __forceinline__ int32* row_at(uint64* buckets, uint32 slot) {
    return (int32*)(buckets + 8ull * (slot / 4) + 4) + slot % 4;
}
__device__ __forceinline__ uint32* mark_at(uint64* buckets, uint32 slot) {
    return (uint32*)(buckets + 8ull * (slot / 4) + 6) + slot % 4;
}

// The key's slot, or NO_SLOT.  Nobody may be inserting.
__device__ __forceinline__ uint32 find_slot(const uint64* buckets, uint64 mask, uint64 key) {
    for (uint64 bucket = key & mask;; bucket = (bucket + 1) & mask) {
        const ulonglong2 low = *(const ulonglong2*)(buckets + 8 * bucket);
        const ulonglong2 high = *(const ulonglong2*)(buckets + 8 * bucket + 2);
        const uint32 first = (uint32)(4 * bucket);
        if (low.x == key) return first;
        if (low.y == key) return first + 1;
        if (high.x == key) return first + 2;
        if (high.y == key) return first + 3;
        if (low.x == 0 || low.y == 0 || high.x == 0 || high.y == 0) return NO_SLOT;
    }
}

// Claim a slot for the key, or find the one that another thread has claimed for it; `is_new` tells whose it was.
// There must be room.  Keys are only ever written here, by compare-and-swap.
__device__ __forceinline__ uint32 claim_slot(uint64* buckets, uint64 mask, uint64 key, bool* is_new) {
    for (uint64 bucket = key & mask;; bucket = (bucket + 1) & mask) {
        for (int place = 0; place < 4; place++) {
            const uint64 held = atomicCAS(buckets + 8 * bucket + place, 0ull, key);
            if (held == 0 || held == key) {
                *is_new = held == 0;
                return (uint32)(4 * bucket) + place;
            }
        }
    }
}
