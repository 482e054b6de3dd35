// How a batch's keys reach their owners: picked out of whole batches, or packed at home and unpacked at the owner.
//
// Contract
//   The wire format is that of `backend/cpu/routing.py`; keys of a message are grouped by field, in order of first
//   appearance.  Everything is placed by prefix sums (scan.cu) and stable sorts (sort.cu): the same on every schedule.
//   VALUES as in values.cuh.  n < 2^31; byte offsets are 64 bits.
//   Occurrences of a batch lie side by side: sample i has offsets[i] .. offsets[i + 1] of them.  Offsets of a share of a
//   batch are those of the whole, while its keys begin at the share's first: offsets count from offsets[0].
#include "block.cuh"
#include "partition.cuh"

constexpr int THREADS = 256;
constexpr int ITEMS = 8;
constexpr int TILE = THREADS * ITEMS;

// The last of `count` ascending begins that is not behind `place`.
__device__ __forceinline__ int64 segment_of(const int64* begins, int64 count, int64 place) {
    int64 low = 0, high = count - 1;
    while (low < high) {
        const int64 middle = (low + high + 1) / 2;
        if (begins[middle] <= place) low = middle; else high = middle - 1;
    }
    return low;
}

// counts[tile] = occurrences of the tile whose owner is `residue` modulo `modulus`
extern "C" __global__ void __launch_bounds__(256) count_own(
    const uint64* keys, const uint16* fields, int64 n, int64 owners, const int64* owner_of_field, int64 modulus,
    int64 residue, uint64* counts
) {
    uint64 found = 0;
    for (int item = 0; item < ITEMS; item++) {
        const int64 j = (int64)blockIdx.x * TILE + item * THREADS + threadIdx.x;
        if (j < n && owner_of(keys[j], fields[j], owners, owner_of_field) % modulus == residue) found++;
    }
    found = block_sum<THREADS>(found);
    if (threadIdx.x == 0) counts[blockIdx.x] = found;
}

// Copy the occurrences that count_own counts to the front, in order; before[j] = how many come before j, before[n] all.
// The picked arrays are as long as the batch; beyond the last picked key is key 0.
extern "C" __global__ void __launch_bounds__(256) pick_own(
    const uint64* keys, const uint16* fields, const float* values, int64 n, int64 owners, const int64* owner_of_field,
    int64 modulus, int64 residue, const uint64* counts, const uint64* total, uint64* picked_keys, uint16* picked_fields,
    float* picked_values, int64* before
) {
    uint64 sum_before = counts[blockIdx.x];
    for (int item = 0; item < ITEMS; item++) {
        const int64 j = (int64)blockIdx.x * TILE + item * THREADS + threadIdx.x;
        const bool own = j < n && owner_of(keys[j], fields[j], owners, owner_of_field) % modulus == residue;
        uint64 sum;
        const int64 place = (int64)(sum_before + prefix_sum<THREADS>(own ? 1ull : 0ull, &sum));
        sum_before += sum;
        if (j >= n) continue;
        before[j] = place;
        if (j == n - 1) before[n] = place + own;
        if (j >= (int64)total[0]) picked_keys[j] = 0;
        if (own) {
            picked_keys[place] = keys[j];
            picked_fields[place] = fields[j];
            for (int c = 0; c < VALUES; c++) picked_values[VALUES * place + c] = values[VALUES * j + c];
        }
    }
}

// own_offsets[i] = offsets[i] from the first on, for count + 1 offsets
extern "C" __global__ void __launch_bounds__(256) rebase_offsets(const int64* offsets, int64 count, int64* own_offsets) {
    const int64 i = thread_number();
    if (i <= count) own_offsets[i] = offsets[i] - offsets[0];
}

// own_offsets[i] = occurrences picked before sample i, for count + 1 offsets
extern "C" __global__ void __launch_bounds__(256) pick_offsets(
    const int64* offsets, int64 count, const int64* before, int64* own_offsets
) {
    const int64 i = thread_number();
    if (i <= count) own_offsets[i] = before[offsets[i] - offsets[0]];
}

// The distinct keys in order of first appearance (firsts, counts : of lookup.cu);  numbers[j] : set where a key appears first
extern "C" __global__ void __launch_bounds__(256) collect(
    const int32* firsts, int64 n, const uint64* counts, const uint64* keys, const uint16* fields, int64 owners,
    const int64* owner_of_field, int64 shards, int32* numbers, uint64* unique_keys, uint16* unique_fields,
    int32* unique_ranks
) {
    uint64 before = counts[blockIdx.x];
    for (int item = 0; item < ITEMS; item++) {
        const int64 j = (int64)blockIdx.x * TILE + item * THREADS + threadIdx.x;
        const bool first = j < n && firsts[j] == j;
        uint64 sum;
        const uint64 place = (before + prefix_sum<THREADS>(first ? 1ull : 0ull, &sum)) & 0xffffffffull;
        before += sum;
        if (!first) continue;
        numbers[j] = (int32)place;
        unique_keys[place] = keys[j];
        unique_fields[place] = fields[j];
        unique_ranks[place] = (int32)(owner_of(keys[j], fields[j], owners, owner_of_field) / shards);
    }
}

