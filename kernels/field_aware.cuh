// Field-aware factorization machines: rows of FIELDS vectors of DIM numbers, one for each field that a key may meet.
//
// FIELDS   G, vectors of a row: fields that become keys, then dense features
//
// What a sample is comes from the file that includes this: S_f is the sum of x v over the keys of field f, of dense feature d its factors times its number.
#pragma once
#include "record.cuh"

constexpr int WIDTH = FIELDS * DIM;                // numbers of a row
constexpr int WIDE = vector_width<NUMBER>(DIM);    // numbers of a load
constexpr int PAIRS = FIELDS * (FIELDS + 1) / 2;   // of fields, each with itself, too
constexpr int WARP = 32;

// use(f, g) for every WARP-th pair of fields f >= g, from the lane's on.
template <typename Use>
__device__ __forceinline__ void each_pair(int lane, Use use) {
    int f = 0, begin = 0;  // the greater field, and its pairs' begin
    for (int pair = lane; pair < PAIRS; pair += WARP) {
        for (; pair > begin + f; f++) begin += f + 1;
        use(f, pair - begin);
    }
}

// total + <a, b>
__device__ __forceinline__ COMPUTE add_dot(COMPUTE total, const Vector<COMPUTE, WIDE>& a, const Vector<COMPUTE, WIDE>& b) {
#pragma unroll
    for (int c = 0; c < WIDE; c++) total = multiply_add(a.number[c], b.number[c], total);
    return total;
}
