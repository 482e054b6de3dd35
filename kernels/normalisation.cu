// Layer and batch normalisation.  See `nn/normalisation.py`.
//
// STATISTIC  type of the statistics that numbers are standardised by: double of a batch, COMPUTE of those that are kept
//
// Contract
//   x, gradient (n, h), whose rows may lie apart;  normal, y (n, h);  gain, shift (h);  n < 2^31
//   sums of a batch (2 h + 1) float64: n, h sums, h other sums;  stretches (count, 2 h + 1), which columns.cu adds up
//   Layers: a warp has a sample and adds its units up in a tree.  Everything is the same on every schedule, batch
//   normalisation the CPU's bits but for sums over samples.
#include "columns.cuh"

constexpr int WARP = 32;

// normal = (x - mean) inverse, inverse = 1 / sqrt(variance + epsilon) of each sample;  y = gain normal + shift
extern "C" __global__ void __launch_bounds__(256) layer(
    const COMPUTE* x, int64 x_row, int64 n, int32 h, const COMPUTE* gain, const COMPUTE* shift, COMPUTE epsilon,
    COMPUTE* inverse, COMPUTE* normal, COMPUTE* y
) {
    const int64 i = thread_number() / WARP;
    if (i >= n) return;
    const int lane = threadIdx.x % WARP;
    COMPUTE total = 0, squares = 0;
    for (int32 j = lane; j < h; j += WARP) total += x[i * x_row + j];
    const COMPUTE mean = group_sum<WARP>(total) / (COMPUTE)h;
    for (int32 j = lane; j < h; j += WARP) {
        const COMPUTE centred = x[i * x_row + j] - mean;
        squares += centred * centred;
    }
    const COMPUTE own = (COMPUTE)1 / root(group_sum<WARP>(squares) / (COMPUTE)h + epsilon);
    if (lane == 0) inverse[i] = own;
    for (int32 j = lane; j < h; j += WARP) {
        const COMPUTE number = (x[i * x_row + j] - mean) * own;
        normal[i * h + j] = number;
        y[i * h + j] = number * gain[j] + shift[j];
    }
}

// gradient = inverse (d - mean d - normal mean (d normal)), d = gradient gain
extern "C" __global__ void __launch_bounds__(256) layer_adjoint(
    COMPUTE* gradient, int64 gradient_row, int64 n, int32 h, const COMPUTE* normal, const COMPUTE* inverse, const COMPUTE* gain
) {
    const int64 i = thread_number() / WARP;
    if (i >= n) return;
    const int lane = threadIdx.x % WARP;
    COMPUTE total = 0, products = 0;
    for (int32 j = lane; j < h; j += WARP) {
        const COMPUTE d = gradient[i * gradient_row + j] * gain[j];
        total += d;
        products += d * normal[i * h + j];
    }
    const COMPUTE mean = group_sum<WARP>(total) / (COMPUTE)h, own = group_sum<WARP>(products) / (COMPUTE)h;
    for (int32 j = lane; j < h; j += WARP) {
        COMPUTE* number = gradient + i * gradient_row + j;
        *number = (*number * gain[j] - mean - normal[i * h + j] * own) * inverse[i];
    }
}

// stretches = rows, sums and sums of squares of each stretch of x
extern "C" __global__ void __launch_bounds__(256) moments(
    const COMPUTE* x, int64 x_row, int64 n, int32 h, double* stretches
) {
    const Tile tile = tile_of(n, h);
    double total = 0.0, squares = 0.0;
    if (tile.column < h)
        each_row(
            tile, [&](int64 i) { return x[i * x_row + tile.column]; },
            [&](int64, COMPUTE number) {
                total += (double)number;
                squares += (double)number * (double)number;
            }
        );
    total = column_sum(total);
    squares = column_sum(squares);
    if (threadIdx.x >= COLUMNS || tile.column >= h) return;
    double* own = stretches + tile.stretch * (2 * (int64)h + 1);
    if (tile.column == 0) own[0] = (double)(tile.end - tile.stretch * STRETCH);
    own[1 + tile.column] = total;
    own[1 + h + tile.column] = squares;
}

