// What the ranks have sent each other, added in rank order: every transport gives the same bits.
//
// Contract
//   parts (ranks, n) SUM: float, double or int64.  total (n) may be no part of it.
#include "numbers.cuh"

// total[i] = ((parts[0, i] + parts[1, i]) + parts[2, i]) + ...  Nothing is added to the first: -0 stays -0.
extern "C" __global__ void __launch_bounds__(256) add_ranks(const SUM* parts, int32 ranks, int64 n, SUM* total) {
    const int64 i = thread_number();
    if (i >= n) return;
    SUM all = parts[i];
    for (int64 rank = 1; rank < ranks; rank++) all += parts[rank * n + i];
    total[i] = all;
}
