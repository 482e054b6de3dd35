// Copies an array through shared memory.  BUG 1: one past the end of the input; 2: before its begin; 3: one past the
// end of the output; 4: past the end of shared memory through a pointer; 5: past it by an index; 6: before its begin;
// 7: past the end of a local array; 8: an element across the end of the input.
extern "C" __global__ void copy(const float* input, int count, float* output) {
    __shared__ float tile[32];
    int i = blockIdx.x * blockDim.x + threadIdx.x, thread = threadIdx.x;
    float* mine = tile + thread;
#if BUG == 1
    if (i <= count) *mine = input[i];  // reported
#elif BUG == 2
    if (i < count) *mine = input[i - 1];  // reported
#elif BUG == 8
    if (i < count) *mine = (float)((const volatile double*)input)[i];  // reported
#else
    if (i < count) *mine = input[i];
#endif
    __syncthreads();
#if BUG == 3
    if (i <= count) output[i] = i < count ? *mine : 0.0f;  // reported
#elif BUG == 4
    mine[thread == 31 ? 1 : 0] = 1.0f;  // reported
#elif BUG == 5
    tile[i < count ? thread : thread + 32] = 1.0f;  // reported
#elif BUG == 6
    mine[thread == 0 ? -1 : 0] = 1.0f;  // reported
#elif BUG == 7
    int last[2] = {i, i};
    last[count % 2 + 2] = 2 * i;  // reported
    if (i < count) output[i] = (float)last[i % 2];
#else
    if (i < count) output[i] = *mine;
#endif
}
