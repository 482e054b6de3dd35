// Stable sort of small numbers with their positions, by digits of eight bits from the lowest on.
//
// Contract
//   keys (n) uint32 of which `bits` bits count;  items (n) uint32, what travels with them, or null: the position itself
//   n < 2^31.  For each digit: count, a prefix sum over counts (256, tiles), scatter to the other pair of arrays.
//   Equal keys keep their order: the result does not depend on the schedule.
#include "block.cuh"

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / 32;
constexpr int ITEMS = 8;
constexpr int TILE = THREADS * ITEMS;
constexpr int DIGITS = 256;

// counts[digit * tiles + tile] = keys of the tile that have the digit; one block a tile.
extern "C" __global__ void __launch_bounds__(256) count_digits(const uint32* keys, int64 n, int32 shift, uint64* counts) {
    __shared__ uint32 found[DIGITS];
    found[threadIdx.x] = 0;
    __syncthreads();
    for (int item = 0; item < ITEMS; item++) {
        const int64 i = (int64)blockIdx.x * TILE + item * THREADS + threadIdx.x;
        if (i < n) atomicAdd(found + (keys[i] >> shift) % DIGITS, 1u);
    }
    __syncthreads();
    counts[(int64)threadIdx.x * gridDim.x + blockIdx.x] = found[threadIdx.x];
}

// Put every key behind those of its tile that have the same digit and come before, from places (256, tiles) on.
// A warp takes 32 ITEMS keys in a row; it counts its own, then learns how many the warps before it have.
extern "C" __global__ void __launch_bounds__(256) scatter(
    const uint32* keys, const uint32* items, int64 n, int32 shift, const uint64* places, uint32* sorted_keys,
    uint32* sorted_items
) {
    __shared__ uint32 seen[WARPS * DIGITS];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    uint32* own = seen + warp * DIGITS;
    for (int digit = lane; digit < DIGITS; digit += 32) own[digit] = 0;
    __syncwarp();
    const int64 first = (int64)blockIdx.x * TILE + warp * 32 * ITEMS + lane;
    uint32 rank[ITEMS], key[ITEMS];
#pragma unroll
    for (int item = 0; item < ITEMS; item++) {
        const int64 i = first + item * 32;
        const bool there = i < n;
        key[item] = there ? keys[i] : 0u;
        const uint32 digit = (key[item] >> shift) % DIGITS;
        const uint32 same = __match_any_sync(0xffffffffu, there ? digit : DIGITS + lane);
        const uint32 before = there ? own[digit] : 0;
        rank[item] = before + __popc(same & ((1u << lane) - 1u));
        __syncwarp();
        if (there && (same >> lane) == 1) own[digit] = before + __popc(same);  // the last of its kind
        __syncwarp();
    }
    __syncthreads();
    uint32 sum = 0;
    for (int w = 0; w < WARPS; w++) {
        const uint32 of_warp = seen[w * DIGITS + threadIdx.x];
        seen[w * DIGITS + threadIdx.x] = sum;
        sum += of_warp;
    }
    __syncthreads();
#pragma unroll
    for (int item = 0; item < ITEMS; item++) {
        const int64 i = first + item * 32;
        if (i < n) {
            const uint32 digit = (key[item] >> shift) % DIGITS;
            const int64 place = (int64)places[(int64)digit * gridDim.x + blockIdx.x] + own[digit] + rank[item];
            sorted_keys[place] = key[item];
            sorted_items[place] = items == nullptr ? (uint32)i : items[i];
        }
    }
}
