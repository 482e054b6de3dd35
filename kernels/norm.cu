// Sums of numbers that do not depend on their order: integers are added, as deshpc.backend.exact_norm has it.
//
// Contract
//   The terms are those of the CPU, to the bit and on every schedule.
#include "numbers.cuh"

constexpr int THREADS = 256;
constexpr int WORDS = 40;       // of 32 bits, and one more that counts what is not finite
constexpr int UNIT_BITS = 256;  // the first word counts multiples of 2^-256

// A number's parts for three words, the first of which is `word`.
struct Parts {
    int word;
    uint64 low, middle, high;
};

__device__ __forceinline__ Parts parts_of(double number) {
    const uint64 bits = (uint64)__double_as_longlong(number);
    const int exponent = (int)(bits >> 52) & 2047;
    uint64 mantissa = bits & 0xfffffffffffffull;
    if (exponent == 2047) return {WORDS, mantissa == 0 ? 1ull : 1ull << 32, 0, 0};
    if (exponent == 0) return {0, 0, 0, 0};
    mantissa |= 1ull << 52;
    int place = exponent - 1075 + UNIT_BITS;
    if (place < 0) {
        mantissa >>= min(-place, 63);
        place = 0;
    }
    const int shift = place % 32;
    const uint64 low = (mantissa & 0xffffffffull) << shift, high = ((mantissa >> 32) << shift) + (low >> 32);
    return {place / 32, low & 0xffffffffull, high & 0xffffffffull, high >> 32};
}

__device__ __forceinline__ uint64 warp_sum(uint64 number) {
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) number += __shfl_xor_sync(0xffffffffu, number, distance);
    return number;
}

// terms (41) += those of numbers (n), none of which is negative.
// The numbers of a warp that have the same words are added up first: few words are asked for, and by all.
extern "C" __global__ void __launch_bounds__(256) add_exactly(const double* numbers, int64 n, int64* terms) {
    __shared__ uint64 sums[WORDS + 1];
    if (threadIdx.x <= WORDS) sums[threadIdx.x] = 0;
    __syncthreads();
    const int lane = threadIdx.x % 32;
    for (int64 begin = (int64)blockIdx.x * THREADS; begin < n; begin += (int64)gridDim.x * THREADS) {
        const int64 i = begin + threadIdx.x;
        const Parts own = parts_of(i < n ? numbers[i] : 0.0);
        uint32 left = __ballot_sync(0xffffffffu, (own.low | own.middle | own.high) != 0);
        while (left != 0) {
            const int word = __shfl_sync(0xffffffffu, own.word, __ffs((int)left) - 1);
            const bool same = own.word == word;
            const uint64 low = warp_sum(same ? own.low : 0), middle = warp_sum(same ? own.middle : 0);
            const uint64 high = warp_sum(same ? own.high : 0);
            if (lane == 0) {
                if (low != 0) atomicAdd(sums + word, low);
                if (middle != 0) atomicAdd(sums + word + 1, middle);
                if (high != 0) atomicAdd(sums + word + 2, high);
            }
            left &= ~__ballot_sync(0xffffffffu, same);
        }
    }
    __syncthreads();
    if (threadIdx.x <= WORDS && sums[threadIdx.x] != 0) atomicAdd((uint64*)terms + threadIdx.x, sums[threadIdx.x]);
}
