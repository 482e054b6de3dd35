// Blocks wait for each other.  BUG 1: for one that begins when they have ended; 2: for those of their own warp alone, which a
// partial warp does not have.
extern "C" __global__ void meet(unsigned* arrived, int* sums) {
    int lane = threadIdx.x % 32;
    unsigned there = __activemask();
#if BUG == 1
    if (threadIdx.x == 0) {
        atomicAdd(arrived, 1u);  // reported
        while (atomicAdd(arrived, 0u) < gridDim.x) {}  // reported
    }
#elif BUG == 2
    int sum = __shfl_down_sync(0xffffffffu, lane, 1);  // reported
    if (lane == 0) sums[blockIdx.x] = sum;
#else
    if (threadIdx.x == 0) atomicAdd(arrived, there != 0);
#endif
}
