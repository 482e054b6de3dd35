// The first block publishes a row and then a flag; the others wait for the flag and read the row.  BUG 1: no fence
// between row and flag; 2: none between flag and row; 3: the fence orders for the writer's own block alone.
extern "C" __global__ void publish(float* row, int width, unsigned* flag, float* sums) {
    if (threadIdx.x != 0) return;
    if (blockIdx.x == 0) {
        for (int column = 0; column < width; column++) row[column] = (float)column;  // reported
#if BUG == 3
        __threadfence_block();
#elif BUG != 1
        __threadfence();
#endif
        atomicExch(flag, 1u);
    } else {
        while (atomicAdd(flag, 0u) == 0) __nanosleep(20);
#if BUG != 2
        __threadfence();
#endif
        float sum = 0.0f;
        for (int column = 0; column < width; column++) sum += row[column];  // reported
        sums[blockIdx.x] = sum;
    }
}
