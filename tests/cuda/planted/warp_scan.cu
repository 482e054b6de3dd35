// Running sums of a warp through shared memory.  BUG: trusts that lanes run in lockstep.
extern "C" __global__ void warp_scan(const int* values, int* sums) {
    __shared__ int running[64];
    int thread = threadIdx.x, lane = thread & 31, i = blockIdx.x * blockDim.x + thread;
    running[thread] = values[i];  // reported
    for (int by = 1; by < 32; by *= 2) {
#ifndef BUG
        __syncwarp();
#endif
        int other = lane >= by ? running[thread - by] : 0;  // reported
        __syncwarp();
        running[thread] += other;  // reported
    }
    sums[i] = running[thread];
}
