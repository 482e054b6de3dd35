// Keys without rows, whose sights are counted until they get one.  See `backend/cpu/admission.py`.
//
// Contract
//   They lie in buckets like those of an index (index.cuh): in place of a row's number is the number of sights, in place of its mark
//   one more than the step of the last sight.  A key that has got its row has 0 sights, as one that has never been seen.
//   slots (n) uint32 : of lookup.cu's find; keys (n) that have none are waiting ones, or new
//   Phases, each a kernel, as in lookup.cu:  enter_keys -> count_sights -> admit_keys
//   A step is one sight: of all threads that ask for a key the first to leave the step's mark counts it.  What becomes of the key
//   depends on key and sights alone, so it is the same on every schedule, and the CPU's.
//   entries (2) int64 : keys that are there, and how many of them have 0 sights
#include "index.cuh"
#include "random.cuh"

// Add each thread's number, -1, 0 or 1, to a total: an atomic a warp.  Every thread must call it.
__device__ __forceinline__ void add_up(int32 number, int64* total) {
    const int32 more = __popc(__ballot_sync(0xffffffffu, number > 0)), fewer = __popc(__ballot_sync(0xffffffffu, number < 0));
    if (threadIdx.x % 32 == 0 && more != fewer) atomicAdd((uint64*)total, (uint64)(int64)(more - fewer));
}

// places[j] = the slot among the waiting keys of a key that has no row, which gets one if it has none; NO_SLOT of others.
// There must be room.
extern "C" __global__ void __launch_bounds__(256) enter_keys(
    const uint64* keys, int64 n, const uint32* slots, uint64* buckets, uint64 mask, int64* entries, uint32* places
) {
    const int64 j = thread_number();
    bool is_new = false;
    if (j < n) {
        uint32 place = NO_SLOT;
        if (keys[j] != 0 && slots[j] == NO_SLOT) place = claim_slot(buckets, mask, keys[j], &is_new);
        places[j] = place;
    }
    add_up(is_new, entries);
    add_up(is_new, entries + 1);
}

// Count the sight of every key that has a place: it has 0 sights then if it gets its row, by the chance that a hash decides.
extern "C" __global__ void __launch_bounds__(256) count_sights(
    const uint64* keys, int64 n, const uint32* places, uint64* buckets, uint32 step, int64 after, uint64 seed, uint64 threshold,
    int64* entries
) {
    const int64 j = thread_number();
    const uint32 mark = step + 1;
    int32 change = 0;
    if (j < n && places[j] != NO_SLOT) {
        uint32* held = mark_at(buckets, places[j]);
        // looking first: a frequent key is nearly always marked already
        if (*(volatile uint32*)held != mark && atomicExch(held, mark) != mark) {
            int32* count = row_at(buckets, places[j]);
            const int32 before = *count, sights = before + 1;
            const bool admitted = sights >= after && (fold(fold(seed, keys[j]), (uint64)sights) >> 32) < threshold;
            *count = admitted ? 0 : sights;
            change = (int32)admitted - (int32)(before == 0);
        }
    }
    add_up(change, entries + 1);
}

// Give the keys that have 0 sights now a slot in the index, as lookup.cu's claim; they are as if never seen from here on.
extern "C" __global__ void __launch_bounds__(256) admit_keys(
    const uint64* keys, int64 n, const uint32* places, uint64* waiting, uint64* buckets, uint64 mask, uint32* slots
) {
    const int64 j = thread_number();
    if (j >= n || places[j] == NO_SLOT || *row_at(waiting, places[j]) != 0) return;
    bool is_new;
    const uint32 slot = claim_slot(buckets, mask, keys[j], &is_new);
    if (is_new) {
        *row_at(buckets, slot) = -1;
        *mark_at(waiting, places[j]) = 0;
    }
    slots[j] = slot;
}

// Enter the keys of `old` (`count` buckets) that have sights into empty buckets that have room, one thread a bucket.
extern "C" __global__ void __launch_bounds__(256) move_sights(const uint64* old, int64 count, uint64* buckets, uint64 mask) {
    const int64 bucket = thread_number();
    if (bucket >= count) return;
    for (int place = 0; place < 4; place++) {
        const uint64 key = old[8 * bucket + place];
        const uint32 slot = (uint32)(4 * bucket) + place;
        const int32 sights = *row_at((uint64*)old, slot);
        if (key == 0 || sights == 0) continue;
        bool is_new;
        const uint32 to = claim_slot(buckets, mask, key, &is_new);
        *row_at(buckets, to) = sights;
        *mark_at(buckets, to) = *mark_at((uint64*)old, slot);
    }
}
