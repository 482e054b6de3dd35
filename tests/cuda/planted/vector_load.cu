// Loads 16 bytes at once.  BUG: from a multiple of 4 bytes.
extern "C" __global__ void load(const float* values, int offset, int count, float* sums) {
    int i = threadIdx.x;
    if (i >= count) return;
#ifdef BUG
    float4 four = *(const float4*)(values + offset + 4 * i);  // reported
#else
    float4 four = ((const float4*)values)[i];
#endif
    sums[i] = four.x + four.y + four.z + four.w;
}
