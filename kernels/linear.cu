// Linear term: partial sum_j w_j x_j, finish with dense features, adjoint dw_j = g x_j.  See `ops/linear.py`.
//
// Contract
//   state (samples, width) at `column`;  dense (samples, n_dense);  parts of the samples: part p begins at samples p / parts
//   All give the same bits as the CPU, sums of dense gradients in fixed point only.
//   A sample is one thread; its occurrences are read in a row.
#include "block.cuh"
#include "record.cuh"
#include "values.cuh"

// weights[c] of the distinct rows, side by side; address 0: no row.
extern "C" __global__ void __launch_bounds__(256) gather_weights(const int64* addresses, int64 n, COMPUTE* weights) {
    const int64 c = thread_number();
    if (c < n && addresses[c] != 0) weights[c] = (COMPUTE)*at<NUMBER>(addresses[c], EMBEDDING - (int64)sizeof(NUMBER));
}

extern "C" __global__ void __launch_bounds__(256) partial(
    const int64* offsets, int64 samples, const int32* local, const float* values, const COMPUTE* weights, double scale,
    SUM* state, int32 width, int32 column
) {
    const int64 i = thread_number();
    if (i >= samples) return;
    SUM total = 0;
    const int64 end = offsets[i + 1];
#pragma unroll 4
    for (int64 j = offsets[i]; j < end; j++)
        total = add_product(total, weights[local[j]], linear_value<COMPUTE>(values, j), scale);
    state[i * width + column] = total;
}

// logit[i] += state + dense . weights
extern "C" __global__ void __launch_bounds__(256) finish(
    const COMPUTE* state, int32 width, int32 column, const float* dense, int32 n_dense, const COMPUTE* weights,
    COMPUTE* logit, int64 samples
) {
    const int64 i = thread_number();
    if (i >= samples) return;
    COMPUTE total = state[i * width + column];
    for (int f = 0; f < n_dense; f++) total += (COMPUTE)dense[i * n_dense + f] * weights[f];
    logit[i] = logit[i] + total;
}

// state = gradient
extern "C" __global__ void __launch_bounds__(256) finish_adjoint(
    COMPUTE* state, int32 width, int32 column, const COMPUTE* gradient, int64 samples
) {
    const int64 i = thread_number();
    if (i < samples) state[i * width + column] = gradient[i];
}

// weight_sums[p, f] += sum of gradient dense over part p: block p n_dense + f.
extern "C" __global__ void __launch_bounds__(256) sum_dense(
    const COMPUTE* gradient, const float* dense, int32 n_dense, int64 samples, int32 parts, double scale, SUM* weight_sums
) {
    const int64 part = blockIdx.x / n_dense, f = blockIdx.x % n_dense;
    SUM total = 0;
    for (int64 i = samples * part / parts + threadIdx.x; i < samples * (part + 1) / parts; i += 256)
        total = add_product(total, gradient[i], (COMPUTE)dense[i * n_dense + f], scale);
    total = block_sum<256>(total);
    if (threadIdx.x == 0) weight_sums[blockIdx.x] += total;
}

// sizes[i] = sum of |w x| of sample i
extern "C" __global__ void __launch_bounds__(256) magnitude(
    const int64* offsets, int64 samples, const int32* local, const float* values, const int64* addresses, double* sizes
) {
    const int64 i = thread_number();
    if (i >= samples) return;
    double total = 0.0;
    for (int64 j = offsets[i]; j < offsets[i + 1]; j++) {
        const double weight = (double)*at<NUMBER>(addresses[local[j]], EMBEDDING - (int64)sizeof(NUMBER));
        total += fabs(weight * linear_value<double>(values, j));
    }
    sizes[i] = total;
}

// terms[i] = |gradient| max(1, largest value) of the samples begin + i
extern "C" __global__ void __launch_bounds__(256) largest_term(
    const COMPUTE* gradient, const double* largest_values, int64 begin, int64 n, double* terms
) {
    const int64 i = thread_number();
    if (i < n) terms[i] = fabs((double)gradient[begin + i]) * fmax(1.0, largest_values[i]);
}
