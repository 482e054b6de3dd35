// A batch's keys in the index of one shard: where their rows are, and which of them are the same.
//
// Contract
//   keys (n) uint64, 0: no key;  n < 2^31
//   slots (n) uint32 : each key's slot;  firsts (n) int32 : the first occurrence of the same key, -1 without a slot
//   Phases, each a kernel, so that none reads what another thread of it may write:
//     find -> claim (what was not found) -> mark -> count -> (scan.cu) -> number -> locate -> table.cu: write_new
//   Where keys wait for a row, admission.cu has what takes the place of claim: it gives a slot to those alone that get a row.
//   The distinct keys are numbered in order of first appearance, and new rows are taken in that order: places and row
//   numbers are the same on every schedule, and those of the CPU.  Only slots depend on scheduling.
//   A slot's mark is a ticket: base + n - 1 - j for the first occurrence j of this batch.  Tickets of earlier batches are
//   below `base`, so nothing is cleared.
//   find reads a bucket's keys in two 16-byte loads, of which none waits for the other; everything else is coalesced but one access a key to its slot.
#include "block.cuh"
#include "index.cuh"
#include "record.cuh"

constexpr int THREADS = 256;
constexpr int ITEMS = 8;
constexpr int TILE = THREADS * ITEMS;

// slots[j] = the key's slot or NO_SLOT;  misses[0] += keys that have none.
extern "C" __global__ void __launch_bounds__(256) find(
    const uint64* keys, int64 n, const uint64* buckets, uint64 mask, uint32* slots, uint32* misses
) {
    const int64 j = thread_number();
    bool missed = false;
    if (j < n) {
        const uint64 key = keys[j];
        const uint32 slot = key == 0 ? NO_SLOT : find_slot(buckets, mask, key);
        slots[j] = slot;
        missed = key != 0 && slot == NO_SLOT;
    }
    const uint32 found = __ballot_sync(0xffffffffu, missed);
    if (threadIdx.x % 32 == 0 && found != 0) atomicAdd(misses, (uint32)__popc(found));
}

// Give the keys that have no slot one; a new slot's row number is -1.  There must be room.
extern "C" __global__ void __launch_bounds__(256) claim(
    const uint64* keys, int64 n, uint64* buckets, uint64 mask, uint32* slots
) {
    const int64 j = thread_number();
    if (j >= n || slots[j] != NO_SLOT || keys[j] == 0) return;
    bool is_new;
    const uint32 slot = claim_slot(buckets, mask, keys[j], &is_new);
    if (is_new) *row_at(buckets, slot) = -1;
    slots[j] = slot;
}

// Leave in every slot the ticket of its first occurrence.
extern "C" __global__ void __launch_bounds__(256) mark(const uint32* slots, int64 n, uint64* buckets, uint32 base) {
    const int64 j = thread_number();
    if (j >= n || slots[j] == NO_SLOT) return;
    const uint32 ticket = base + (uint32)(n - 1 - j);
    uint32* held = mark_at(buckets, slots[j]);
    // a frequent key is nearly always marked already: looking first keeps its thousands of occurrences from queueing
    if (*(volatile uint32*)held < ticket) atomicMax(held, ticket);
}

// firsts[j];  counts[tile] = distinct keys that appear first in the tile, and in the upper half those without a row.
extern "C" __global__ void __launch_bounds__(256) count(
    const uint32* slots, int64 n, const uint64* buckets, uint32 base, int32* firsts, uint64* counts
) {
    uint64 found = 0;
    for (int item = 0; item < ITEMS; item++) {
        const int64 j = (int64)blockIdx.x * TILE + item * THREADS + threadIdx.x;
        if (j >= n) break;
        int32 first = -1;
        const uint32 slot = slots[j];
        if (slot != NO_SLOT) {
            first = (int32)(n - 1 - (*mark_at((uint64*)buckets, slot) - base));
            if (first == j) found += *row_at((uint64*)buckets, slot) < 0 ? (1ull << 32) + 1 : 1ull;
        }
        firsts[j] = first;
    }
    found = block_sum<THREADS>(found);
    if (threadIdx.x == 0) counts[blockIdx.x] = found;
}

