// Doubles a row.  BUG 1: the host has not written the last input; 2: shared memory is read before it is written.
extern "C" __global__ void twice(const int* values, int count, int* doubled) {
    __shared__ int row[32];
    int thread = threadIdx.x;
#if BUG == 2
    if (thread < count - 1)
#else
    if (thread < count)
#endif
        row[thread] = values[thread];  // reported
    __syncthreads();
    if (thread < count) doubled[thread] = 2 * row[thread];  // reported
}
