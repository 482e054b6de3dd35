// The parts of CUDA that kernels use, for comparison with NumPy.
template <typename T>
__device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
    for (int by = 16; by > 0; by >>= 1) value += __shfl_xor_sync(0xffffffffu, value, by);
    return value;
}

template <typename T, int COUNT>
__device__ T reversed(T value) {
    __shared__ T row[COUNT];  // one a pair of T and COUNT
    row[threadIdx.x] = value;
    __syncthreads();
    return row[COUNT - 1 - threadIdx.x];
}

struct Pair {
    float first;
    int second;
};

extern "C" __global__ void __launch_bounds__(64) shuffles(const int* values, int* results) {
    const int i = threadIdx.x, lane = i & 31, n = blockDim.x;
    const int value = values[i];
    results[i] = __shfl_sync(0xffffffffu, value, lane * 5 + 3);
    results[n + i] = __shfl_xor_sync(0xffffffffu, value, 9);
    results[2 * n + i] = __shfl_up_sync(0xffffffffu, value, 3);
    results[3 * n + i] = __shfl_down_sync(0xffffffffu, value, 3, 8);
    results[4 * n + i] = (int)__ballot_sync(0xffffffffu, value & 1);
    results[5 * n + i] = (int)__match_any_sync(0xffffffffu, value % 4);
    results[6 * n + i] = __reduce_add_sync(0xffffffffu, value);
    results[7 * n + i] = __reduce_max_sync(0xffffffffu, value) - __reduce_min_sync(0xffffffffu, value);
    results[8 * n + i] = __any_sync(0xffffffffu, lane == 7) + 2 * __all_sync(0xffffffffu, lane < 32);
    results[9 * n + i] = (int)warp_sum((double)value) + (int)warp_sum((long long)value) + (int)warp_sum((float)value);
    results[10 * n + i] = reversed<int, 64>(value);
    results[11 * n + i] = (int)reversed<float, 64>((float)i);
}

extern "C" __global__ void atomics(int* words, unsigned long long* wide, float* sums, double* exact, long long* extremes) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    atomicAdd(&words[0], i);
    atomicSub(&words[1], i);
    atomicMin(&words[2], -i);
    atomicMax(&words[3], i);
    atomicOr(&words[4], 1 << i % 31);
    atomicXor(&words[5], i);
    atomicAnd(&words[6], ~(1 << i % 31));
    atomicAdd(&wide[0], (unsigned long long)(long long)-i);
    for (unsigned long long seen = __ldcv(&wide[1]), now;; seen = now)
        if ((now = atomicCAS(&wide[1], seen, seen + 3)) == seen) break;
    atomicAdd(sums, 0.5f);
    atomicAdd(exact, 0.25);
    atomicMin(&extremes[0], (long long)-i << 40);
    atomicMax(&extremes[1], (long long)i << 40);
}

extern "C" __global__ void bits(const unsigned long long* values, int count, long long* results) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    const unsigned long long x = values[i];
    results[i] = __popcll(x) + 100 * __popc((unsigned)x);
    results[count + i] = __clzll((long long)x) + 100 * __clz((int)x);
    results[2 * count + i] = __ffsll((long long)x) + 100 * __ffs((int)x);
    results[3 * count + i] = (long long)__umul64hi(x, 0x9E3779B97F4A7C15ull);
    results[4 * count + i] = (long long)__brev((unsigned)x);
    results[5 * count + i] = max((int)(x & 7), 3) + min(2u, (unsigned)(x & 7));
}

extern "C" __global__ void rounding(const double* values, int count, long long* wide, int* narrow, float* singles) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    const double x = values[i];
    const float y = (float)x;
    wide[i] = __double2ll_rn(x);
    wide[count + i] = __float2ll_rn(y);
    narrow[i] = __double2int_rn(x);
    narrow[count + i] = __float2int_rn(y);
    singles[i] = __fadd_rn(__fmul_rn(y, y), y);
    singles[count + i] = __fmaf_rn(y, y, y);
    singles[2 * count + i] = y * y + y;  // not fused
    singles[3 * count + i] = (float)__fma_rn(x, x, x);
}

extern "C" __global__ void dynamic(const float4* fours, float* sums, Pair pair, bool negate) {
    extern __shared__ float4 tile[];
    const float4 four = fours[threadIdx.x];
    tile[threadIdx.x] = make_float4(four.w, four.z, four.y, four.x);
    __syncthreads();
    const float4 other = tile[blockDim.x - 1 - threadIdx.x];
    const float sum = other.x + 10 * other.y + 100 * other.z + 1000 * other.w + pair.first * pair.second;
    __stwt(&sums[threadIdx.x], negate ? -sum : sum);
}
