// What rows have been through: decayed counts, and a look at which rows are given up.  See `table/eviction.py`, `backend/cpu/history.py`.
//
// Set by whoever compiles this file: NUMBER
//
// Contract
//   A look works on the slots of an index (index.cuh), one thread each, so that nobody has to know how many rows there are:
//     worths (slots) uint32 : rows of smaller ones are given up first: the bits of the decayed count, or the last step
//     verdicts (slots) uint8 : STAYS, GOES, NOBODY
//   look or look_at_waiting -> for each of two budgets at most, of which the digits of table/selection.py are asked for from the
//   top:  { count_digits -> (sum over ranks) -> pick_digit } -> cut -> move_staying and free_rows, or keep_waiting
//   state (4) int64 : the digits found so far, of worths and of ties, what is left of the budget, and whether all rows stay.
//   What decides is integers and comparisons: the same rows on every schedule, and the CPU's.  Freed row numbers are listed from the
//   largest on, so they do not depend on slots, either.
#include "block.cuh"
#include "index.cuh"
#include "random.cuh"
#include "record.cuh"

constexpr int THREADS = 256;
constexpr int ITEMS = 8;
constexpr int TILE = THREADS * ITEMS;
constexpr int MOST_DIGITS = 4096;
constexpr uint8 STAYS = 0, GOES = 1, NOBODY = 2;

// What lies in a slot: 0 is no key.
__device__ __forceinline__ uint64 key_in(const uint64* buckets, int64 slot) { return buckets[8 * (slot / 4) + slot % 4]; }
__device__ __forceinline__ int32 row_in(const uint64* buckets, int64 slot) { return *row_at((uint64*)buckets, (uint32)slot); }

// decayed (n) : the decayed counts of rows, which lie `place` bytes behind their records' begins
extern "C" __global__ void __launch_bounds__(256) read_decayed(
    const int32* rows, int64 n, const int64* chunks, int64 record_bytes, int64 place, float* decayed
) {
    const int64 j = thread_number();
    if (j < n) decayed[j] = *at<float>(record_address(chunks, record_bytes, rows[j]), place);
}

extern "C" __global__ void __launch_bounds__(256) write_decayed(const int64* addresses, int64 n, int64 place, const float* decayed) {
    const int64 j = thread_number();
    if (j < n) *at<float>(addresses[j], place) = decayed[j];
}

// Multiply the decayed counts of all rows; what is below `lowest` then is 0.
extern "C" __global__ void __launch_bounds__(256) shrink_decayed(
    const uint64* buckets, int64 slots, const int64* chunks, int64 record_bytes, int64 place, float factor, float lowest
) {
    const int64 slot = thread_number();
    if (slot >= slots || key_in(buckets, slot) == 0) return;
    float* count = at<float>(record_address(chunks, record_bytes, row_in(buckets, slot)), place);
    const float shrunk = *count * factor;
    *count = shrunk >= lowest ? shrunk : 0.0f;
}

// What every row is worth, and whether it goes whatever the budgets are.
//   decayed : where decayed counts lie in a record, negative where there are none;  low_count : a smaller one goes
//   oldest : a row whose last step is this one or an earlier one goes;  zero_oldest : so does one whose `weights` numbers from byte
//   `first` on are all 0;  each negative for none
extern "C" __global__ void __launch_bounds__(256) look(
    const uint64* buckets, int64 slots, const int64* chunks, int64 record_bytes, int64 tail, int64 decayed, float low_count,
    int64 oldest, int64 zero_oldest, int64 first, int32 weights, uint32* worths, uint8* verdicts
) {
    const int64 slot = thread_number();
    if (slot >= slots) return;
    if (key_in(buckets, slot) == 0) {
        worths[slot] = 0;
        verdicts[slot] = NOBODY;
        return;
    }
    const int64 record = record_address(chunks, record_bytes, row_in(buckets, slot));
    const uint32 last = *at<uint32>(record, tail);
    bool goes = (int64)last <= oldest;
    if (decayed >= 0) goes = goes || *at<float>(record, decayed) < low_count;
    if (!goes && (int64)last <= zero_oldest) {
        goes = true;
        for (int i = 0; i < weights && goes; i++) goes = at<NUMBER>(record, first)[i] == (NUMBER)0;
    }
    worths[slot] = decayed >= 0 ? *at<uint32>(record, decayed) : last;
    verdicts[slot] = goes ? GOES : STAYS;
}

