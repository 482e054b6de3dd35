// A sample's pairs of keys in a field-aware factorization machine, from rows where they lie, and their gradients.  See `ops/ffm.py`.
//
// Contract
//   samples and occurrences < 2^31;  a row has WIDTH = FIELDS DIM numbers, v_g for each field g.  See field_aware.cuh.
//   Set besides: SCALARS, 0 or 1, whether rows have a linear weight.
//   fields (distinct) : of the rows;  n_dense dense features are the last fields;  dense (samples, n_dense) float;
//   factors (n_dense, WIDTH) of COMPUTE
//   by_field (samples, FIELDS - n_dense + 1) : where a sample's occurrences of each field begin, and end, once they are in the order of
//   their fields;  terms, term_values : addresses of their embeddings, and their x, in that order
//   state (samples) of COMPUTE : what is added to the logit; in the adjoint the gradient by it, z
//   A row is never copied.  A warp has a sample, a lane pairs of fields, each number of a row is read once, 16 bytes at a time where DIM is
//   a multiple of 4 (8 or 4 else).  In the adjoint a lane has numbers of the row it adds up: lanes of one vector read side by side.
//   Putting m occurrences in order takes m^2 / 32 looks at a field.
//   Sums are in fixed orders: the same bits on every schedule, but by add_atomically.  They are not the CPU's.
#include "field_aware.cuh"
#include "columns.cuh"
#include "values.cuh"

constexpr int MOST_HELD = 1;

#include "key_sums.cuh"

// One sample.
struct Sample {
    const int32* begins;
    const int64* terms;
    const float* values;
    const float* dense;
    const COMPUTE* factors;
    int32 n_fields;

    __device__ __forceinline__ Sample(
        int64 i, const int32* by_field, const int64* terms, const float* values, const float* dense, int32 n_dense, const COMPUTE* factors
    )
        : begins(by_field + i * (FIELDS - n_dense + 1)), terms(terms), values(values), dense(dense + i * n_dense), factors(factors),
          n_fields(FIELDS - n_dense) {}

    __device__ __forceinline__ bool is_dense(int f) const { return f >= n_fields; }
    __device__ __forceinline__ int count(int f) const { return is_dense(f) ? 1 : begins[f + 1] - begins[f]; }
    __device__ __forceinline__ COMPUTE x(int64 t) const { return VALUES == 0 ? (COMPUTE)1 : (COMPUTE)values[t]; }

    // x times numbers first .. first + W of term t's row
    template <int W>
    __device__ __forceinline__ Vector<COMPUTE, W> term(int64 t, int first) const {
        const Vector<NUMBER, W> weights = load<NUMBER, W>(at<NUMBER>(terms[t]) + first);
        Vector<COMPUTE, W> result;
#pragma unroll
        for (int c = 0; c < W; c++) result.number[c] = (COMPUTE)weights.number[c] * x(t);
        return result;
    }

    // Numbers first .. first + W of S_f
    template <int W>
    __device__ __forceinline__ Vector<COMPUTE, W> sum(int f, int first) const {
        Vector<COMPUTE, W> total = {};
        if (is_dense(f)) {
            const COMPUTE* row = factors + (int64)(f - n_fields) * WIDTH + first;
#pragma unroll
            for (int c = 0; c < W; c++) total.number[c] = row[c] * (COMPUTE)dense[f - n_fields];
            return total;
        }
#pragma unroll 1
        for (int32 t = begins[f], end = begins[f + 1]; t < end; t++) {
            const Vector<COMPUTE, W> one = term<W>(t, first);
#pragma unroll
            for (int c = 0; c < W; c++) total.number[c] += one.number[c];
        }
        return total;
    }
};

// Put each sample's occurrences in the order of their fields;  state += their linear terms, if there are any.  One warp a sample.
extern "C" __global__ void __launch_bounds__(256) collect(
    const int64* offsets, int64 samples, const int32* local, const float* values, const int64* addresses, const uint16* fields,
    int32 n_fields, int32* by_field, int64* terms, float* term_values, COMPUTE* state
) {
    const int64 i = thread_number() / WARP;
    if (i >= samples) return;
    const int lane = threadIdx.x % WARP;
    const int32 begin = (int32)offsets[i], end = (int32)offsets[i + 1];
    for (int f = lane; f <= n_fields; f += WARP) {
        int32 before = begin;
        for (int32 j = begin; j < end; j++) before += fields[local[j]] < f;
        by_field[i * (n_fields + 1) + f] = before;
    }
    COMPUTE linear = 0;
    for (int32 j = begin + lane; j < end; j += WARP) {
        const int64 c = local[j], record = addresses[c];
        const int32 field = fields[c];
        int32 place = begin;
        for (int32 other = begin; other < end; other++) {
            const int32 one = fields[local[other]];
            place += one < field || (one == field && other < j);
        }
        terms[place] = record + EMBEDDING;
        if (VALUES != 0) term_values[place] = embedding_value<float>(values, j);
        if (SCALARS == 1) {
            const COMPUTE weight = (COMPUTE)*at<NUMBER>(record, EMBEDDING - (int64)sizeof(NUMBER));
            linear += weight * linear_value<COMPUTE>(values, j);
        }
    }
    if (SCALARS == 1) {
        linear = group_sum<WARP>(linear);
        if (lane == 0) state[i] += linear;
    }
}

