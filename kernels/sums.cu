// Gradients of rows, summed per key over the occurrences of the batch.  See `ops/fm.py`, `linear.py`, `pool.py`, `bi_interaction.py`.
//
// Contract
//   state (samples, ..) of COMPUTE : the gradient of the samples' states.  For every occurrence of distinct key c
//     scalar_sums[c] += g xl,  vector_sums[c] += x u,  square_sums[c] += g x^2  (null: not wanted), of type SUM
//   Set besides: SCALARS linear weights of a row, 0 or 1;  ADJOINT, what g and u (DIM numbers) are:
//     FM             g A at `column`, and g behind it; with DIM = 0 g alone
//     POOL           dE of the key's field at columns[fields[c]], g at 0
//     BI_INTERACTION dA + 2 x v dQ with g at 0, dA behind it, then dQ, and v of the record at addresses[c]
//   column is 0 but for FM;  addresses, fields and columns are null where they are not named.
//
//   sum_tiles, sum_spans : the occurrences sorted by key (sort.cu).  A group of lanes adds the occurrences of one tile of
//     TILE in order; a key that lies in one tile is written at once, one that spans tiles leaves a part in each, and
//     sum_spans adds its parts in a fixed tree.  Nothing is atomic: the same bits on every schedule.  Those of the CPU in
//     fixed point, and for keys in one tile whose sums were 0.
//   add_atomically : in the order in which threads happen to come.  The same bits on every schedule in fixed point only.
//   A group reads the numbers of a state side by side: coalesced, though a state of odd width has no 16-byte parts.
#include "record.cuh"
#include "values.cuh"

constexpr int FM = 0, POOL = 1, BI_INTERACTION = 2;
constexpr int G = ADJOINT == FM ? DIM : 0;  // where g is
constexpr int NUMBERS = DIM + SCALARS;
constexpr int VECTORS = (NUMBERS + 3) / 4;  // lanes take the vector and the scalar in turns of four numbers
constexpr int LANES = lanes_for(VECTORS);
constexpr int EACH = (NUMBERS + LANES - 1) / LANES;  // numbers of a lane: c = lane + e LANES, of which c = DIM is the scalar
constexpr int THREADS = 128;
constexpr int GROUPS = THREADS / LANES;
constexpr int TILE = 32;
constexpr int SELF = NUMBERS;      // place of the sum of g x^2 in a part
constexpr int PART = NUMBERS + 1;

// What one lane adds up: its numbers of the vector and the scalar, and g x^2.
struct Sums {
    SUM number[EACH], self;
};

__device__ __forceinline__ Sums nothing() {
    Sums sums;
#pragma unroll
    for (int e = 0; e < EACH; e++) sums.number[e] = 0;
    sums.self = 0;
    return sums;
}

// What all occurrences of a key have in common: where u begins, and a lane's numbers of v.
struct Key {
    int64 first;
    COMPUTE v[EACH];
};

__device__ __forceinline__ Key key_of(
    int64 c, int lane, const int64* addresses, const uint16* fields, const int64* columns
) {
    Key key = {};
    if (ADJOINT == POOL) key.first = columns[fields[c]];
    if (ADJOINT == BI_INTERACTION) {
        key.first = 1;
#pragma unroll
        for (int e = 0; e < EACH; e++) {
            const int number = lane + e * LANES;
            if (number < DIM) key.v[e] = (COMPUTE)at<NUMBER>(addresses[c], EMBEDDING)[number];
        }
    }
    return key;
}

__device__ __forceinline__ void add_occurrence(
    Sums* sums, const Key& key, int lane, const COMPUTE* row, const float* values, int64 occurrence, double scale
) {
    const COMPUTE g = row[G], x = embedding_value<COMPUTE>(values, occurrence);
    const COMPUTE* upstream = row + key.first;
#pragma unroll
    for (int e = 0; e < EACH; e++) {
        const int c = lane + e * LANES;
        if (c < DIM) {
            COMPUTE u = upstream[c];
            if (ADJOINT == BI_INTERACTION) u = multiply_add(key.v[e] * ((COMPUTE)2 * x), upstream[DIM + c], u);
            sums->number[e] = add_fused(sums->number[e], u, x, scale);
        }
        if (SCALARS == 1 && c == DIM)
            sums->number[e] = add_product(sums->number[e], g, linear_value<COMPUTE>(values, occurrence), scale);
    }
    if (lane == 0) sums->self = add_product(sums->self, g * x, x, scale);
}