// The same of keys that wait for a row, of admission.cu: one is worth the step of its last sight.
extern "C" __global__ void __launch_bounds__(256) look_at_waiting(
    const uint64* buckets, int64 slots, int64 oldest, uint32* worths, uint8* verdicts
) {
    const int64 slot = thread_number();
    if (slot >= slots) return;
    const bool waits = key_in(buckets, slot) != 0 && row_in(buckets, slot) != 0;
    const uint32 last = *mark_at((uint64*)buckets, (uint32)slot) - 1;
    worths[slot] = waits ? last : 0;
    verdicts[slot] = !waits ? NOBODY : (int64)last <= oldest ? GOES : STAYS;
}

// costs[digit] += what the rows cost that stay, have the digits found so far, and this one next: `bits` bits, `shift` from the
// right, of the worth or of the tie, which is a hash of the key
extern "C" __global__ void __launch_bounds__(256) count_digits(
    const uint64* buckets, int64 slots, const uint32* worths, const uint8* verdicts, const int64* state, int32 of_ties, int32 shift,
    int32 bits, int64 cost, int64* costs
) {
    __shared__ uint32 found[MOST_DIGITS];
    for (int digit = threadIdx.x; digit < MOST_DIGITS; digit += THREADS) found[digit] = 0;
    __syncthreads();
    const uint32 worth = (uint32)state[0];
    const uint64 tie = (uint64)state[1];
    const bool first = shift + bits == (of_ties ? 64 : 32);  // nothing of this number has been found yet
    for (int64 slot = thread_number(); slot < slots; slot += (int64)gridDim.x * THREADS) {
        if (verdicts[slot] != STAYS || state[3] != 0) continue;
        const uint64 number = of_ties ? mix64(key_in(buckets, slot)) : worths[slot];
        if (of_ties && worths[slot] != worth) continue;
        if (!first && number >> (shift + bits) != (of_ties ? tie : worth)) continue;
        atomicAdd(found + (int)(number >> shift & ((1u << bits) - 1)), 1u);
    }
    __syncthreads();
    for (int digit = threadIdx.x; digit < 1 << bits; digit += THREADS)
        if (found[digit] != 0) atomicAdd((uint64*)costs + digit, (uint64)(found[digit] * cost));
}

// Choose the digit below which rows go, above which they stay; costs become 0 again.  One block.
extern "C" __global__ void __launch_bounds__(256) pick_digit(int64* costs, int32 bits, int32 of_ties, int64* state) {
    const int digits = 1 << bits, each = (digits + THREADS - 1) / THREADS, begin = (int)threadIdx.x * each;
    const int64 budget = state[2];
    const bool all_stay = state[3] != 0;
    int64 own = 0, total;
    for (int digit = begin; digit < begin + each && digit < digits; digit++) own += costs[digit];
    const int64 before = prefix_sum<THREADS>(own, &total);
    int64 below = 0, above = 0, from_on = total - before;  // what rows of the digit and of greater ones cost
    for (int digit = begin; digit < begin + each && digit < digits; digit++) {
        if (from_on > budget) below++; else above += costs[digit];
        from_on -= costs[digit];
        costs[digit] = 0;
    }
    below = block_sum<THREADS>(below);
    above = block_sum<THREADS>(above);
    if (threadIdx.x != 0 || all_stay) return;
    if (below == 0) {
        state[3] = 1;
        return;
    }
    state[of_ties] = (int64)((uint64)state[of_ties] << bits | (uint64)(below - 1));
    state[2] = budget - above;
}

