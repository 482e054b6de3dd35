// One update of every distinct key's row.  The formulas are those of rules.cuh.
//
// Contract
//   addresses (n) int64 of the rows' records, 0: none.  A row's gradient is scalar_sums[c] for its linear weight and
//   vector_sums[c] - square_sums[c] v for its embedding v (null: nothing to subtract; it may be scalar_sums itself).
//   inverse_scale : value of a 1 in fixed point.  The sums become zero again.
//   decayed : where a row's decayed count lies, to which `sight` is added; negative where there are none
//   Set besides: SCALARS 0 or 1, RULE (rules.cuh).  Given equal sums, a row's new bits are the CPU's; under row-wise
//   Adagrad where DIM is a power of two and a lane has at most 4 loads of the row (512 floats), and square norms there, too.
//   Where there is no row, sums stay.
//   A group of LANES threads takes a row: weights, state and sums move in 16-byte loads and stores where DIM is a multiple
//   of 4 (float32).
#include "record.cuh"
#include "rules.cuh"

constexpr int SIZE = sizeof(NUMBER);
constexpr int WIDE = DIM == 0 ? 1 : vector_width<NUMBER>(DIM);
constexpr int VECTORS = DIM / WIDE;
constexpr int LANES = lanes_for(VECTORS);
constexpr int EACH = DIM == 0 ? 1 : (VECTORS + LANES - 1) / LANES;
constexpr bool ROWWISE = RULE == ROWWISE_ADAGRAD;
constexpr int STATE_AT = EMBEDDING + DIM * SIZE;
constexpr int SCALAR_STATE_AT = STATE_AT + (DIM == 0 ? 0 : ROWWISE ? SIZE : PLANES * DIM * SIZE);
constexpr int TAIL = SCALAR_STATE_AT + SCALARS * PLANES * SIZE;
// sums of WIDE numbers: one or two loads of 16 bytes
constexpr int SUMS_WIDE = sizeof(SUM) * WIDE > 16 ? 16 / sizeof(SUM) : WIDE;

// Vectors of a lane at a time: a row of many numbers is read in turns.  State of each number leaves no registers for a second one.
constexpr int HELD = EACH <= 4 && (ROWWISE || PLANES == 0) ? EACH : 1;

struct Embedding {
    COMPUTE v[HELD][WIDE], gradient[HELD][WIDE];
};

// A lane's vectors from vector lane + turn LANES on, and their gradient, before clipping and l2.
__device__ __forceinline__ Embedding read(
    int64 record, int lane, int turn, int64 c, const SUM* vector_sums, COMPUTE shrink, double inverse_scale
) {
    Embedding row = {};
#pragma unroll
    for (int e = 0; e < HELD; e++) {
        if (lane + (turn + e) * LANES >= VECTORS) break;
        const int first = (lane + (turn + e) * LANES) * WIDE;
        const Vector<NUMBER, WIDE> weights = load<NUMBER, WIDE>(at<NUMBER>(record, EMBEDDING) + first);
#pragma unroll
        for (int part = 0; part < WIDE; part += SUMS_WIDE) {
            const Vector<SUM, SUMS_WIDE> sums = load<SUM, SUMS_WIDE>(vector_sums + c * DIM + first + part);
#pragma unroll
            for (int i = 0; i < SUMS_WIDE; i++) {
                const COMPUTE v = (COMPUTE)weights.number[part + i];
                row.v[e][part + i] = v;
                row.gradient[e][part + i] = multiply_add(v, -shrink, value_of<COMPUTE>(sums.number[i], inverse_scale));
            }
        }
    }
    return row;
}

// Clipping and l2
__device__ __forceinline__ void regularise(Embedding& row, COMPUTE clip, COMPUTE l2) {
#pragma unroll
    for (int e = 0; e < HELD; e++) {
#pragma unroll
        for (int i = 0; i < WIDE; i++) row.gradient[e][i] = multiply_add(l2, row.v[e][i], clip * row.gradient[e][i]);
    }
}

// Sum of the squares of a row's gradient: `row` is a lane's first vectors, next(turn) others.  Every lane has it.
template <typename T, typename Next>
__device__ __forceinline__ T square_sum(const Embedding& first, Next next) {
    T squares[HELD][WIDE];
#pragma unroll
    for (int e = 0; e < HELD; e++) {
#pragma unroll
        for (int i = 0; i < WIDE; i++) squares[e][i] = (T)first.gradient[e][i] * (T)first.gradient[e][i];
    }
#pragma unroll 1
    for (int turn = HELD; turn < EACH; turn += HELD) {
        const Embedding row = next(turn);
#pragma unroll
        for (int i = 0; i < WIDE; i++) squares[0][i] += (T)row.gradient[0][i] * (T)row.gradient[0][i];
    }
    return row_sum<LANES>(squares);
}