// What the counters were before this batch's new rows: taken = (distinct, new, NEXT, FREE), and count the new rows.
// counters (3) int64: live rows, next unused row, length of the list of free rows.  One thread.
extern "C" __global__ void __launch_bounds__(32) take_rows(const uint64* total, int64* counters, int64* taken) {
    if (thread_number() != 0) return;
    const int64 fresh = (int64)(total[0] >> 32), reused = least(fresh, counters[2]);
    taken[0] = (int64)(total[0] & 0xffffffffull);
    taken[1] = fresh;
    taken[2] = counters[1];
    taken[3] = counters[2];
    counters[0] += fresh;
    counters[1] += fresh - reused;
    counters[2] -= reused;
}

// Number the distinct keys from `first_place` on, give new ones rows, and tell where the records lie.
//   counts : their prefix sums;  numbers (n) int32 : set where a key appears first;  addresses (first_place + n) int64
//   fresh (n) int32 : the first occurrences of the new rows, in order;  free : numbers of free rows, used from the end
extern "C" __global__ void __launch_bounds__(256) number(
    const uint32* slots, const int32* firsts, int64 n, uint64* buckets, const uint64* counts, const int64* taken,
    int32 first_place, const int32* free, const int64* chunks, int64 record_bytes, int32* numbers, int64* addresses,
    int32* fresh
) {
    uint64 before = counts[blockIdx.x];
    for (int item = 0; item < ITEMS; item++) {
        const int64 j = (int64)blockIdx.x * TILE + item * THREADS + threadIdx.x;
        const bool first = j < n && firsts[j] == j;
        int64 row = first ? *row_at(buckets, slots[j]) : 0;
        uint64 sum;
        const uint64 own = before + prefix_sum<THREADS>((first ? 1ull : 0ull) + (row < 0 ? 1ull << 32 : 0ull), &sum);
        before += sum;
        if (!first) continue;
        if (row < 0) {
            const int64 rank = (int64)(own >> 32);
            row = rank < taken[3] ? free[taken[3] - 1 - rank] : taken[2] + rank - taken[3];
            *row_at(buckets, slots[j]) = (int32)row;
            fresh[rank] = (int32)j;
        }
        const int32 place = first_place + (int32)(own & 0xffffffffull);
        numbers[j] = place;
        addresses[place] = record_address(chunks, record_bytes, row);
    }
}

// local[j] = the place of occurrence j's key among the distinct ones; without a row 0, without a key `absent`;
// addresses beyond the distinct keys become 0.
extern "C" __global__ void __launch_bounds__(256) locate(
    const uint64* keys, const int32* firsts, int64 n, const int32* numbers, const int64* taken, int32 first_place, int32 absent, int32* local,
    int64* addresses
) {
    const int64 j = thread_number();
    if (j >= n) return;
    local[j] = firsts[j] >= 0 ? numbers[firsts[j]] : keys[j] == 0 ? absent : 0;
    if (j >= taken[0]) addresses[first_place + j] = 0;
}

// fields[c] = the field of distinct key c's row;  tail : where step, count and field of a record begin
extern "C" __global__ void __launch_bounds__(256) row_fields(
    const int64* addresses, int64 n, int64 tail, uint16* fields
) {
    const int64 c = thread_number();
    if (c >= n) return;
    fields[c] = addresses[c] == 0 ? 0 : (uint16)*at<uint32>(addresses[c], tail + 8);
}

// samples[j] = the sample that occurrence j belongs to; -1 beyond the last sample's.
extern "C" __global__ void __launch_bounds__(256) spread_samples(
    const int64* offsets, int64 count, int64 n, int32* samples
) {
    const int64 j = thread_number();
    if (j >= n) return;
    int64 low = 0, high = count;  // the last sample that does not begin behind j
    while (low < high) {
        const int64 middle = (low + high + 1) / 2;
        if (offsets[middle] <= j) low = middle; else high = middle - 1;
    }
    samples[j] = low < count ? (int32)low : -1;
}
