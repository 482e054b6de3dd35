// Sums of 32 neighbours.  BUG 1: lanes whose element is out of range skip a shuffle; 2: they have exited; 3: half of
// the block waits at another barrier; 4: a shuffle reads a lane outside its mask; 5: lanes disagree about the mask.
extern "C" __global__ void neighbours(const int* values, int count, int* sums) {
    int i = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x & 31;
#if BUG == 2
    if (i >= count) return;
#endif
    int sum = i < count ? values[i] : 0;
    for (int by = 16; by > 0; by /= 2) {
#if BUG == 1
        if (i < count) sum += __shfl_xor_sync(0xffffffffu, sum, by);  // reported
        else __syncwarp();  // reported
#elif BUG == 4
        sum += __shfl_xor_sync(lane < 16 ? 0x0000ffffu : 0xffff0000u, sum, by);  // reported
#elif BUG == 5
        sum += __shfl_xor_sync(i < count ? 0xffffffffu : 0xfffffffeu, sum, by);  // reported
#else
        sum += __shfl_xor_sync(0xffffffffu, sum, by);  // reported
#endif
    }
#if BUG == 3
    if (threadIdx.x < 32) {
        __syncthreads();  // reported
    } else {
        __syncthreads();  // reported
    }
#else
    __syncthreads();
#endif
    if (lane == 0) sums[i / 32] = sum;
}
