// Factorization machine: partial (A, c), finish, and what becomes of the state in the adjoint.  See `ops/fm.py`.
//
// Contract
//   samples and occurrences < 2^31
//   state (samples, width): A at column .. column + DIM, then c.  dense (samples, n_dense);  factors (n_dense, DIM)
//   A group of LANES threads works on a sample, each on numbers of the embedding that it loads with 16 bytes (8 or 4 where
//   DIM is not a multiple of 4), so a row is one coalesced read.  A is added in the order of the occurrences: the CPU's bits.
//   c, logits and magnitudes are the CPU's bits where DIM is a power of two (the tree of their last sum), c in fixed point
//   for any DIM; sums of dense gradients in fixed point, and (g A, g) always.
#include "block.cuh"
#include "record.cuh"
#include "values.cuh"

constexpr int WIDE = vector_width<NUMBER>(DIM);
constexpr int VECTORS = DIM / WIDE;
constexpr int LANES = lanes_for(VECTORS);
constexpr int EACH = (VECTORS + LANES - 1) / LANES;  // vectors of a lane
constexpr int THREADS = 256;
constexpr int GROUPS = THREADS / LANES;

extern "C" __global__ void __launch_bounds__(256) partial(
    const int64* offsets, int64 samples, const int32* local, const float* values, const int64* addresses, double scale,
    SUM* state, int32 width, int32 column
) {
    if (thread_number() / LANES >= samples) return;
    const int32 i = (int32)(thread_number() / LANES);
    const int lane = threadIdx.x % LANES;
    SUM total[EACH][WIDE] = {}, squares[EACH][WIDE] = {}, scalar = 0;
    int32 left = (int32)(offsets[i + 1] - offsets[i]);  // 32 bits: with 64 some forms spill
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
                squares[e][c] = add_fused(squares[e][c], v, v * (COMPUTE)0.5, scale);
            }
        }
    }
    SUM* row = state + (int64)i * width + column;
#pragma unroll
    for (int e = 0; e < EACH; e++) {
        if (lane + e * LANES >= VECTORS) break;
#pragma unroll
        for (int c = 0; c < WIDE; c++) row[(lane + e * LANES) * WIDE + c] = total[e][c];
    }
    const SUM sum = row_sum<LANES>(squares);
    if (lane == 0) row[DIM] = scalar - sum;
}

// logit += c + |A|^2 / 2, the dense features' own terms added to A (kept in the state, for the adjoint) and to c.
extern "C" __global__ void __launch_bounds__(256) finish(
    COMPUTE* state, int32 width, int32 column, const float* dense, int32 n_dense, const COMPUTE* weights,
    const COMPUTE* factors, COMPUTE* logit, int64 samples
) {
    const int64 i = thread_number() / LANES;
    if (i >= samples) return;
    const int lane = threadIdx.x % LANES;
    COMPUTE* row = state + i * width + column;
    COMPUTE scalar = row[DIM], squares[EACH][WIDE] = {};
#pragma unroll
    for (int e = 0; e < EACH; e++) {
        if (lane + e * LANES >= VECTORS) break;
#pragma unroll
        for (int c = 0; c < WIDE; c++) {
            const int k = (lane + e * LANES) * WIDE + c;
            COMPUTE total = row[k], square = 0;
            for (int f = 0; f < n_dense; f++) {
                const COMPUTE v = factors[f * DIM + k] * (COMPUTE)dense[i * n_dense + f];
                total = total + v;
                square = multiply_add(v, v, square);
            }
            if (n_dense > 0) row[k] = total;
            squares[e][c] = total * total - square;
        }
    }
    for (int f = 0; f < n_dense; f++) scalar += (COMPUTE)dense[i * n_dense + f] * weights[f];
    const COMPUTE sum = row_sum<LANES>(squares);
    if (lane == 0) logit[i] = logit[i] + scalar + (COMPUTE)0.5 * sum;
}

