// The rows of one shard: new records, growth of the index, rows read out and written in.
//
// Contract
//   The record is that of record.cuh, the index that of index.cuh.  A row's first content is a function of seed, key and
//   column alone: exact integers and one product in float32, the same bits as on the CPU.
//   Set by whoever compiles this file, beside NUMBER and DIM:
//     SCALARS linear weights of a row, 0 or 1;  STATE_WIDTH numbers of each of the embedding's PLANES state planes
//   write_new stores whole records, 16 bytes a thread; read_records and write_records move one number a thread.
#include "index.cuh"
#include "random.cuh"
#include "record.cuh"

constexpr int SIZE = sizeof(NUMBER);
constexpr int VECTOR_STATE = STATE_WIDTH * PLANES;
constexpr int STATE_AT = EMBEDDING + DIM * SIZE;           // of the embedding
constexpr int SCALAR_STATE_AT = STATE_AT + VECTOR_STATE * SIZE;  // of the linear weight
constexpr int TAIL = SCALAR_STATE_AT + SCALARS * PLANES * SIZE;


struct Start {
    double first, second, slope, jump;
};

__device__ __forceinline__ NUMBER first_weight(uint64 state, int column, float scale) {
    return (NUMBER)(uniform24(fold(state, (uint64)column)) * scale);
}

// The number at byte `offset` of a new record, between EMBEDDING and TAIL.
__device__ __forceinline__ NUMBER first_number(int offset, uint64 state, float scale, const Start& start) {
    int i = (offset - EMBEDDING) / SIZE;
    if (i < DIM) return first_weight(state, i, scale);
    i -= DIM;
    if (i >= VECTOR_STATE) return (NUMBER)(i == VECTOR_STATE ? start.first : start.second);
    if (i >= STATE_WIDTH) return (NUMBER)start.second;
    if (start.slope == 0.0 && start.jump == 0.0) return (NUMBER)start.first;
    const double weight = (double)first_weight(state, i, scale);
    const double sign = (double)(weight > 0.0) - (double)(weight < 0.0);
    return (NUMBER)(start.first + start.slope * weight + start.jump * sign);
}

// Write the records of the rows that are new in a batch: `record_bytes` / 16 threads each.
//   taken[1] of them;  fresh, numbers, addresses : of lookup.cu;  keys, fields : of the occurrences
extern "C" __global__ void __launch_bounds__(256) write_new(
    const int64* taken, const int32* fresh, const int32* numbers, const int64* addresses, const uint64* keys,
    const uint16* fields, int64 n, int32 record_bytes, uint32 step, uint64 seed, float scale, double first, double second,
    double slope, double jump
) {
    const int parts = record_bytes / 16;
    const int64 rank = thread_number() / parts;
    if (rank >= n || rank >= taken[1]) return;
    const int part = (int)(thread_number() % parts);
    const int64 j = fresh[rank];
    const uint64 key = keys[j];
    union {
        uint4 bits;
        uint64 longs[2];
        uint32 words[4];
        NUMBER numbers[16 / SIZE];
    } content;
    content.bits = make_uint4(0, 0, 0, 0);
    if (part == 0) {
        content.longs[0] = key;  // the linear weight, if any, is 0
    } else {
        const Start start = {first, second, slope, jump};
        const uint64 state = fold(seed, key);
#pragma unroll
        for (int i = 0; i < 16 / SIZE; i++) {
            const int offset = 16 * part + i * SIZE;
            if (offset < TAIL) content.numbers[i] = first_number(offset, state, scale, start);
        }
#pragma unroll
        for (int word = 0; word < 4; word++) {  // step, count 0, field
            const int offset = 16 * part + 4 * word;
            if (offset == TAIL) content.words[word] = step;
            if (offset == TAIL + 8) content.words[word] = fields[j];
        }
    }
    *at<uint4>(addresses[numbers[j]], 16 * part) = content.bits;
}

// Set every mark to 0, one thread a bucket.
extern "C" __global__ void __launch_bounds__(256) forget_marks(uint64* buckets, int64 count) {
    const int64 bucket = thread_number();
    if (bucket >= count) return;
    *(ulonglong2*)(buckets + 8 * bucket + 6) = make_ulonglong2(0, 0);
}

