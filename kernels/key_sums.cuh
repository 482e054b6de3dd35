// Sums per key of what the occurrences of a batch add, whatever that is: see sums.cu, ffm.cu, field_sums.cu, which say before
// what WIDTH and MOST_HELD are.
//
// WIDTH    numbers of a row's vector
// SCALARS  linear weights of a row, 0 or 1
// MOST_HELD  numbers that a lane holds at most
//
//   tiles, spans : the occurrences sorted by key (sort.cu).  A group of lanes adds the occurrences of one tile of TILE in order; a key
//     that lies in one tile is written at once, one that spans tiles leaves a part in each, and `add_spans` adds its parts in a
//     fixed tree.  Nothing is atomic: the same bits on every schedule.
//   atomically : in the order in which threads happen to come.
//   Rows of more numbers than a group's registers hold are summed in stretches of HELD LANES numbers, each by a group of its own.
#pragma once
#include "numbers.cuh"

constexpr int NUMBERS = WIDTH + SCALARS;
constexpr int LANES = lanes_for((NUMBERS + 3) / 4);  // lanes take the vector and the scalar in turns of four numbers
constexpr int EACH = (NUMBERS + LANES - 1) / LANES;  // numbers of a lane: c = lane + e LANES, of which c = WIDTH is the scalar
constexpr int HELD = EACH < MOST_HELD ? EACH : MOST_HELD;
constexpr int STRETCHES = (EACH + HELD - 1) / HELD;
constexpr int THREADS = 128;
constexpr int GROUPS = THREADS / LANES;
constexpr int TILE = 32;
constexpr int SELF = NUMBERS;      // place of the sum of g x^2 in a part
constexpr int PART = NUMBERS + 1;

// What one lane adds up: some of its numbers of the vector and the scalar, and g x^2.
struct Sums {
    SUM number[HELD], self;
};

// Which numbers of a row a thread adds up: first, first + LANES, ...;  the thread that has number 0 has g x^2, too.
struct Turn {
    int64 item;  // tile, or occurrence
    int first;

    __device__ __forceinline__ Turn() {
        const int64 group = thread_number() / LANES;
        item = group / STRETCHES;
        first = (int)(group % STRETCHES) * (HELD * LANES) + threadIdx.x % LANES;
    }
    __device__ __forceinline__ int number(int e) const { return first + e * LANES; }
};

__device__ __forceinline__ Sums nothing() {
    Sums sums;
#pragma unroll
    for (int e = 0; e < HELD; e++) sums.number[e] = 0;
    sums.self = 0;
    return sums;
}

// Add a lane's sums to the row's.
__device__ __forceinline__ void write(
    const Sums& sums, const Turn& turn, int64 c, SUM* scalar_sums, SUM* vector_sums, SUM* square_sums
) {
#pragma unroll
    for (int e = 0; e < HELD; e++) {
        const int number = turn.number(e);
        if (number < WIDTH) vector_sums[c * WIDTH + number] += sums.number[e];
        if (SCALARS == 1 && number == WIDTH) scalar_sums[c] += sums.number[e];
    }
    if (turn.first == 0 && square_sums != nullptr) square_sums[c] += sums.self;
}

__device__ __forceinline__ void write_part(const Sums& sums, const Turn& turn, SUM* part) {
#pragma unroll
    for (int e = 0; e < HELD; e++)
        if (turn.number(e) < NUMBERS) part[turn.number(e)] = sums.number[e];
    if (turn.first == 0) part[SELF] = sums.self;
}

