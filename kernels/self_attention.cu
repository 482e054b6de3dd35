// Attention between the fields of a sample, head by head, but for matrix products.  See `nn/self_attention.py`.
//
// Contract
//   queries, keys, values, and their gradients (n fields, d) : a row is a field of a sample, d = heads width numbers of all heads side by side
//   shares, slopes (n, heads, fields, fields);  n heads fields < 2^31
//   A thread has a field of a head of a sample: as the one that asks, in attend and ask_adjoint, or as the one that is asked, in told_adjoint.
//   Sums are over fields, in their order: the same bits on every schedule.  exp is the device's own.
#include "numbers.cuh"

// The numbers of one head of a sample.
struct Head {
    int64 first;   // place of the head's numbers of field 0
    int64 square;  // of shares: the head's begin
    int32 field;   // the thread's
};

__device__ __forceinline__ Head head_of(int64 number, int32 fields, int32 heads, int32 width) {
    const int64 of_head = number / fields, i = of_head / heads;
    return {i * fields * heads * width + of_head % heads * width, of_head * fields * fields, (int32)(number % fields)};
}

__device__ __forceinline__ COMPUTE dot(const COMPUTE* a, const COMPUTE* b, int32 width) {
    COMPUTE total = 0;
    for (int32 c = 0; c < width; c++) total += a[c] * b[c];
    return total;
}

// shares = softmax over the last of <q, k>;  result = sum of share v
extern "C" __global__ void __launch_bounds__(128) attend(
    const COMPUTE* queries, const COMPUTE* keys, const COMPUTE* values, int64 n, int32 fields, int32 heads, int32 width, COMPUTE* shares,
    COMPUTE* result
) {
    if (thread_number() >= n * heads * fields) return;
    const Head head = head_of(thread_number(), fields, heads, width);
    const int64 row = (int64)heads * width, own = head.first + head.field * row;
    COMPUTE* share = shares + head.square + head.field * fields;
    COMPUTE most = 0, total = 0;
    for (int32 g = 0; g < fields; g++) {
        const COMPUTE one = dot(queries + own, keys + head.first + g * row, width);
        share[g] = one;
        most = g == 0 || one > most ? one : most;
    }
    for (int32 g = 0; g < fields; g++) {
        const COMPUTE one = exponential(share[g] - most);
        share[g] = one;
        total += one;
    }
    for (int32 g = 0; g < fields; g++) share[g] = share[g] / total;
    for (int32 c = 0; c < width; c++) {
        COMPUTE sum = 0;
        for (int32 g = 0; g < fields; g++) sum += share[g] * values[head.first + g * row + c];
        result[own + c] = sum;
    }
}

// slopes = the gradient by <q, k>;  of_queries
extern "C" __global__ void __launch_bounds__(128) ask_adjoint(
    const COMPUTE* gradient, const COMPUTE* keys, const COMPUTE* values, const COMPUTE* shares, int64 n, int32 fields, int32 heads,
    int32 width, COMPUTE* slopes, COMPUTE* of_queries
) {
    if (thread_number() >= n * heads * fields) return;
    const Head head = head_of(thread_number(), fields, heads, width);
    const int64 row = (int64)heads * width, own = head.first + head.field * row, line = head.square + head.field * fields;
    COMPUTE mean = 0;
    for (int32 g = 0; g < fields; g++) {
        const COMPUTE one = dot(gradient + own, values + head.first + g * row, width);
        slopes[line + g] = one;
        mean += shares[line + g] * one;
    }
    for (int32 g = 0; g < fields; g++) slopes[line + g] = shares[line + g] * (slopes[line + g] - mean);
    for (int32 c = 0; c < width; c++) {
        COMPUTE sum = 0;
        for (int32 g = 0; g < fields; g++) sum += slopes[line + g] * keys[head.first + g * row + c];
        of_queries[own + c] = sum;
    }
}

// of_keys, of_values, from the slopes
extern "C" __global__ void __launch_bounds__(128) told_adjoint(
    const COMPUTE* gradient, const COMPUTE* queries, const COMPUTE* shares, const COMPUTE* slopes, int64 n, int32 fields, int32 heads,
    int32 width, COMPUTE* of_keys, COMPUTE* of_values
) {
    if (thread_number() >= n * heads * fields) return;
    const Head head = head_of(thread_number(), fields, heads, width);
    const int64 row = (int64)heads * width, own = head.first + head.field * row, column = head.square + head.field;
    for (int32 c = 0; c < width; c++) {
        COMPUTE of_key = 0, of_value = 0;
#pragma unroll 2
        for (int32 f = 0; f < fields; f++) {
            of_key += slopes[column + (int64)f * fields] * queries[head.first + f * row + c];
            of_value += shares[column + (int64)f * fields] * gradient[head.first + f * row + c];
        }
        of_keys[own + c] = of_key;
        of_values[own + c] = of_value;
    }
}
