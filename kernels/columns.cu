// Sums over the rows of a matrix.  See columns.cuh.
//
// Contract
//   Fewer than 2^31 rows
//   x (rows, columns), weights (rows, columns) or (rows, 1), whose rows may lie apart;  sums (stretches, columns), of `stretch` rows each
//   A sum is added up in a fixed order: the same bits on every schedule.
#include "columns.cuh"

extern "C" __global__ void __launch_bounds__(256) sum_columns(
    const COMPUTE* x, int64 x_row, int64 rows, int32 columns, int64 stretch, COMPUTE* sums
) {
    const Tile tile = tile_of(rows, columns, stretch);
    COMPUTE total = 0;
    if (tile.column < columns)
        each_row(tile, [&](int64 i) { return x[i * x_row + tile.column]; }, [&](int64, COMPUTE number) { total += number; });
    write_column_sum(tile, columns, total, sums);
}

// The same of x times weights; each row has one if not weights_columns.
extern "C" __global__ void __launch_bounds__(256) sum_products(
    const COMPUTE* x, int64 x_row, const COMPUTE* weights, int64 weights_row, int32 weights_columns, int64 rows, int32 columns,
    COMPUTE* sums
) {
    const Tile tile = tile_of(rows, columns);
    COMPUTE total = 0;
    struct Loaded { COMPUTE x, weight; };
    if (tile.column < columns)
        each_row(
            tile,
            [&](int64 i) {
                return Loaded{x[i * x_row + tile.column], weights[i * weights_row + (weights_columns ? tile.column : 0)]};
            },
            [&](int64, Loaded loaded) { total += loaded.x * loaded.weight; }
        );
    write_column_sum(tile, columns, total, sums);
}