// occurrences[j] = numbers[firsts[j]]
extern "C" __global__ void __launch_bounds__(256) follow(const int32* firsts, int64 n, const int32* numbers, int32* occurrences) {
    const int64 j = thread_number();
    if (j < n) occurrences[j] = firsts[j] < 0 ? -1 : numbers[firsts[j]];
}

// groups[u] = rank fields + field of each unique key
extern "C" __global__ void __launch_bounds__(256) number_groups(
    const uint16* unique_fields, const int32* unique_ranks, int64 n, int32 fields, uint32* groups
) {
    const int64 u = thread_number();
    if (u < n) groups[u] = (uint32)((int64)unique_ranks[u] * fields + unique_fields[u]);
}

// header (ranks, fields + 1) int32, zeros : unique keys of each field, of each owner rank;  groups : as above
// total : the lower half says how many unique keys there are, n at most
extern "C" __global__ void __launch_bounds__(256) count_keys(
    const uint16* unique_fields, const int32* unique_ranks, int64 n, const uint64* total, int32 fields, int32* header,
    uint32* groups
) {
    const int64 u = thread_number();
    if (u >= n || u >= (int64)(total[0] & 0xffffffffull)) return;
    const int64 rank = unique_ranks[u], field = unique_fields[u];
    atomicAdd(header + rank * (fields + 1) + field, 1);
    groups[u] = (uint32)(rank * fields + field);
}

// header[rank, fields] : occurrences of each owner rank;  ranks[j] = that of occurrence j, where it has a key
extern "C" __global__ void __launch_bounds__(256) count_occurrences(
    const int32* occurrences, const int32* unique_ranks, int64 n, int32 fields, int32* header, uint32* ranks
) {
    const int64 j = thread_number();
    const bool there = j < n && occurrences[j] >= 0;
    const int32 rank = there ? unique_ranks[occurrences[j]] : -1;
    if (there) ranks[j] = (uint32)rank;
    const uint32 same = __match_any_sync(0xffffffffu, rank);  // one addition for all lanes with this rank
    if (there && (same >> (threadIdx.x % 32)) == 1) atomicAdd(header + (int64)rank * (fields + 1) + fields, __popc(same));
}

// longest[0], 0 before : occurrences of the sample that has most
extern "C" __global__ void __launch_bounds__(256) longest_sample(const int64* offsets, int64 samples, int32* longest) {
    const int64 i = thread_number();
    const int32 found = i < samples ? (int32)(offsets[i + 1] - offsets[i]) : 0;
    if (found > *(volatile int32*)longest) atomicMax(longest, found);
}

// Write every unique key to its place in its rank's message.
//   order (n) : unique keys sorted by group;  firsts (ranks) : where each rank's begin in it
//   begins (ranks) : bytes at which each message begins;  places (n) : each key's place in its message
extern "C" __global__ void __launch_bounds__(256) pack_keys(
    const uint32* order, int64 n, const uint64* unique_keys, const int32* unique_ranks, const int64* firsts,
    const int64* begins, int32* places, uint8* message
) {
    const int64 t = thread_number();
    if (t >= n) return;
    const int64 u = order[t], rank = unique_ranks[u], place = t - firsts[rank];
    places[u] = (int32)place;
    *(uint64*)(message + begins[rank] + 8 * place) = unique_keys[u];
}

// Write every occurrence, and its values, to its rank's message.
//   order (n) : occurrences sorted by rank;  firsts (ranks) : where each rank's begin in it
//   begins, value_begins (ranks) : bytes at which occurrences and values of each message begin;  the message is zeros where occurrences are narrow
//   bits (ranks) : of an occurrence in each message
extern "C" __global__ void __launch_bounds__(256) pack_occurrences(
    const uint32* order, const uint32* sorted_ranks, int64 n, const int32* occurrences, const int32* places,
    const float* values, const int64* firsts, const int64* begins, const int64* value_begins, const int64* bits, uint8* message
) {
    const int64 t = thread_number();
    if (t >= n) return;
    const int64 j = order[t], rank = sorted_ranks[t], place = t - firsts[rank];
    const int64 bit = place * bits[rank];
    uint32* word = (uint32*)(message + begins[rank]) + (bit >> 5);
    const uint32 number = places[occurrences[j]];
    if (bits[rank] == 32) {
        *word = number;
    } else {  // neighbours share a word: in any order the same bits
        const uint64 shifted = (uint64)number << (bit & 31);
        if ((uint32)shifted != 0) atomicOr(word, (uint32)shifted);
        if ((uint32)(shifted >> 32) != 0) atomicOr(word + 1, (uint32)(shifted >> 32));
    }
    for (int c = 0; c < VALUES; c++)
        *(float*)(message + value_begins[rank] + 4 * (VALUES * place + c)) = values[VALUES * j + c];
}