// Let the rows go that are worth no more than what pick_digit has found.
extern "C" __global__ void __launch_bounds__(256) cut(
    const uint64* buckets, int64 slots, const uint32* worths, const int64* state, uint8* verdicts
) {
    const int64 slot = thread_number();
    if (slot >= slots || verdicts[slot] != STAYS || state[3] != 0) return;
    const uint32 worth = (uint32)state[0];
    if (worths[slot] > worth) return;
    if (worths[slot] < worth || mix64(key_in(buckets, slot)) <= (uint64)state[1]) verdicts[slot] = GOES;
}

// Enter the rows that stay into the empty index `to`, which is as large; gone[row] = 1 for those that go.
extern "C" __global__ void __launch_bounds__(256) move_staying(
    const uint64* buckets, int64 slots, const uint8* verdicts, uint64* to, uint64 mask, uint8* gone
) {
    const int64 slot = thread_number();
    if (slot >= slots || verdicts[slot] == NOBODY) return;
    const int32 row = row_in(buckets, slot);
    if (verdicts[slot] == GOES) {
        gone[row] = 1;
        return;
    }
    bool is_new;
    *row_at(to, claim_slot(to, mask, key_in(buckets, slot), &is_new)) = row;
}

// counts[tile] = rows that go, one block a tile of row numbers.
extern "C" __global__ void __launch_bounds__(256) count_gone(const uint8* gone, int64 rows, uint64* counts) {
    uint64 found = 0;
    for (int item = 0; item < ITEMS; item++) {
        const int64 row = (int64)blockIdx.x * TILE + item * THREADS + threadIdx.x;
        if (row < rows) found += gone[row];
    }
    found = block_sum<THREADS>(found);
    if (threadIdx.x == 0) counts[blockIdx.x] = found;
}

// Put the numbers of the rows that go behind the free ones, the largest first: they are taken from the end.
//   counts : prefix sums of count_gone's, total[0] the sum of all;  counters : of lookup.cu's take_rows
extern "C" __global__ void __launch_bounds__(256) free_rows(
    const uint8* gone, int64 rows, const uint64* counts, const uint64* total, const int64* counters, int32* free
) {
    uint64 before = counts[blockIdx.x];
    for (int item = 0; item < ITEMS; item++) {
        const int64 row = (int64)blockIdx.x * TILE + item * THREADS + threadIdx.x;
        const bool goes = row < rows && gone[row] != 0;
        uint64 sum;
        const uint64 rank = before + prefix_sum<THREADS>((uint64)goes, &sum);
        before += sum;
        if (goes) free[counters[2] + (int64)(total[0] - 1 - rank)] = (int32)row;
    }
}

// Bring the counters up to date when rows have gone, and report: counters (3), entries (2) or zeros, rows that went.  One thread.
extern "C" __global__ void __launch_bounds__(32) settle(
    const uint64* total, int64* counters, const int64* entries, int64* report
) {
    if (thread_number() != 0) return;
    const int64 gone = (int64)total[0];
    counters[0] -= gone;
    counters[2] += gone;
    for (int i = 0; i < 3; i++) report[i] = counters[i];
    for (int i = 0; i < 2; i++) report[3 + i] = entries == nullptr ? 0 : entries[i];
    report[5] = gone;
}

// Enter the waiting keys that stay into empty buckets `to`, as many; entries[0], from 0 on, counts them.
extern "C" __global__ void __launch_bounds__(256) keep_waiting(
    const uint64* buckets, int64 slots, const uint8* verdicts, uint64* to, uint64 mask, int64* entries
) {
    const int64 slot = thread_number();
    const bool stays = slot < slots && verdicts[slot] == STAYS;
    if (stays) {
        bool is_new;
        const uint32 place = claim_slot(to, mask, key_in(buckets, slot), &is_new);
        *row_at(to, place) = row_in(buckets, slot);
        *mark_at(to, place) = *mark_at((uint64*)buckets, (uint32)slot);
    }
    const uint32 kept = __ballot_sync(0xffffffffu, stays);
    if (threadIdx.x % 32 == 0 && kept != 0) atomicAdd((uint64*)entries, (uint64)__popc(kept));
}
