// How a group of lanes shares an embedding of DIM numbers: each takes every LANES-th vector of up to 16 bytes.
//
// fm.cu has the loop of `square_norm` in its place: called there, some forms spill.
#pragma once
#include "record.cuh"

constexpr int WIDE = vector_width<NUMBER>(DIM);      // numbers of a vector
constexpr int VECTORS = DIM / WIDE;
constexpr int LANES = lanes_for(VECTORS);
constexpr int EACH = (VECTORS + LANES - 1) / LANES;  // vectors of a lane

// |v|^2 of the record's embedding, of which every lane of the group has the sum.
__device__ __forceinline__ double square_norm(int64 record, int lane) {
    COMPUTE squares[EACH][WIDE] = {};
#pragma unroll
    for (int e = 0; e < EACH; e++) {
        if (lane + e * LANES >= VECTORS) break;
        const Vector<NUMBER, WIDE> weights = load<NUMBER, WIDE>(at<NUMBER>(record, EMBEDDING) + (lane + e * LANES) * WIDE);
#pragma unroll
        for (int c = 0; c < WIDE; c++) squares[e][c] = (COMPUTE)weights.number[c] * (COMPUTE)weights.number[c];
    }
    return (double)row_sum<LANES>(squares);
}