// mean and variance of the samples whose moments these are
extern "C" __global__ void __launch_bounds__(256) statistics(const double* sums, int32 h, double* mean, double* variance) {
    const int64 j = thread_number();
    if (j >= h) return;
    const double count = fmax(1.0, sums[0]), average = sums[1 + j] / count;
    const double rest = sums[1 + h + j] / count - average * average;
    mean[j] = average;
    variance[j] = rest < 0.0 ? 0.0 : rest;
}

// Move the kept statistics by a share of the way; the variance is made unbiased.  Nothing happens without samples.
extern "C" __global__ void __launch_bounds__(256) keep(
    const double* sums, int32 h, const double* mean, const double* variance, double momentum, COMPUTE* kept_mean,
    COMPUTE* kept_variance
) {
    const int64 j = thread_number();
    const double count = sums[0];
    if (j >= h || count == 0.0) return;
    const double unbiased = variance[j] * count / fmax(1.0, count - 1.0);
    kept_mean[j] = (COMPUTE)((double)kept_mean[j] + momentum * (mean[j] - (double)kept_mean[j]));
    kept_variance[j] = (COMPUTE)((double)kept_variance[j] + momentum * (unbiased - (double)kept_variance[j]));
}

// inverse = 1 / sqrt(variance + epsilon)
extern "C" __global__ void __launch_bounds__(256) invert(const STATISTIC* variance, int32 h, double epsilon, COMPUTE* inverse) {
    const int64 j = thread_number();
    if (j < h) inverse[j] = (COMPUTE)((STATISTIC)1 / root(variance[j] + (STATISTIC)epsilon));
}

// normal = (x - mean) inverse;  y = gain normal + shift
extern "C" __global__ void __launch_bounds__(256) standardise(
    const COMPUTE* x, int64 x_row, int64 n, int32 h, const STATISTIC* mean, const COMPUTE* inverse, const COMPUTE* gain,
    const COMPUTE* shift, COMPUTE* normal, COMPUTE* y
) {
    const Tile tile = tile_of(n, h);
    if (tile.column >= h) return;
    const COMPUTE average = (COMPUTE)mean[tile.column], own = inverse[tile.column];
    const COMPUTE factor = gain[tile.column], start = shift[tile.column];
    each_row(
        tile, [&](int64 i) { return x[i * x_row + tile.column]; },
        [&](int64 i, COMPUTE number) {
            const COMPUTE standard = (number - average) * own;
            normal[i * h + tile.column] = standard;
            y[i * h + tile.column] = standard * factor + start;
        }
    );
}

// sums = n, of_shift, of_gain
extern "C" __global__ void __launch_bounds__(256) join_sums(
    int64 n, int32 h, const COMPUTE* of_shift, const COMPUTE* of_gain, double* sums
) {
    const int64 j = thread_number();
    if (j >= h) return;
    if (j == 0) sums[0] = (double)n;
    sums[1 + j] = (double)of_shift[j];
    sums[1 + h + j] = (double)of_gain[j];
}

// gradient = inverse gain (g - mean g - normal mean (g normal)), the means those of the batch
extern "C" __global__ void __launch_bounds__(256) batch_adjoint(
    COMPUTE* gradient, int64 gradient_row, int64 n, int32 h, const COMPUTE* normal, const COMPUTE* inverse,
    const COMPUTE* gain, const double* sums
) {
    const Tile tile = tile_of(n, h);
    if (tile.column >= h) return;
    const double count = fmax(1.0, sums[0]);
    const COMPUTE mean = (COMPUTE)(sums[1 + tile.column] / count), own = (COMPUTE)(sums[1 + h + tile.column] / count);
    const COMPUTE factor = inverse[tile.column] * gain[tile.column];
    struct Loaded { COMPUTE g, normal; };
    each_row(
        tile, [&](int64 i) { return Loaded{gradient[i * gradient_row + tile.column], normal[i * h + tile.column]}; },
        [&](int64 i, Loaded loaded) {
            gradient[i * gradient_row + tile.column] = (loaded.g - mean - loaded.normal * own) * factor;
        }
    );
}
