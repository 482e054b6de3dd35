// A block shifts tiles through shared memory.  BUG 1: no barrier before the next tile is written; 2: a barrier of warps where
// one of the block is needed; 3: a counter in shared memory that nobody has set; 4: more dynamic shared memory than there is.
extern "C" __global__ void shift(const int* values, int count, int* shifted) {
    __shared__ int tile[64];
    __shared__ int seen;
    extern __shared__ int more[];
#if BUG != 3
    if (threadIdx.x == 0) seen = 0;
#endif
    __syncthreads();
    for (int begin = 0; begin < count; begin += 64) {
        tile[threadIdx.x] = values[begin + threadIdx.x];  // reported
#if BUG == 2
        __syncwarp();
#else
        __syncthreads();
#endif
        shifted[begin + threadIdx.x] = tile[63 - threadIdx.x];  // reported
        atomicAdd(&seen, 1);  // reported
#if BUG != 1
        __syncthreads();
#endif
    }
#if BUG == 4
    more[threadIdx.x + 1] = 1;  // reported
#else
    more[threadIdx.x] = 1;
#endif
}
