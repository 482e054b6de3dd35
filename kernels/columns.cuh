// Matrices (rows, columns) whose columns share something: a bias, or a sum over the rows.
//
// A block works on COLUMNS columns of a stretch of rows, a warp on numbers that lie side by side, a thread on every ROWS-th
// row of one column.  Sums over all rows take two passes, both in a fixed order: one number for each stretch and column, then
// those of a column (columns.cu).
#pragma once
#include "numbers.cuh"

constexpr int COLUMNS = 32;
constexpr int ROWS = 8;
constexpr int STRETCH = 64;
constexpr int AHEAD = 2;  // rows of a thread that are loaded before the first of them is used

// What a thread works on: rows begin, begin + ROWS, ... below end of one column, which may lie behind the last one.
struct Tile {
    int64 stretch, begin, end;
    int32 column;
};

__device__ __forceinline__ Tile tile_of(int64 rows, int32 columns, int64 stretch_rows = STRETCH) {
    const uint32 across = ((uint32)columns + COLUMNS - 1) / COLUMNS;
    Tile tile;
    tile.stretch = blockIdx.x / across;
    tile.column = (int32)(blockIdx.x % across * COLUMNS + threadIdx.x % COLUMNS);
    tile.begin = tile.stretch * stretch_rows + threadIdx.x / COLUMNS;
    tile.end = least((tile.stretch + 1) * stretch_rows, rows);
    return tile;
}

// use(i, load(i)) for each of the thread's rows i.  What `use` writes, `load` reads for no other row.  More rows ahead, as by
// unrolling, would take registers from other threads.
template <typename Load, typename Use>
__device__ __forceinline__ void each_row(const Tile& tile, Load load, Use use) {
#pragma unroll 1
    for (int64 i = tile.begin; i < tile.end; i += AHEAD * ROWS) {
        decltype(load(i)) loaded[AHEAD];
#pragma unroll
        for (int row = 0; row < AHEAD; row++)
            if (i + row * ROWS < tile.end) loaded[row] = load(i + row * ROWS);
#pragma unroll
        for (int row = 0; row < AHEAD; row++)
            if (i + row * ROWS < tile.end) use(i + row * ROWS, loaded[row]);
    }
}

// Sum of the numbers that the block's threads have for a column, in the order of their first rows; the threads of the first
// warp have it.  Every thread must call it.
template <typename T>
__device__ __forceinline__ T column_sum(T number) {
    __shared__ T part[ROWS * COLUMNS];
    part[threadIdx.x] = number;
    __syncthreads();
    T total = number;
    if (threadIdx.x < COLUMNS)
        for (int row = 1; row < ROWS; row++) total += part[row * COLUMNS + threadIdx.x];
    __syncthreads();  // before the next call writes again
    return total;
}

// sums[stretch, column] = the block's sum of a column of so many.  Every thread must call it.
template <typename T>
__device__ __forceinline__ void write_column_sum(const Tile& tile, int32 columns, T number, T* sums) {
    const T total = column_sum(number);
    if (threadIdx.x < COLUMNS && tile.column < columns) sums[tile.stretch * columns + tile.column] = total;
}
