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

// The same, for stores and for members.
extern "C" __global__ void store(float* values, int offset, int count) {
    int i = threadIdx.x;
    if (i >= count) return;
#if BUG == 2
    *(double2*)(values + offset + 4 * i) = make_double2(1.0, 2.0);  // reported
#elif BUG == 3
    ((float4*)(values + offset))[i].w = 1.0f;  // reported
#elif BUG == 4
    float4 four = __ldg((const float4*)(values + offset) + i);  // reported
    values[i] = four.w;
#else
    ((float4*)values)[i] = make_float4(1.0f, 2.0f, 3.0f, 4.0f);
#endif
}