// Write the number of occurrences of every sample to every rank's message; too_many[0] becomes the first sample of which a
// rank has more than 65,535.
extern "C" __global__ void __launch_bounds__(256) pack_counts(
    const int64* offsets, int64 samples, const uint32* ranks, int32 count, const int64* begins, uint8* message,
    uint32* too_many
) {
    const int64 rank = thread_number() / samples, i = thread_number() % samples;
    if (rank >= count) return;
    int64 found = 0;
    for (int64 j = offsets[i]; j < offsets[i + 1]; j++) found += ranks[j] == rank;
    if (found > 65535) atomicMin(too_many, (uint32)i);
    *(uint16*)(message + begins[rank] + 2 * i) = (uint16)found;
}

// Read the keys of all messages, one after another, and their fields.
//   group_begins (ranks fields) : number of the first key of each home rank and field;  begins (ranks) : bytes of messages
extern "C" __global__ void __launch_bounds__(256) unpack_keys(
    const uint8* message, int64 n, const int64* group_begins, int32 ranks, int32 fields, const int64* begins, uint64* keys,
    uint16* key_fields
) {
    const int64 k = thread_number();
    if (k >= n) return;
    const int64 group = segment_of(group_begins, (int64)ranks * fields, k), rank = group / fields;
    keys[k] = *(const uint64*)(message + begins[rank] + 8 * (k - group_begins[rank * fields]));
    key_fields[k] = (uint16)(group % fields);
}

// key_fields (n) : of keys that lie group by group, one of each rank and field
extern "C" __global__ void __launch_bounds__(256) fields_of_groups(
    int64 n, const int64* group_begins, int32 ranks, int32 fields, uint16* key_fields
) {
    const int64 k = thread_number();
    if (k < n) key_fields[k] = (uint16)(segment_of(group_begins, (int64)ranks * fields, k) % fields);
}

// Read the occurrences of all messages: occurrences[j] = number of the key among all, and their values.
//   firsts (ranks) : number of the first occurrence of each home rank;  key_firsts : of its first key
//   bits (ranks) : of an occurrence in each message
extern "C" __global__ void __launch_bounds__(256) unpack_occurrences(
    const uint8* message, int64 n, const int64* firsts, const int64* key_firsts, int32 ranks, const int64* begins,
    const int64* value_begins, const int64* bits, int32* occurrences, float* values
) {
    const int64 j = thread_number();
    if (j >= n) return;
    const int64 rank = segment_of(firsts, ranks, j), place = j - firsts[rank];
    const int64 bit = place * bits[rank], shift = bit & 31;
    const uint32* word = (const uint32*)(message + begins[rank]) + (bit >> 5);
    uint64 found = bits[rank] == 0 ? 0 : word[0];
    if (shift + bits[rank] > 32) found |= (uint64)word[1] << 32;
    occurrences[j] = (int32)(key_firsts[rank] + (int64)(found >> shift & ((1ull << bits[rank]) - 1)));
    for (int c = 0; c < VALUES; c++)
        values[VALUES * j + c] = *(const float*)(message + value_begins[rank] + 4 * (VALUES * place + c));
}

// counts[i] = occurrences of sample i of the global batch;  firsts (ranks) : first sample of each home rank
extern "C" __global__ void __launch_bounds__(256) unpack_counts(
    const uint8* message, int64 samples, const int64* firsts, int32 ranks, const int64* begins, uint64* counts
) {
    const int64 i = thread_number();
    if (i >= samples) return;
    const int64 rank = segment_of(firsts, ranks, i);
    counts[i] = *(const uint16*)(message + begins[rank] + 2 * (i - firsts[rank]));
}

// occurrences[j] = local[occurrences[j]]
extern "C" __global__ void __launch_bounds__(256) through(int32* occurrences, int64 n, const int32* local) {
    const int64 j = thread_number();
    if (j < n) occurrences[j] = local[occurrences[j]];
}
