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
        // no branch between the loads and a bucket's verdict: both are under way before anything waits for either
        const uint32 hits = (low.x == key) | (low.y == key) << 1 | (high.x == key) << 2 | (high.y == key) << 3;
        const bool ends = (low.x == 0) | (low.y == 0) | (high.x == 0) | (high.y == 0);
        if (hits != 0 || ends) return hits == 0 ? NO_SLOT : (uint32)(4 * bucket) + __ffs((int)hits) - 1;
    }
}

// Claim a slot for the key, or find the one that another thread has claimed for it; `is_new` tells whose it was.
// There must be room.  Keys are only ever written here, by compare-and-swap.
__device__ __forceinline__ uint32 claim_slot(uint64* buckets, uint64 mask, uint64 key, bool* is_new) {
    for (uint64 bucket = key & mask;; bucket = (bucket + 1) & mask) {
        for (int place = 0; place < 4; place++) {
            uint64* slot = buckets + 8 * bucket + place;
            // looking first: most slots on the way hold other keys, and a frequent new key is soon there
            uint64 held = *(volatile uint64*)slot;
            if (held == 0) held = atomicCAS(slot, 0ull, key);
            if (held == 0 || held == key) {
                *is_new = held == 0;
                return (uint32)(4 * bucket) + place;
            }
        }
    }
}
