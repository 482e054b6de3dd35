// Threads that wait for ever.  BUG 1: for a lane that waits elsewhere; 2: for a flag that nobody raises; 3: the flag is
// polled by a volatile read.
extern "C" __global__ void wait(unsigned* flag, const volatile unsigned* polled, unsigned* done) {
    unsigned lane = threadIdx.x;
#if BUG == 1
    if (lane == 0) __syncwarp(0x80000001u);  // reported
    if (lane == 31) __syncthreads();         // reported
#elif BUG == 2
    while (atomicAdd(flag, 0u) == 0) {}  // reported
#elif BUG == 3
    while (*polled == 0) {}  // reported
#endif
    done[lane] = 1;
}
