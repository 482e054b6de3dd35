// Gradients of rows, summed per key over the occurrences of the batch.  See `ops/fm.py`, `linear.py`, `pool.py`, `bi_interaction.py`.
//
// Contract
//   state (samples, ..) of COMPUTE : the gradient of the samples' states.  For every occurrence of distinct key c
//     scalar_sums[c] += g xl,  vector_sums[c] += x u,  square_sums[c] += g x^2  (null: not wanted), of type SUM
//   Set besides: SCALARS linear weights of a row, 0 or 1;  ADJOINT, what g and u (DIM numbers) are:
//     FM             g A at `column`, and g behind it; with DIM = 0 g alone
//     POOL           dE of the key's field at columns[fields[c]], g at 0
//     SEATED         as POOL, at columns[fields[occurrence]], with the seats (nnz) of the occurrences for fields
//     BI_INTERACTION dA + 2 x v dQ with g at 0, dA behind it, then dQ, and v of the record at addresses[c]
//   column is 0 but for FM;  addresses, fields and columns are null where they are not named.
//   samples (nnz) int32 : sample of each occurrence;  values : theirs;  others are those of key_sums.cuh
//
//   sum_tiles, sum_spans : the same bits on every schedule.  Those of the CPU in fixed point, and for keys in one tile whose sums were 0.
//   add_atomically : the same bits on every schedule in fixed point only.
//   A group reads the numbers of a state side by side: coalesced, though a state of odd width has no 16-byte parts.
#include "record.cuh"
#include "values.cuh"

constexpr int WIDTH = DIM, MOST_HELD = 8;

#include "key_sums.cuh"

constexpr int FM = 0, POOL = 1, BI_INTERACTION = 2, SEATED = 3;
constexpr int G = ADJOINT == FM ? DIM : 0;  // where g is

// What all occurrences of a key have in common: where u begins, and a lane's numbers of v.
struct Key {
    int64 first;
    COMPUTE v[HELD];
};

__device__ __forceinline__ Key key_of(
    int64 c, const Turn& turn, const int64* addresses, const uint16* fields, const int64* columns
) {
    Key key = {};
    if (ADJOINT == POOL) key.first = columns[fields[c]];
    if (ADJOINT == BI_INTERACTION) {
        key.first = 1;
#pragma unroll
        for (int e = 0; e < HELD; e++) {
            const int number = turn.number(e);
            if (number < DIM) key.v[e] = (COMPUTE)at<NUMBER>(addresses[c], EMBEDDING)[number];
        }
    }
    return key;
}

__device__ __forceinline__ void add_occurrence(
    Sums* sums, const Key& key, const Turn& turn, const COMPUTE* row, const float* values, int64 occurrence, const uint16* fields,
    const int64* columns, double scale
) {
    const COMPUTE g = row[G], x = embedding_value<COMPUTE>(values, occurrence);
    const COMPUTE* upstream = row + (ADJOINT == SEATED ? columns[fields[occurrence]] : key.first);
#pragma unroll
    for (int e = 0; e < HELD; e++) {
        const int c = turn.number(e);
        if (c < DIM) {
            COMPUTE u = upstream[c];
            if (ADJOINT == BI_INTERACTION) u = multiply_add(key.v[e] * ((COMPUTE)2 * x), upstream[DIM + c], u);
            sums->number[e] = add_fused(sums->number[e], u, x, scale);
        }
        if (SCALARS == 1 && c == DIM)
            sums->number[e] = add_product(sums->number[e], g, linear_value<COMPUTE>(values, occurrence), scale);
    }
    if (turn.first == 0) sums->self = add_product(sums->self, g * x, x, scale);
}

extern "C" __global__ void __launch_bounds__(128) sum_tiles(
    const uint32* places, const uint32* order, int64 n, uint32 keys, const int32* samples, const float* values,
    const COMPUTE* state, int64 state_row, int32 column, const int64* addresses, const uint16* fields, const int64* columns,
    double scale, SUM* scalar_sums, SUM* vector_sums, SUM* square_sums, SUM* heads, SUM* tails, uint32* spans, uint32* span_count
) {
    const Turn turn;
    add_tile(
        turn, places, order, n, keys, scalar_sums, vector_sums, square_sums, heads, tails, spans, span_count,
        [&](int64 c) { return key_of(c, turn, addresses, fields, columns); },
        [&](Sums* sums, const Key& key, int64 occurrence) {
            const COMPUTE* row = state + samples[occurrence] * state_row + column;
            add_occurrence(sums, key, turn, row, values, occurrence, fields, columns, scale);
        }
    );
}

extern "C" __global__ void __launch_bounds__(128) sum_spans(
    const uint32* places, int64 n, const SUM* heads, const SUM* tails, const uint32* spans, const uint32* span_count,
    SUM* scalar_sums, SUM* vector_sums, SUM* square_sums
) {
    add_spans(places, n, heads, tails, spans, span_count, scalar_sums, vector_sums, square_sums);
}

extern "C" __global__ void __launch_bounds__(128) add_atomically(
    const int32* local, int64 n, uint32 keys, const int32* samples, const float* values, const COMPUTE* state,
    int64 state_row, int32 column, const int64* addresses, const uint16* fields, const int64* columns, double scale,
    SUM* scalar_sums, SUM* vector_sums, SUM* square_sums
) {
    const Turn turn;
    add_one(
        turn, local, n, keys, samples, scalar_sums, vector_sums, square_sums,
        [&](int64 c) { return key_of(c, turn, addresses, fields, columns); },
        [&](Sums* sums, const Key& key, int64 occurrence) {
            add_occurrence(sums, key, turn, state + samples[occurrence] * state_row + column, values, occurrence, fields, columns, scale);
        }
    );
}