// Dense features' gradients over part p of the samples, block p n_dense + f: weight_sums[p, f] += sum g x,
// factor_sums[p, f] += sum g x (A - v x).  To be called before `finish_adjoint`, which overwrites A.
extern "C" __global__ void __launch_bounds__(256) sum_dense(
    const COMPUTE* state, int32 width, int32 column, const COMPUTE* gradient, const float* dense, int32 n_dense,
    const COMPUTE* factors, int64 samples, int32 parts, double scale, SUM* weight_sums, SUM* factor_sums
) {
    const int64 part = blockIdx.x / n_dense, f = blockIdx.x % n_dense;
    const int lane = threadIdx.x % LANES, group = threadIdx.x / LANES;
    const int64 begin = samples * part / parts, end = samples * (part + 1) / parts;
    SUM weight = 0;
    for (int64 i = begin + threadIdx.x; i < end; i += THREADS)
        weight = add_product(weight, gradient[i], (COMPUTE)dense[i * n_dense + f], scale);
    weight = block_sum<THREADS>(weight);
    if (threadIdx.x == 0) weight_sums[blockIdx.x] += weight;
    __shared__ SUM of_group[THREADS];
    for (int c = 0; c < EACH * WIDE; c++) {  // one number of every lane at a time: of_group holds those of all groups
        const int k = (lane + c / WIDE * LANES) * WIDE + c % WIDE;
        SUM total = 0;
        if (k < DIM) {
            const COMPUTE v = factors[f * DIM + k];
            for (int64 i = begin + group; i < end; i += GROUPS) {
                const COMPUTE x = (COMPUTE)dense[i * n_dense + f];
                const COMPUTE others = multiply_add(v, -x, state[i * width + column + k]);
                total = add_fused(total, others, gradient[i] * x, scale);
            }
        }
        of_group[threadIdx.x] = total;
        __syncthreads();
        if (group == 0 && k < DIM) {
            for (int g = 1; g < GROUPS; g++) total += of_group[g * LANES + lane];
            factor_sums[blockIdx.x * (int64)DIM + k] += total;
        }
        __syncthreads();
    }
}

// (A, c) becomes (g A, g)
extern "C" __global__ void __launch_bounds__(256) finish_adjoint(
    COMPUTE* state, int32 width, int32 column, const COMPUTE* gradient, int64 samples
) {
    const int64 place = thread_number(), i = place / (DIM + 1), c = place % (DIM + 1);
    if (i >= samples) return;
    COMPUTE* number = state + i * width + column + c;
    *number = c == DIM ? gradient[i] : *number * gradient[i];
}

// sizes[i] = the largest sum of |terms| of sample i's partial, as the CPU bounds it
extern "C" __global__ void __launch_bounds__(256) magnitude(
    const int64* offsets, int64 samples, const int32* local, const float* values, const int64* addresses, double* sizes
) {
    const int64 i = thread_number() / LANES;
    if (i >= samples) return;
    const int lane = threadIdx.x % LANES;
    double total = 0.0, scalar = 0.0;
    const int64 end = offsets[i + 1];
    for (int64 j = offsets[i]; j < end; j++) {
        const int64 record = addresses[local[j]];
        COMPUTE squares[EACH][WIDE] = {};
#pragma unroll
        for (int e = 0; e < EACH; e++) {
            if (lane + e * LANES >= VECTORS) break;
            const Vector<NUMBER, WIDE> weights = load<NUMBER, WIDE>(at<NUMBER>(record, EMBEDDING) + (lane + e * LANES) * WIDE);
#pragma unroll
            for (int c = 0; c < WIDE; c++) squares[e][c] = (COMPUTE)weights.number[c] * (COMPUTE)weights.number[c];
        }
        const double x = embedding_value<double>(values, j);
        const double square = (double)row_sum<LANES>(squares) * x * x;
        const double weight = (double)*at<NUMBER>(record, EMBEDDING - (int64)sizeof(NUMBER));
        total += root(square);
        scalar += fabs(weight * linear_value<double>(values, j)) + 0.5 * square;
    }
    if (lane == 0) sizes[i] = scalar != scalar || scalar > total ? scalar : total;
}

// terms[i] = a bound of the |terms| of gradients of sample begin + i: of keys g xl, g x A, g x^2, of dense features
// g x (A - v x).  largest_values (n) : the largest |x| of each sample;  largest_factor : of all dense factors
extern "C" __global__ void __launch_bounds__(256) largest_term(
    const COMPUTE* state, int32 width, int32 column, const COMPUTE* gradient, const COMPUTE* factors, int32 n_dense,
    const double* largest_values, int64 begin, int64 n, double* terms
) {
    const int64 i = thread_number();
    if (i >= n) return;
    double factor = 0.0;
    for (int place = 0; place < n_dense * DIM; place++) factor = fmax(factor, fabs((double)factors[place]));
    const double x = fmax(1.0, largest_values[i]);
    double total = x;
    for (int c = 0; c < DIM; c++) total = fmax(total, fabs((double)state[(begin + i) * width + column + c]));
    terms[i] = fabs((double)gradient[begin + i]) * x * (total + x * factor);
}
