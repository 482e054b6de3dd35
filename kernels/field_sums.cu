// Sums of a field-aware factorization machine that travel, and the pairs of complete ones.  See `ops/field_sums.py`, `nn/field_aware.py`.
//
// Contract
//   samples and occurrences < 2^31;  a row has WIDTH = FIELDS DIM numbers, v_g for each field g.  See field_aware.cuh.
//   Set besides: SCALARS, 0 or 1, whether rows have a linear weight.
//   state (samples, ..) of COMPUTE: c at 0, S_f of field f at columns[f] .. columns[f] + WIDTH.  `state` points to the first sample of a
//   call, as offsets does.
//   sums (n, F WIDTH) : S of the F fields that become keys, side by side, whose rows may lie apart, as those of dense (n, n_dense) do;
//   factors (n_dense, WIDTH);  all of COMPUTE
//   partial : a group of LANES_A_ROW threads has a sample, each of them numbers of a row that it loads with 16 bytes where DIM is a multiple
//   of 4 (8 or 4 else).  What an occurrence adds is added in memory, occurrence after occurrence: S has the CPU's bits.
//   pairs : a warp has a sample.  pairs_adjoint : a thread has a number of the gradient: coalesced.
//   Sums are in fixed orders: the same bits on every schedule, but by add_atomically.
#include "field_aware.cuh"
#include "columns.cuh"
#include "values.cuh"

constexpr int MOST_HELD = 4;

#include "key_sums.cuh"

constexpr int LANES_A_ROW = lanes_for(WIDTH / WIDE);

// S_f += sum v x, c += sum (w xl - |v_f|^2 x^2 / 2), over the occurrences
extern "C" __global__ void __launch_bounds__(256) partial(
    const int64* offsets, int64 samples, const int32* local, const float* values, const int64* addresses,
    const uint16* fields, const int64* columns, COMPUTE* state, int64 state_row
) {
    const int64 i = thread_number() / LANES_A_ROW;
    if (i >= samples) return;
    const int lane = threadIdx.x % LANES_A_ROW;
    COMPUTE* row = state + i * state_row;
    COMPUTE scalar = 0;
    for (int64 j = offsets[i]; j < offsets[i + 1]; j++) {
        const int64 c = local[j], record = addresses[c];
        const int own = fields[c] * DIM;
        const COMPUTE x = embedding_value<COMPUTE>(values, j);
        COMPUTE* sum = row + columns[fields[c]];
#pragma unroll 2
        for (int first = lane * WIDE; first < WIDTH; first += LANES_A_ROW * WIDE) {
            const Vector<NUMBER, WIDE> weights = load<NUMBER, WIDE>(at<NUMBER>(record, EMBEDDING) + first);
            const COMPUTE half = first / DIM * DIM == own ? (COMPUTE)0.5 : (COMPUTE)0;
#pragma unroll
            for (int n = 0; n < WIDE; n++) {
                const COMPUTE v = (COMPUTE)weights.number[n] * x;
                sum[first + n] = multiply_add((COMPUTE)weights.number[n], x, sum[first + n]);
                scalar -= half * v * v;
            }
        }
        if (SCALARS == 1 && lane == 0) {
            const COMPUTE weight = (COMPUTE)*at<NUMBER>(record, EMBEDDING - (int64)sizeof(NUMBER));
            scalar += weight * linear_value<COMPUTE>(values, j);
        }
    }
    scalar = group_sum<LANES_A_ROW>(scalar);
    if (lane == 0) row[0] += scalar;
}

// What all occurrences of a key have in common: where its field's dS begins, and its own vector in its row.
struct Key {
    int64 first, row;
    int32 own;
};

// What an occurrence adds to its key's sums: z xl, x dS_f, and - z x^2 v_f to the vector for its own field.
__device__ __forceinline__ void add_occurrence(
    Sums* sums, const Key& key, const Turn& turn, const COMPUTE* row, const float* values, int64 occurrence
) {
    const COMPUTE z = row[0], x = embedding_value<COMPUTE>(values, occurrence);
#pragma unroll
    for (int e = 0; e < HELD; e++) {
        const int number = turn.number(e);
        if (number < WIDTH) {
            sums->number[e] = multiply_add(row[key.first + number], x, sums->number[e]);
            if (number / DIM == key.own)
                sums->number[e] = multiply_add((COMPUTE)at<NUMBER>(key.row)[number], -z * x * x, sums->number[e]);
        }
        if (SCALARS == 1 && number == WIDTH) sums->number[e] += z * linear_value<COMPUTE>(values, occurrence);
    }
}

