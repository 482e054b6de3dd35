// Sums over the rows of a matrix.  See columns.cuh.
//
// Contract
//   x (rows, columns), whose rows may lie apart;  sums (stretches, columns), of `stretch` rows each
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
