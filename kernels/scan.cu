// Exclusive prefix sums of counts, in place.
//
// Contract
//   counts (n) uint64, may hold two 32-bit counts each, whose sums stay below 2^32
//   n <= TILE * 2^31.  Tiles of TILE counts: sum_tiles, then scan_tiles in one block, then add_tiles.  Exact, so the same
//   on every schedule.  Reads and writes 16 bytes a count in all, coalesced.
#include "block.cuh"

constexpr int THREADS = 256;
constexpr int ITEMS = 8;
constexpr int TILE = THREADS * ITEMS;

// sums[t] = sum of tile t, one block a tile.
extern "C" __global__ void __launch_bounds__(256) sum_tiles(const uint64* counts, int64 n, uint64* sums) {
    const int64 first = (int64)blockIdx.x * TILE;
    uint64 sum = 0;
    for (int item = 0; item < ITEMS; item++) {
        const int64 i = first + item * THREADS + threadIdx.x;
        if (i < n) sum += counts[i];
    }
    sum = block_sum<THREADS>(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// sums becomes its exclusive prefix sum, total[0] the sum of all: one block.
extern "C" __global__ void __launch_bounds__(256) scan_tiles(uint64* sums, int64 tiles, uint64* total) {
    uint64 before = 0;
    for (int64 first = 0; first < tiles; first += THREADS) {
        const int64 t = first + threadIdx.x;
        uint64 sum;
        const uint64 prefix = prefix_sum<THREADS>(t < tiles ? sums[t] : 0ull, &sum);
        if (t < tiles) sums[t] = before + prefix;
        before += sum;
    }
    if (threadIdx.x == 0) total[0] = before;
}

// counts becomes its exclusive prefix sum, given those of the tiles: one block a tile.
extern "C" __global__ void __launch_bounds__(256) add_tiles(uint64* counts, int64 n, const uint64* sums) {
    uint64 before = sums[blockIdx.x];
    for (int item = 0; item < ITEMS; item++) {
        const int64 i = (int64)blockIdx.x * TILE + item * THREADS + threadIdx.x;
        uint64 sum;
        const uint64 prefix = prefix_sum<THREADS>(i < n ? counts[i] : 0ull, &sum);
        if (i < n) counts[i] = before + prefix;
        before += sum;
    }
}
