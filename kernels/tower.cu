// What surrounds the matrix products of dense layers: bias and activation, their adjoints, and dropout.  See `nn/dense.py`.
//
// ACTIVATION  f, by its place in `nn.dense.ACTIVATIONS`
//
// Contract
//   y, gradient, numbers (n, h), whose rows may lie apart;  bias (h);  n < 2^31
//   sums (stretches, h) of STRETCH rows each, which columns.cu adds up
//   A NaN stays one.  Identity, relu, their adjoints and dropout are the CPU's bits, sums of biases the same on every
//   schedule; tanh and exp are the device's own.
#include "columns.cuh"
#include "random.cuh"

enum { IDENTITY, RELU, TANH, SIGMOID };

__device__ __forceinline__ float hyperbolic_tangent(float z) { return tanhf(z); }
__device__ __forceinline__ double hyperbolic_tangent(double z) { return tanh(z); }

__device__ __forceinline__ COMPUTE activated(COMPUTE z) {
    const COMPUTE nothing = 0, one = 1;
    if (ACTIVATION == RELU) return z < nothing ? nothing : z;
    if (ACTIVATION == TANH) return hyperbolic_tangent(z);
    if (ACTIVATION == SIGMOID) {
        const COMPUTE e = exponential(z < nothing ? z : -z);
        return (z < nothing ? e : one) / (one + e);
    }
    return z;
}

// g f'(z), from y = f(z)
__device__ __forceinline__ COMPUTE by_argument(COMPUTE g, COMPUTE y) {
    const COMPUTE nothing = 0, one = 1;
    if (ACTIVATION == RELU) return y > nothing ? g : nothing;
    if (ACTIVATION == TANH) return g * (one - y * y);
    if (ACTIVATION == SIGMOID) return g * (y * (one - y));
    return g;
}

// y = f(y + bias)
extern "C" __global__ void __launch_bounds__(256) bias_activation(
    COMPUTE* y, int64 y_row, int64 n, int32 h, const COMPUTE* bias
) {
    const Tile tile = tile_of(n, h);
    if (tile.column >= h) return;
    const COMPUTE own = bias[tile.column];
    each_row(
        tile, [&](int64 i) { return y[i * y_row + tile.column]; },
        [&](int64 i, COMPUTE number) { y[i * y_row + tile.column] = activated(number + own); }
    );
}

// gradient *= f'(z), from y = f(z);  sums = those of each stretch
extern "C" __global__ void __launch_bounds__(256) activation_adjoint(
    COMPUTE* gradient, int64 gradient_row, const COMPUTE* y, int64 y_row, int64 n, int32 h, COMPUTE* sums
) {
    const Tile tile = tile_of(n, h);
    COMPUTE total = 0;
    if (tile.column < h) {
        struct Loaded { COMPUTE g, y; };
        each_row(
            tile,
            [&](int64 i) {
                const COMPUTE value = ACTIVATION == IDENTITY ? (COMPUTE)0 : y[i * y_row + tile.column];
                return Loaded{gradient[i * gradient_row + tile.column], value};
            },
            [&](int64 i, Loaded loaded) {
                const COMPUTE g = by_argument(loaded.g, loaded.y);
                if (ACTIVATION != IDENTITY) gradient[i * gradient_row + tile.column] = g;
                total += g;
            }
        );
    }
    write_column_sum(tile, h, total, sums);
}

// numbers = 0 where their 16 random bits are below `threshold`, else multiplied by `scale`.  The bits are a function of (seed,
// number of the sample in the global batch, unit): four units have 64 bits together.
extern "C" __global__ void __launch_bounds__(256) drop(
    COMPUTE* numbers, int64 numbers_row, int64 n, int32 h, uint64 seed, int64 first_sample, int32 threshold, COMPUTE scale
) {
    const Tile tile = tile_of(n, h);
    if (tile.column >= h) return;
    const int place = tile.column % 4;
    each_row(
        tile, [&](int64 i) { return numbers[i * numbers_row + tile.column]; },
        [&](int64 i, COMPUTE number) {
            const uint64 bits = fold(fold(seed, (uint64)(first_sample + i)), (uint64)(tile.column - place));
            const bool dropped = (int32)(bits >> 16 * place & 0xffff) < threshold;
            numbers[i * numbers_row + tile.column] = dropped ? (COMPUTE)0 : number * scale;
        }
    );
}
