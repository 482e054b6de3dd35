// A sum in shared memory.  BUG: threads add before the others have stored.
extern "C" __global__ void block_sum(const float* values, int count, float* sums) {
    __shared__ float partial[64];
    int i = blockIdx.x * blockDim.x + threadIdx.x, thread = threadIdx.x;
    partial[thread] = i < count ? values[i] : 0.0f;  // reported
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
#ifndef BUG
        __syncthreads();
#endif
        if (thread < half) partial[thread] += partial[thread + half];  // reported
    }
    if (thread == 0) sums[blockIdx.x] = partial[0];
}
