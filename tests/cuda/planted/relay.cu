// Block 0 writes a row, block 1 relays the news, the lanes of block 2 read the row.  BUG 1: block 1 does not order its
// own flag behind the first; 2: lanes do not wait for the one that has polled; 3: the first flag is a plain variable;
// 4: block 1 is told by a volatile write that no fence precedes.
extern "C" __global__ void relay(int* row, int* plain, volatile int* first, unsigned* second, int* sums) {
    const int lane = threadIdx.x;
    if (blockIdx.x == 0) {
        row[lane] = lane;  // reported
        __syncwarp();      // lane 0's fence publishes what the others have written
        if (lane == 0) {
#if BUG != 4
            __threadfence();
#endif
#if BUG == 3
            *plain = 1;  // reported
#endif
            *first = 1;
        }
    } else if (blockIdx.x == 1) {
        if (lane != 0) return;
#if BUG == 3
        while (*first == 0 && *plain == 0) {}  // reported
#else
        while (*first == 0) {}
#endif
#if BUG != 1
        __threadfence();
#endif
        atomicExch(second, 1u);
    } else {
        if (lane == 0) {
            while (atomicAdd(second, 0u) == 0) {}
            __threadfence();
        }
#if BUG != 2
        __syncwarp();
#endif
        sums[lane] = row[31 - lane];  // reported
    }
}