// Add a lane's sums to the row's.
__device__ __forceinline__ void write(
    const Sums& sums, int lane, int64 c, SUM* scalar_sums, SUM* vector_sums, SUM* square_sums
) {
#pragma unroll
    for (int e = 0; e < EACH; e++) {
        const int number = lane + e * LANES;
        if (number < DIM) vector_sums[c * DIM + number] += sums.number[e];
        if (SCALARS == 1 && number == DIM) scalar_sums[c] += sums.number[e];
    }
    if (lane == 0 && square_sums != nullptr) square_sums[c] += sums.self;
}

__device__ __forceinline__ void write_part(const Sums& sums, int lane, SUM* part) {
#pragma unroll
    for (int e = 0; e < EACH; e++)
        if (lane + e * LANES < NUMBERS) part[lane + e * LANES] = sums.number[e];
    if (lane == 0) part[SELF] = sums.self;
}

// One group a tile of the sorted occurrences.
//   places (n) uint32 : distinct key of each, ascending, `keys` and more: no key;  order (n) : the occurrences
//   samples (nnz) int32 : sample of each occurrence
//   heads, tails (tiles, PART) : parts of the key that comes from the tile before, and of the one that goes on in the next
//   spans (tiles) uint32 : tiles in which a key that goes on begins, span_count[0] of them, in any order
extern "C" __global__ void __launch_bounds__(128) sum_tiles(
    const uint32* places, const uint32* order, int64 n, uint32 keys, const int32* samples, const float* values,
    const COMPUTE* state, int64 state_row, int32 column, const int64* addresses, const uint16* fields, const int64* columns,
    double scale, SUM* scalar_sums, SUM* vector_sums, SUM* square_sums, SUM* heads, SUM* tails, uint32* spans, uint32* span_count
) {
    const int64 tile = thread_number() / LANES, begin = tile * TILE;
    if (begin >= n) return;
    const int lane = threadIdx.x % LANES;
    const int64 end = least(begin + TILE, n);
    const bool comes = begin > 0 && places[begin - 1] == places[begin];
    const bool goes = end < n && places[end] == places[end - 1] && places[end] < keys;
    bool first = true;
    for (int64 t = begin; t < end;) {
        const uint32 c = places[t];
        if (c >= keys) break;
        Sums sums = nothing();
        const Key key = key_of(c, lane, addresses, fields, columns);
        for (; t < end && places[t] == c; t++) {
            const int64 occurrence = order[t];
            const COMPUTE* row = state + samples[occurrence] * state_row + column;
            add_occurrence(&sums, key, lane, row, values, occurrence, scale);
        }
        const bool continued = t == end && goes;
        if (first && comes) {
            write_part(sums, lane, heads + tile * PART);
        } else if (continued) {
            write_part(sums, lane, tails + tile * PART);
            if (lane == 0) spans[atomicAdd(span_count, 1u)] = (uint32)tile;
        } else {
            write(sums, lane, c, scalar_sums, vector_sums, square_sums);
        }
        first = false;
    }
}

// Add up the parts of the keys that span tiles, one block a key, for as many blocks as there are.
extern "C" __global__ void __launch_bounds__(128) sum_spans(
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
                if (number < DIM) vector_sums[(int64)c * DIM + number] += total;
                if (SCALARS == 1 && number == DIM) scalar_sums[c] += total;
                if (number == SELF && square_sums != nullptr) square_sums[c] += total;
            }
            __syncthreads();
        }
    }
}

// One group an occurrence; the order of additions is left to chance.
extern "C" __global__ void __launch_bounds__(128) add_atomically(
    const int32* local, int64 n, uint32 keys, const int32* samples, const float* values, const COMPUTE* state,
    int64 state_row, int32 column, const int64* addresses, const uint16* fields, const int64* columns, double scale,
    SUM* scalar_sums, SUM* vector_sums, SUM* square_sums
) {
    const int64 occurrence = thread_number() / LANES;
    if (occurrence >= n || samples[occurrence] < 0) return;
    const int lane = threadIdx.x % LANES;
    const int64 c = local[occurrence];
    if (c >= keys) return;
    Sums sums = nothing();
    const Key key = key_of(c, lane, addresses, fields, columns);
    add_occurrence(&sums, key, lane, state + samples[occurrence] * state_row + column, values, occurrence, scale);
#pragma unroll
    for (int e = 0; e < EACH; e++) {
        const int number = lane + e * LANES;
        if (number < DIM) add_at(vector_sums + c * DIM + number, sums.number[e]);
        if (SCALARS == 1 && number == DIM) add_at(scalar_sums + c, sums.number[e]);
    }
    if (lane == 0 && square_sums != nullptr) add_at(square_sums + c, sums.self);
}