// Gradients of rows: see key_sums.cuh.
extern "C" __global__ void __launch_bounds__(128) sum_tiles(
    const uint32* places, const uint32* order, int64 n, uint32 keys, const int32* samples, const float* values,
    const COMPUTE* state, int64 state_row, const int64* addresses, const uint16* fields, const int64* columns, double scale,
    SUM* scalar_sums, SUM* vector_sums, SUM* square_sums, SUM* heads, SUM* tails, uint32* spans, uint32* span_count
) {
    const Turn turn;
    add_tile(
        turn, places, order, n, keys, scalar_sums, vector_sums, square_sums, heads, tails, spans, span_count,
        [&](int64 c) { return Key{columns[fields[c]], addresses[c] + EMBEDDING, fields[c]}; },
        [&](Sums* sums, const Key& key, int64 occurrence) {
            add_occurrence(sums, key, turn, state + samples[occurrence] * state_row, values, occurrence);
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
    int64 state_row, const int64* addresses, const uint16* fields, const int64* columns, double scale, SUM* scalar_sums,
    SUM* vector_sums, SUM* square_sums
) {
    const Turn turn;
    add_one(
        turn, local, n, keys, samples, scalar_sums, vector_sums, square_sums,
        [&](int64 c) { return Key{columns[fields[c]], addresses[c] + EMBEDDING, fields[c]}; },
        [&](Sums* sums, const Key& key, int64 occurrence) {
            add_occurrence(sums, key, turn, state + samples[occurrence] * state_row, values, occurrence);
        }
    );
}

// One sample: its complete sums, and its dense features.
struct Sample {
    const COMPUTE *sums, *dense, *factors;
    int32 n_fields;

    // Number n of S_f
    __device__ __forceinline__ COMPUTE number(int f, int n) const {
        return f < n_fields ? sums[(int64)f * WIDTH + n] : factors[(int64)(f - n_fields) * WIDTH + n] * dense[f - n_fields];
    }
};

// result = the pairs of each sample but for what c has: sum over f > g of <S_f g, S_g f>, and 1/2 |S_f f|^2.  One warp a sample.
extern "C" __global__ void __launch_bounds__(256) pairs(
    int64 n, const COMPUTE* sums, int64 sums_row, const COMPUTE* dense, int64 dense_row, int32 n_dense, const COMPUTE* factors,
    COMPUTE* result
) {
    const int64 i = thread_number() / WARP;
    if (i >= n) return;
    const int lane = threadIdx.x % WARP;
    const Sample sample = {sums + i * sums_row, dense + i * dense_row, factors, FIELDS - n_dense};
    COMPUTE total = 0;
    each_pair(lane, [&](int f, int g) {
        if (f == g && f >= sample.n_fields) return;
        const COMPUTE factor = f == g ? (COMPUTE)0.5 : (COMPUTE)1;
#pragma unroll 2
        for (int c = 0; c < DIM; c++)
            total = multiply_add(sample.number(f, g * DIM + c) * factor, sample.number(g, f * DIM + c), total);
    });
    total = group_sum<WARP>(total);
    if (lane == 0) result[i] = total;
}

// gradient (n, F WIDTH) = upstream S_g f for vector g of field f, or += unless `fresh`;  upstream (n)
extern "C" __global__ void __launch_bounds__(256) pairs_adjoint(
    int64 n, const COMPUTE* sums, int64 sums_row, const COMPUTE* dense, int64 dense_row, int32 n_dense, const COMPUTE* factors,
    const COMPUTE* upstream, COMPUTE* gradient, int64 gradient_row, int32 fresh
) {
    const int64 width = (int64)(FIELDS - n_dense) * WIDTH, i = thread_number() / width;
    if (i >= n) return;
    const int32 place = (int32)(thread_number() % width);
    const int f = place / WIDTH, g = place % WIDTH / DIM;
    const Sample sample = {sums + i * sums_row, dense + i * dense_row, factors, FIELDS - n_dense};
    COMPUTE* target = gradient + i * gradient_row + place;
    const COMPUTE number = sample.number(g, f * DIM + place % DIM);
    *target = fresh ? upstream[i] * number : multiply_add(number, upstream[i], *target);
}

// stretches (.., n_dense WIDTH) = sums over each stretch of samples of upstream x S_g f, for vector g of dense feature f: see columns.cuh
extern "C" __global__ void __launch_bounds__(256) factors_adjoint(
    int64 n, const COMPUTE* sums, int64 sums_row, const COMPUTE* dense, int64 dense_row, int32 n_dense, const COMPUTE* factors,
    const COMPUTE* upstream, COMPUTE* stretches
) {
    const int32 columns = n_dense * WIDTH;
    const Tile tile = tile_of(n, columns);
    const int d = tile.column / WIDTH, g = tile.column % WIDTH / DIM, f = FIELDS - n_dense + d;
    COMPUTE total = 0;
    if (tile.column < columns && f != g)
        each_row(
            tile,
            [&](int64 i) {
                const Sample sample = {sums + i * sums_row, dense + i * dense_row, factors, FIELDS - n_dense};
                return sample.number(g, f * DIM + tile.column % DIM) * (sample.dense[d] * upstream[i]);
            },
            [&](int64, COMPUTE number) { total += number; }
        );
    write_column_sum(tile, columns, total, stretches);
}
