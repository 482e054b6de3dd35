// Number types, sums and 16-byte vectors that all kernels share.
//
// Set by whoever compiles a kernel that works on weights:
//   NUMBER   storage type of weights and optimizer state: float or double
//   COMPUTE  type of arithmetic: float or double
//   SUM      type of sums: COMPUTE, or int64 for fixed point
//   DIM      k, numbers of an embedding; 0 where a table has none
//   VALUES   numbers that stand beside each occurrence: 0, 1 or 2
//
// The head of a file has its other constants.
//
// Compiled without contraction (--fmad=false): a product and a sum are fused only where `multiply_add` says so, which is
// where the CPU's kernels fuse them, too.
#pragma once

typedef unsigned char uint8;
typedef unsigned short uint16;
typedef int int32;
typedef unsigned int uint32;
typedef long long int64;
typedef unsigned long long uint64;

// This thread's number in the grid, and the number of all threads.
__device__ __forceinline__ int64 thread_number() { return (int64)blockIdx.x * blockDim.x + threadIdx.x; }

__device__ __forceinline__ int64 least(int64 a, int64 b) { return a < b ? a : b; }

__device__ __forceinline__ float multiply_add(float a, float b, float c) { return __fmaf_rn(a, b, c); }
__device__ __forceinline__ double multiply_add(double a, double b, double c) { return __fma_rn(a, b, c); }
__device__ __forceinline__ float root(float a) { return __fsqrt_rn(a); }
__device__ __forceinline__ double root(double a) { return __dsqrt_rn(a); }
__device__ __forceinline__ float exponential(float z) { return expf(z); }
__device__ __forceinline__ double exponential(double z) { return exp(z); }

// Numbers in one load: 16 bytes where `count` numbers of the type fill whole ones, else 8 or 4.
template <typename T>
__host__ __device__ constexpr int vector_width(int count) {
    return sizeof(T) == 4 && count % 4 == 0 ? 4 : count % 2 == 0 ? 2 : 1;
}

template <typename T, int WIDTH>
struct alignas(sizeof(T) * WIDTH) Vector {
    T number[WIDTH];
};

template <int BYTES>
struct Word;
template <>
struct Word<4> { typedef uint32 type; };
template <>
struct Word<8> { typedef uint64 type; };
template <>
struct Word<16> { typedef uint4 type; };

// WIDTH numbers at `from`, in one load of up to 16 bytes.
template <typename T, int WIDTH>
__device__ __forceinline__ Vector<T, WIDTH> load(const T* from) {
    typedef typename Word<sizeof(T) * WIDTH>::type Bits;
    union {
        Bits bits;
        Vector<T, WIDTH> vector;
    } both;
    both.bits = *(const Bits*)from;
    return both.vector;
}

template <typename T, int WIDTH>
__device__ __forceinline__ void store(T* to, const Vector<T, WIDTH>& vector) {
    typedef typename Word<sizeof(T) * WIDTH>::type Bits;
    union {
        Bits bits;
        Vector<T, WIDTH> vector;
    } both;
    both.vector = vector;
    *(Bits*)to = both.bits;
}

// total + term, and total + a b.  In fixed point the term is rounded to a multiple of 1 / scale before any addition, so
// the order of additions never shows.
__device__ __forceinline__ float add_term(float total, float term, double) { return total + term; }
__device__ __forceinline__ double add_term(double total, double term, double) { return total + term; }
template <typename T>
__device__ __forceinline__ int64 add_term(int64 total, T term, double scale) {
    return total + __double2ll_rn((double)term * scale);
}
template <typename S, typename T>
__device__ __forceinline__ S add_product(S total, T a, T b, double scale) {
    return add_term(total, a * b, scale);
}
// The same, fused in floating point: what the CPU's vectors do.
__device__ __forceinline__ float add_fused(float total, float a, float b, double) { return multiply_add(a, b, total); }
__device__ __forceinline__ double add_fused(double total, double a, double b, double) { return multiply_add(a, b, total); }
template <typename T>
__device__ __forceinline__ int64 add_fused(int64 total, T a, T b, double scale) {
    return add_term(total, a * b, scale);
}

// A sum as a number; inverse_scale is the value of a 1 in fixed point.
template <typename T>
__device__ __forceinline__ T value_of(int64 total, double inverse_scale) { return (T)(__ll2double_rn(total) * inverse_scale); }
template <typename T>
__device__ __forceinline__ T value_of(float total, double) { return total; }
template <typename T>
__device__ __forceinline__ T value_of(double total, double) { return total; }

// total += addend, by any number of threads at once.
__device__ __forceinline__ void add_at(float* total, float addend) { atomicAdd(total, addend); }
__device__ __forceinline__ void add_at(double* total, double addend) { atomicAdd(total, addend); }
__device__ __forceinline__ void add_at(int64* total, int64 addend) { atomicAdd((uint64*)total, (uint64)addend); }

// Lanes of a warp that work on one row: a power of two, so that they lie in one warp and can be added in a tree.
__host__ __device__ constexpr int lanes_for(int vectors) {
    int lanes = 1;
    while (lanes < vectors && lanes < 32) lanes *= 2;
    return lanes;
}

// The lanes of the calling thread's group, as a mask of its warp.
template <int LANES>
__device__ __forceinline__ uint32 group_mask() {
    const uint32 ones = LANES == 32 ? 0xffffffffu : (1u << LANES) - 1u;
    return ones << (threadIdx.x % 32 / LANES * LANES);
}

// Sum over the group's lanes, halves added to each other; every lane has it.
template <int LANES, typename T>
__device__ __forceinline__ T group_sum(T number) {
    const uint32 mask = group_mask<LANES>();
#pragma unroll
    for (int half = LANES / 2; half > 0; half /= 2) number = number + __shfl_xor_sync(mask, number, half);
    return number;
}

// Sum of a vector, halves added to each other.
template <int WIDTH, typename T>
__device__ __forceinline__ T vector_sum(const T* number) {
    if (WIDTH == 4) return (number[0] + number[WIDTH / 2]) + (number[1 % WIDTH] + number[WIDTH - 1]);
    if (WIDTH == 2) return number[0] + number[WIDTH - 1];
    return number[0];
}

// Sum of a row's numbers, of which vector lane + e LANES is number[e]: halves are added to each other, from the outermost
// on, as the CPU adds the lanes of a vector.  Every lane of the group has it; the numbers are used up.
template <int LANES, int EACH, int WIDTH, typename T>
__device__ __forceinline__ T row_sum(T (&number)[EACH][WIDTH]) {
#pragma unroll
    for (int count = EACH; count > 1; count = (count + 1) / 2) {
#pragma unroll
        for (int e = (count + 1) / 2; e < count; e++) {
#pragma unroll
            for (int c = 0; c < WIDTH; c++) number[e - (count + 1) / 2][c] += number[e][c];
        }
    }
#pragma unroll
    for (int c = 0; c < WIDTH; c++) number[0][c] = group_sum<LANES>(number[0][c]);
    return vector_sum<WIDTH>(number[0]);
}
