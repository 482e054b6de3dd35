// Adds occurrences to rows; some rows occur several times.  BUG: the row is read and written without an atomic.
extern "C" __global__ void add(float* sums, const int* rows, const float* values, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
#ifdef BUG
    sums[rows[i]] += values[i];  // reported
#else
    atomicAdd(&sums[rows[i]], values[i]);
#endif
}
