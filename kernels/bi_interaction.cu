// Sums and sums of squares of a sample's embeddings, coordinate by coordinate: partial (c, A, Q), and its bounds for fixed point.
// See `ops/bi_interaction.py`.
//
// Contract
//   samples and occurrences < 2^31
//   state (samples, ..): c at 0, then A (DIM), then Q (DIM); rows begin state_row numbers apart
//   A group of LANES threads works on a sample, as in fm.cu.  Sums go on from what the state holds, in the order of the
//   occurrences: the CPU's bits.  Magnitudes have them where DIM is a power of two (the tree of |v|^2).
#include "embedding.cuh"
#include "values.cuh"

__device__ __forceinline__ double linear_weight(int64 record) {
    return (double)*at<NUMBER>(record, EMBEDDING - (int64)sizeof(NUMBER));
}

// state and offsets point to the first sample of the call
extern "C" __global__ void __launch_bounds__(256) partial(
    const int64* offsets, int64 samples, const int32* local, const float* values, const int64* addresses, double scale,
    SUM* state, int64 state_row
) {
    const int64 i = thread_number() / LANES;
    if (i >= samples) return;
    const int lane = threadIdx.x % LANES;
    SUM* row = state + i * state_row;
    SUM total[EACH][WIDE], squares[EACH][WIDE], scalar = lane == 0 ? row[0] : 0;
#pragma unroll
    for (int e = 0; e < EACH; e++) {
        if (lane + e * LANES >= VECTORS) break;
#pragma unroll
        for (int c = 0; c < WIDE; c++) {
            total[e][c] = row[1 + (lane + e * LANES) * WIDE + c];
            squares[e][c] = row[1 + DIM + (lane + e * LANES) * WIDE + c];
        }
    }
    int32 left = (int32)(offsets[i + 1] - offsets[i]);
#pragma unroll 4
    for (int64 j = offsets[i]; left > 0; left--, j++) {
        const int64 record = addresses[local[j]];
        const COMPUTE x = embedding_value<COMPUTE>(values, j);
        if (lane == 0) {
            const COMPUTE weight = (COMPUTE)*at<NUMBER>(record, EMBEDDING - (int64)sizeof(NUMBER));
            scalar = add_product(scalar, weight, linear_value<COMPUTE>(values, j), scale);
        }
#pragma unroll
        for (int e = 0; e < EACH; e++) {
            if (lane + e * LANES >= VECTORS) break;
            const Vector<NUMBER, WIDE> weights = load<NUMBER, WIDE>(at<NUMBER>(record, EMBEDDING) + (lane + e * LANES) * WIDE);
#pragma unroll
            for (int c = 0; c < WIDE; c++) {
                const COMPUTE v = (COMPUTE)weights.number[c] * x;
                total[e][c] = add_term(total[e][c], v, scale);
                squares[e][c] = add_fused(squares[e][c], v, v, scale);
            }
        }
    }
    if (lane == 0) row[0] = scalar;
#pragma unroll
    for (int e = 0; e < EACH; e++) {
        if (lane + e * LANES >= VECTORS) break;
#pragma unroll
        for (int c = 0; c < WIDE; c++) {
            row[1 + (lane + e * LANES) * WIDE + c] = total[e][c];
            row[1 + DIM + (lane + e * LANES) * WIDE + c] = squares[e][c];
        }
    }
}

// sizes[i] = the largest sum of |terms| of sample i's partial, as the CPU bounds it
extern "C" __global__ void __launch_bounds__(256) magnitude(
    const int64* offsets, int64 samples, const int32* local, const float* values, const int64* addresses, double* sizes
) {
    const int64 i = thread_number() / LANES;
    if (i >= samples) return;
    const int lane = threadIdx.x % LANES;
    double total = 0.0, squares = 0.0, scalar = 0.0;
    const int64 end = offsets[i + 1];
    for (int64 j = offsets[i]; j < end; j++) {
        const int64 record = addresses[local[j]];
        const double x = embedding_value<double>(values, j);
        const double square = square_norm(record, lane) * x * x;
        squares += square;
        total += root(square);
        scalar += fabs(linear_weight(record) * linear_value<double>(values, j));
    }
    const double larger = scalar > squares ? scalar : squares, whole = squares + scalar;
    if (lane == 0) sizes[i] = whole != whole ? whole : larger > total ? larger : total;
}