// One group a tile of the sorted occurrences, and a stretch of a row.
//   key_of(c) : what all occurrences of key c have in common;  add(sums, key, occurrence) : add what one adds
//   places (n) uint32 : distinct key of each, ascending, `keys` and more: no key;  order (n) : the occurrences
//   heads, tails (tiles, PART) : parts of the key that comes from the tile before, and of the one that goes on in the next
//   spans (tiles) uint32 : tiles in which a key that goes on begins, span_count[0] of them, in any order
template <typename KeyOf, typename Add>
__device__ __forceinline__ void add_tile(
    const Turn& turn, const uint32* places, const uint32* order, int64 n, uint32 keys, SUM* scalar_sums, SUM* vector_sums,
    SUM* square_sums, SUM* heads, SUM* tails, uint32* spans, uint32* span_count, KeyOf key_of, Add add
) {
    const int64 tile = turn.item, begin = tile * TILE;
    if (begin >= n) return;
    const int64 end = least(begin + TILE, n);
    bool first = true;
    for (int64 t = begin; t < end;) {
        const uint32 c = places[t];
        if (c >= keys) break;
        Sums sums = nothing();
        const auto key = key_of((int64)c);
        for (; t < end && places[t] == c; t++) add(&sums, key, (int64)order[t]);
        if (first && begin > 0 && places[begin - 1] == c) {
            write_part(sums, turn, heads + tile * PART);
        } else if (t == end && end < n && places[end] == c) {
            write_part(sums, turn, tails + tile * PART);
            if (turn.first == 0) spans[atomicAdd(span_count, 1u)] = (uint32)tile;
        } else {
            write(sums, turn, c, scalar_sums, vector_sums, square_sums);
        }
        first = false;
    }
}

// Add up the parts of the keys that span tiles, one block a key, for as many blocks as there are.
__device__ __forceinline__ void add_spans(
    const uint32* places, int64 n, const SUM* heads, const SUM* tails, const uint32* spans, const uint32* span_count,
    SUM* scalar_sums, SUM* vector_sums, SUM* square_sums
) {
    __shared__ SUM part[THREADS];
    const int lane = threadIdx.x % LANES, group = threadIdx.x / LANES;
    for (uint32 s = blockIdx.x; s < *span_count; s += gridDim.x) {
        const int64 tile = spans[s];
        const uint32 c = places[(tile + 1) * TILE];
        int64 low = (tile + 1) * TILE, high = n;  // the first place behind the key
        while (low < high) {
            const int64 middle = (low + high) / 2;
            if (places[middle] > c) high = middle; else low = middle + 1;
        }
        const int64 last = (low - 1) / TILE;
#pragma unroll 1
        for (int first = 0; first < PART; first += LANES) {  // the same turns for all threads
            const int number = first + lane;
            SUM total = 0;
            for (int64 t = tile + 1 + group; t <= last && number < PART; t += GROUPS) total += heads[t * PART + number];
            part[threadIdx.x] = total;
            __syncthreads();
            for (int half = GROUPS / 2; half > 0; half /= 2) {
                if (group < half) part[threadIdx.x] += part[threadIdx.x + half * LANES];
                __syncthreads();
            }
            if (group == 0 && number < PART) {
                total = tails[tile * PART + number] + part[lane];
                if (number < WIDTH) vector_sums[(int64)c * WIDTH + number] += total;
                if (SCALARS == 1 && number == WIDTH) scalar_sums[c] += total;
                if (number == SELF && square_sums != nullptr) square_sums[c] += total;
            }
            __syncthreads();
        }
    }
}

// One group an occurrence and a stretch of a row; the order of additions is left to chance.  key_of, add : as above
template <typename KeyOf, typename Add>
__device__ __forceinline__ void add_one(
    const Turn& turn, const int32* local, int64 n, uint32 keys, const int32* samples, SUM* scalar_sums, SUM* vector_sums,
    SUM* square_sums, KeyOf key_of, Add add
) {
    const int64 occurrence = turn.item;
    if (occurrence >= n || samples[occurrence] < 0) return;
    const int64 c = local[occurrence];
    if (c >= keys) return;
    Sums sums = nothing();
    add(&sums, key_of(c), occurrence);
#pragma unroll
    for (int e = 0; e < HELD; e++) {
        const int number = turn.number(e);
        if (number < WIDTH) add_at(vector_sums + c * WIDTH + number, sums.number[e]);
        if (SCALARS == 1 && number == WIDTH) add_at(scalar_sums + c, sums.number[e]);
    }
    if (turn.first == 0 && square_sums != nullptr) add_at(square_sums + c, sums.self);
}
