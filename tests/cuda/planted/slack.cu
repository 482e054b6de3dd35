// Sums of neighbours in a scratch array.  BUG 1: the last one is added to what lies behind it; 2: one is not written anew.
extern "C" __global__ void neighbours(int* scratch, int count, int* sums) {
    int i = threadIdx.x;
    if (i >= count) return;
#if BUG == 2
    if (i != 3)
#endif
        scratch[i] = i;
    __syncthreads();
#if BUG == 1
    sums[i] = scratch[i] + scratch[i + 1];  // reported
#else
    sums[i] = scratch[i] + (i + 1 < count ? scratch[i + 1] : 0);  // reported
#endif
}