// state += the pairs of each sample.  One warp a sample.
extern "C" __global__ void __launch_bounds__(256) partial(
    int64 samples, const int32* by_field, const int64* terms, const float* term_values, const float* dense, int32 n_dense,
    const COMPUTE* factors, COMPUTE* state
) {
    const int64 i = thread_number() / WARP;
    if (i >= samples) return;
    const int lane = threadIdx.x % WARP;
    const Sample sample(i, by_field, terms, term_values, dense, n_dense, factors);
    COMPUTE total = 0;
    each_pair(lane, [&](int f, int g) {
        const bool alone = f == g;  // pairs inside a field: 1/2 (|S_f f|^2 - sum of x^2 |v_f|^2)
        if (sample.count(f) < 1 + alone || sample.count(g) == 0) return;
        COMPUTE pair = 0;
#pragma unroll 1
        for (int part = 0; part < DIM; part += WIDE) {
            pair = add_dot(pair, sample.sum<WIDE>(f, g * DIM + part), sample.sum<WIDE>(g, f * DIM + part));
            if (!alone) continue;
#pragma unroll 1
            for (int32 t = sample.begins[f], end = sample.begins[f + 1]; t < end; t++) {
                const Vector<COMPUTE, WIDE> one = sample.term<WIDE>(t, f * DIM + part);
                pair -= add_dot((COMPUTE)0, one, one);
            }
        }
        total += alone ? pair * (COMPUTE)0.5 : pair;
    });
    total = group_sum<WARP>(total);
    if (lane == 0) state[i] += total;
}

// What all occurrences of a key have in common.
struct Key {
    int64 row;
    int32 field;
};

// What an occurrence adds to its key's sums: z xl, and z x S_g f to each vector g but the field's own, which gets z x (S_f f - x v_f).
__device__ __forceinline__ void add_occurrence(
    Sums* sums, const Key& key, const Turn& turn, const Sample& sample, COMPUTE z, const float* values, int64 occurrence
) {
    const COMPUTE x = embedding_value<COMPUTE>(values, occurrence);
#pragma unroll
    for (int e = 0; e < HELD; e++) {
        const int number = turn.number(e);
        if (number < WIDTH) {
            const int g = number / DIM;
            COMPUTE u = sample.sum<1>(g, key.field * DIM + number % DIM).number[0];
            if (g == key.field) u -= (COMPUTE)at<NUMBER>(key.row)[number] * x;  // exactly 0 where the key is alone in its field
            sums->number[e] = multiply_add(u, z * x, sums->number[e]);
        }
        if (SCALARS == 1 && number == WIDTH) sums->number[e] += z * linear_value<COMPUTE>(values, occurrence);
    }
}

// Gradients of rows: see key_sums.cuh.
extern "C" __global__ void __launch_bounds__(128) sum_tiles(
    const uint32* places, const uint32* order, int64 n, uint32 keys, const int32* samples, const float* values,
    const COMPUTE* state, const int64* addresses, const uint16* fields, const int32* by_field, const int64* terms,
    const float* term_values, const float* dense, int32 n_dense, const COMPUTE* factors, double scale, SUM* scalar_sums,
    SUM* vector_sums, SUM* square_sums, SUM* heads, SUM* tails, uint32* spans, uint32* span_count
) {
    const Turn turn;
    add_tile(
        turn, places, order, n, keys, scalar_sums, vector_sums, square_sums, heads, tails, spans, span_count,
        [&](int64 c) { return Key{addresses[c] + EMBEDDING, fields[c]}; },
        [&](Sums* sums, const Key& key, int64 occurrence) {
            const int64 i = samples[occurrence];
            const Sample sample(i, by_field, terms, term_values, dense, n_dense, factors);
            add_occurrence(sums, key, turn, sample, state[i], values, occurrence);
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
    const int64* addresses, const uint16* fields, const int32* by_field, const int64* terms, const float* term_values,
    const float* dense, int32 n_dense, const COMPUTE* factors, double scale, SUM* scalar_sums, SUM* vector_sums, SUM* square_sums
) {
    const Turn turn;
    add_one(
        turn, local, n, keys, samples, scalar_sums, vector_sums, square_sums,
        [&](int64 c) { return Key{addresses[c] + EMBEDDING, fields[c]}; },
        [&](Sums* sums, const Key& key, int64 occurrence) {
            const int64 i = samples[occurrence];
            const Sample sample(i, by_field, terms, term_values, dense, n_dense, factors);
            add_occurrence(sums, key, turn, sample, state[i], values, occurrence);
        }
    );
}

// stretches (.., n_dense WIDTH) = sums over each stretch of samples of z x S_g f, for vector g of dense feature f: see columns.cuh
extern "C" __global__ void __launch_bounds__(256) factors_adjoint(
    int64 samples, const int32* by_field, const int64* terms, const float* term_values, const float* dense, int32 n_dense,
    const COMPUTE* factors, const COMPUTE* state, COMPUTE* stretches
) {
    const int32 columns = n_dense * WIDTH;
    const Tile tile = tile_of(samples, columns);
    const int d = tile.column / WIDTH, g = tile.column % WIDTH / DIM, f = FIELDS - n_dense + d;
    COMPUTE total = 0;
    if (tile.column < columns && f != g)
        each_row(
            tile,
            [&](int64 i) {
                const Sample sample(i, by_field, terms, term_values, dense, n_dense, factors);
                return sample.sum<1>(g, f * DIM + tile.column % DIM).number[0] * ((COMPUTE)dense[i * n_dense + d] * state[i]);
            },
            [&](int64, COMPUTE number) { total += number; }
        );
    write_column_sum(tile, columns, total, stretches);
}
