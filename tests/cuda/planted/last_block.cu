// The last block to finish adds up the sums of all.  BUG 1: its sum may be read before it has been written; 2: read
// before the ticket.
extern "C" __global__ void total(const float* values, int count, volatile float* unused, float* sums, unsigned* ticket,
                                 float* result) {
    __shared__ float partial[32];
    __shared__ bool last;
    int thread = threadIdx.x, i = blockIdx.x * blockDim.x + thread;
    partial[thread] = i < count ? values[i] : 0.0f;
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        if (thread < half) partial[thread] += partial[thread + half];
    }
    if (thread == 0) {
        sums[blockIdx.x] = partial[0];  // reported
#if BUG != 1
        __threadfence();
#endif
        last = atomicAdd(ticket, 1u) == gridDim.x - 1;
#if BUG != 2
        __threadfence();
#endif
    }
    __syncthreads();  // passes on what thread 0 has acquired
    if (!last) return;
    float sum = thread < gridDim.x ? sums[thread] : 0.0f;  // reported
    for (int by = 16; by > 0; by /= 2) sum += __shfl_down_sync(0xffffffffu, sum, by);
    if (thread == 0) *result = sum;
}