__device__ __forceinline__ void enter(uint64 key, int32 row, uint32 mark, uint64* buckets, uint64 mask) {
    bool is_new;
    const uint32 slot = claim_slot(buckets, mask, key, &is_new);
    *row_at(buckets, slot) = row;
    *mark_at(buckets, slot) = mark;
}

// Enter every row of the index `old` (`count` buckets) into an empty one, one thread a bucket.
extern "C" __global__ void __launch_bounds__(256) move_rows(
    const uint64* old, int64 count, uint64* buckets, uint64 mask
) {
    const int64 bucket = thread_number();
    if (bucket >= count) return;
    for (int place = 0; place < 4; place++) {
        const uint64 key = old[8 * bucket + place];
        const uint32 slot = (uint32)(4 * bucket) + place;
        if (key != 0) enter(key, *row_at((uint64*)old, slot), *mark_at((uint64*)old, slot), buckets, mask);
    }
}

// Enter rows into an index that holds none of them.
extern "C" __global__ void __launch_bounds__(256) index_rows(
    const uint64* keys, const int32* rows, const uint32* marks, int64 n, uint64* buckets, uint64 mask
) {
    const int64 j = thread_number();
    if (j < n) enter(keys[j], rows[j], marks[j], buckets, mask);
}

// Write key, row and mark of every row of the index, in any order; count[0] is how many there are, from 0.
extern "C" __global__ void __launch_bounds__(256) indexed_rows(
    const uint64* buckets, int64 slots, uint64* keys, int32* rows, uint32* marks, uint32* count
) {
    const int64 slot = thread_number();
    const bool there = slot < slots && buckets[8 * (slot / 4) + slot % 4] != 0;
    const uint32 found = __ballot_sync(0xffffffffu, there);
    const int lane = threadIdx.x % 32;
    uint32 begin = 0;
    if (lane == 0 && found != 0) begin = atomicAdd(count, (uint32)__popc(found));
    begin = __shfl_sync(0xffffffffu, begin, 0);
    if (!there) return;
    const uint32 place = begin + __popc(found & ((1u << lane) - 1u));
    keys[place] = buckets[8 * (slot / 4) + slot % 4];
    rows[place] = *row_at((uint64*)buckets, (uint32)slot);
    marks[place] = *mark_at((uint64*)buckets, (uint32)slot);
}

// Copy records out: a thread a number, of which a row's first copies field, count and last step, too.
//   tail : where these three begin;  places (count) : where each number of a row lies
extern "C" __global__ void __launch_bounds__(256) read_records(
    const int32* rows, int64 n, const int64* chunks, int64 record_bytes, int64 tail, const int64* places, int32 count,
    uint16* fields, uint32* counts, uint32* steps, NUMBER* numbers
) {
    const int64 j = thread_number() / count, i = thread_number() % count;
    if (j >= n) return;
    const int64 record = record_address(chunks, record_bytes, rows[j]);
    if (i == 0) {
        steps[j] = *at<uint32>(record, tail);
        counts[j] = *at<uint32>(record, tail + 4);
        fields[j] = (uint16)*at<uint32>(record, tail + 8);
    }
    numbers[j * count + i] = *at<NUMBER>(record, places[i]);
}

// Fill the records at `addresses`: the inverse of read_records.
extern "C" __global__ void __launch_bounds__(256) write_records(
    const int64* addresses, int64 n, int64 tail, const int64* places, int32 count, const uint64* keys,
    const uint16* fields, const uint32* counts, const uint32* steps, const NUMBER* numbers
) {
    const int64 j = thread_number() / count, i = thread_number() % count;
    if (j >= n) return;
    const int64 record = addresses[j];
    if (i == 0) {
        *at<uint64>(record) = keys[j];
        *at<uint32>(record, tail) = steps[j];
        *at<uint32>(record, tail + 4) = counts[j];
        *at<uint32>(record, tail + 8) = fields[j];
    }
    *at<NUMBER>(record, places[i]) = numbers[j * count + i];
}