extern "C" __global__ void __launch_bounds__(256) rows(
    const int64* addresses, int64 n, double inverse_scale, SUM* scalar_sums, SUM* vector_sums, SUM* square_sums, uint32 step,
    COMPUTE clip, COMPUTE l2, COMPUTE field0, COMPUTE field1, COMPUTE field2, COMPUTE field3, COMPUTE field4,
    COMPUTE field5, COMPUTE field6, COMPUTE field7, int64 decayed, float sight
) {
    const int64 c = thread_number() / LANES;
    if (c >= n || addresses[c] == 0) return;
    const int lane = threadIdx.x % LANES;
    const int64 record = addresses[c];
    const Rule rule = {{field0, field1, field2, field3, field4, field5, field6, field7}};
    const COMPUTE shrink = square_sums == nullptr ? (COMPUTE)0 : value_of<COMPUTE>(square_sums[c], inverse_scale);
    const COMPUTE slope = SCALARS == 0 ? (COMPUTE)0 : value_of<COMPUTE>(scalar_sums[c], inverse_scale);
    __syncwarp(group_mask<LANES>());  // all lanes have read the sums that lane 0 clears
    if (lane == 0) {
        *at<uint32>(record, TAIL) = step;
        *at<uint32>(record, TAIL + 4) += 1;
        if (decayed >= 0) *at<float>(record, decayed) += sight;
        if (SCALARS == 1) {
            NUMBER* place = at<NUMBER>(record, EMBEDDING - SIZE);
            COMPUTE state[2] = {0, 0};
#pragma unroll
            for (int plane = 0; plane < PLANES; plane++) state[plane] = (COMPUTE)*at<NUMBER>(record, SCALAR_STATE_AT + plane * SIZE);
            const COMPUTE weight = (COMPUTE)*place, gradient = l2 * weight + clip * slope;
            if (ROWWISE) state[0] = state[0] + gradient * gradient;
            *place = (NUMBER)new_weight<false>(rule, weight, gradient, state);
#pragma unroll
            for (int plane = 0; plane < PLANES; plane++) *at<NUMBER>(record, SCALAR_STATE_AT + plane * SIZE) = (NUMBER)state[plane];
            scalar_sums[c] = 0;
        }
        if (square_sums != nullptr) square_sums[c] = 0;
    }
#if DIM > 0
    const auto read_next = [&](int turn) {
        Embedding row = read(record, lane, turn, c, vector_sums, shrink, inverse_scale);
        regularise(row, clip, l2);
        return row;
    };
    Embedding row = read_next(0);
    COMPUTE total = 0;
    if (ROWWISE) {
        total = (COMPUTE)*at<NUMBER>(record, STATE_AT) + square_sum<COMPUTE>(row, read_next) / (COMPUTE)DIM;
        __syncwarp(group_mask<LANES>());  // all lanes have read it
        if (lane == 0) *at<NUMBER>(record, STATE_AT) = (NUMBER)total;
    }
#pragma unroll 1
    for (int turn = 0; turn < EACH; turn += HELD) {
        if (turn > 0) row = read_next(turn);
#pragma unroll
        for (int e = 0; e < HELD; e++) {
            if (lane + (turn + e) * LANES >= VECTORS) break;
            const int first = (lane + (turn + e) * LANES) * WIDE;
            Vector<NUMBER, WIDE> weights, planes[2];
            if (!ROWWISE) {
#pragma unroll
                for (int plane = 0; plane < PLANES; plane++)
                    planes[plane] = load<NUMBER, WIDE>(at<NUMBER>(record, STATE_AT) + plane * DIM + first);
            }
#pragma unroll
            for (int i = 0; i < WIDE; i++) {
                COMPUTE state[2] = {total, 0};
                if (!ROWWISE) {
#pragma unroll
                    for (int plane = 0; plane < PLANES; plane++) state[plane] = (COMPUTE)planes[plane].number[i];
                }
                weights.number[i] = (NUMBER)new_weight<true>(rule, row.v[e][i], row.gradient[e][i], state);
                if (!ROWWISE) {
#pragma unroll
                    for (int plane = 0; plane < PLANES; plane++) planes[plane].number[i] = (NUMBER)state[plane];
                }
            }
            store(at<NUMBER>(record, EMBEDDING) + first, weights);
            if (!ROWWISE) {
#pragma unroll
                for (int plane = 0; plane < PLANES; plane++) store(at<NUMBER>(record, STATE_AT) + plane * DIM + first, planes[plane]);
            }
            const Vector<SUM, SUMS_WIDE> nothing = {};
#pragma unroll
            for (int part = 0; part < WIDE; part += SUMS_WIDE) store(vector_sums + c * DIM + first + part, nothing);
        }
    }
#endif
}

// norms (n) : squared norm of each row's gradient, before clipping and l2; 0 where there is no row.  The sums stay.
extern "C" __global__ void __launch_bounds__(256) square_norms(
    const int64* addresses, int64 n, double inverse_scale, const SUM* scalar_sums, const SUM* vector_sums,
    const SUM* square_sums, double* norms
) {
    const int64 c = thread_number() / LANES;
    if (c >= n) return;
    const int lane = threadIdx.x % LANES;
    if (addresses[c] == 0) {
        if (lane == 0) norms[c] = 0.0;
        return;
    }
    double norm = 0.0;
    if (SCALARS == 1) {
        const double slope = (double)value_of<COMPUTE>(scalar_sums[c], inverse_scale);
        norm = slope * slope;
    }
#if DIM > 0
    const COMPUTE shrink = square_sums == nullptr ? (COMPUTE)0 : value_of<COMPUTE>(square_sums[c], inverse_scale);
    const auto read_next = [&](int turn) { return read(addresses[c], lane, turn, c, vector_sums, shrink, inverse_scale); };
    norm += square_sum<double>(read_next(0), read_next);
#endif
    if (lane == 0) norms[c] = norm;
}
