// Block 0 writes numbers, the others wait and read them.  BUG 1: through the cache for memory that nobody writes during a
// kernel; 2: the kernel writes to an array that its prototype says it only reads.
extern "C" __global__ void pass_on(const int* values, int* numbers, unsigned* flag, int* found) {
    if (threadIdx.x != 0) return;
    if (blockIdx.x == 0) {
        numbers[0] = values[0];
#if BUG == 2
        ((int*)values)[1] = 5;  // reported
#endif
        __threadfence();
        atomicExch(flag, 1u);
    } else {
        while (atomicAdd(flag, 0u) == 0) __nanosleep(20);
        __threadfence();
#if BUG == 1
        found[blockIdx.x] = __ldg(numbers);  // reported
#else
        found[blockIdx.x] = numbers[0] + __ldg(values);
#endif
    }
}
