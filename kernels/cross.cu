// Cross networks: DCN-v2's layers around their matrix products, and DCN's from L + 1 scalars a sample.  See `nn/cross.py`.
//
// Contract
//   n < 2^31
//   x0, x (n, d) and gradient (n, columns), whose rows may lie apart;  z, upstream, result (n, d);  bias (d)
//   products, scalars, slopes (n, width), width = L + 1;  constants (width);  logit (n)
//   weights (d, width);  biases (L, d) and bias_sums (width, d): B_0 .. B_L, sums of the biases before each layer
//   sums (stretches, d), or (blocks, width), which columns.cu adds up: the same bits on every schedule
//   All else but constants, which are sums in a tree, are the CPU's bits, the results of `cross` in its whole vectors of 16
//   columns: there it fuses x0 z + x.
#include "block.cuh"
#include "columns.cuh"

// z += bias;  result = x0 z + x
extern "C" __global__ void __launch_bounds__(256) cross(
    const COMPUTE* x0, int64 x0_row, const COMPUTE* x, int64 x_row, COMPUTE* z, int64 n, int32 d, const COMPUTE* bias,
    COMPUTE* result
) {
    const Tile tile = tile_of(n, d);
    if (tile.column >= d) return;
    const COMPUTE own = bias[tile.column];
    struct Loaded { COMPUTE x0, x, z; };
    each_row(
        tile, [&](int64 i) { return Loaded{x0[i * x0_row + tile.column], x[i * x_row + tile.column], z[i * d + tile.column]}; },
        [&](int64 i, Loaded loaded) {
            const COMPUTE one = loaded.z + own;
            z[i * d + tile.column] = one;
            result[i * d + tile.column] = multiply_add(loaded.x0, one, loaded.x);
        }
    );
}

// gradient = upstream z, or += unless `fresh`;  z = upstream x0;  sums = those of each stretch
extern "C" __global__ void __launch_bounds__(256) cross_adjoint(
    const COMPUTE* x0, int64 x0_row, COMPUTE* z, const COMPUTE* upstream, int64 n, int32 d, COMPUTE* gradient,
    int64 gradient_row, int32 columns, int32 fresh, COMPUTE* sums
) {
    const Tile tile = tile_of(n, d);
    COMPUTE total = 0;
    if (tile.column < d) {
        const bool by_x0 = tile.column < columns, added = by_x0 && !fresh;
        struct Loaded { COMPUTE g, z, x0, held; };
        each_row(
            tile,
            [&](int64 i) {
                const COMPUTE held = added ? gradient[i * gradient_row + tile.column] : (COMPUTE)0;
                return Loaded{upstream[i * d + tile.column], z[i * d + tile.column], x0[i * x0_row + tile.column], held};
            },
            [&](int64 i, Loaded loaded) {
                const COMPUTE slope = loaded.g * loaded.z, of_z = loaded.g * loaded.x0;
                if (by_x0) gradient[i * gradient_row + tile.column] = added ? slope + loaded.held : slope;
                z[i * d + tile.column] = of_z;
                total += of_z;
            }
        );
    }
    write_column_sum(tile, d, total, sums);
}

// bias_sums = B_0 .. B_L
extern "C" __global__ void __launch_bounds__(256) sum_biases(const COMPUTE* biases, int32 layers, int64 d, COMPUTE* bias_sums) {
    const int64 j = thread_number();
    if (j >= d) return;
    COMPUTE total = (COMPUTE)-0.0;  // the only number that leaves every other one as it is, 0 among them
    bias_sums[j] = 0;
    for (int layer = 0; layer < layers; layer++) {
        total += biases[layer * d + j];
        bias_sums[(layer + 1) * d + j] = total;
    }
}

// constants[l] = B_l . w_l, by block l
extern "C" __global__ void __launch_bounds__(256) cross_constants(
    const COMPUTE* weights, const COMPUTE* bias_sums, int32 width, int64 d, COMPUTE* constants
) {
    COMPUTE total = 0;
    for (int64 j = threadIdx.x; j < d; j += 256) total += bias_sums[blockIdx.x * d + j] * weights[j * width + blockIdx.x];
    total = block_sum<256>(total);
    if (threadIdx.x == 0) constants[blockIdx.x] = total;
}

// of_weights = the gradient by weights, from that by constants
extern "C" __global__ void __launch_bounds__(256) cross_weights_adjoint(
    const COMPUTE* bias_sums, const COMPUTE* constant_sums, int32 width, int64 d, COMPUTE* of_weights
) {
    const int64 j = thread_number() / width, layer = thread_number() % width;
    if (j < d) of_weights[j * width + layer] = bias_sums[layer * d + j] * constant_sums[layer];
}

// of_biases = the gradient by biases, from that by constants: b_j is part of B_l for l > j
extern "C" __global__ void __launch_bounds__(256) cross_biases_adjoint(
    const COMPUTE* weights, const COMPUTE* constant_sums, int32 width, int64 d, COMPUTE* of_biases
) {
    const int64 j = thread_number();
    if (j >= d) return;
    COMPUTE total = (COMPUTE)-0.0;  // as in `sum_biases`
    for (int layer = width - 1; layer > 0; layer--) {
        total += weights[j * width + layer] * constant_sums[layer];
        of_biases[(layer - 1) * d + j] = total;
    }
}

// squares = (total^2 - squares) / 2
extern "C" __global__ void __launch_bounds__(256) half_difference(const COMPUTE* total, int64 count, COMPUTE* squares) {
    const int64 i = thread_number();
    if (i < count) squares[i] = (total[i] * total[i] - squares[i]) * (COMPUTE)0.5;
}

// a_0 = 1, a_{l+1} = a_l (1 + s_l) + constants[l];  scalars[i, l] = a_l;  logit[i] = a_L s_L + constants[L]
extern "C" __global__ void __launch_bounds__(256) cross_scalars(
    const COMPUTE* products, int64 n, int32 width, const COMPUTE* constants, COMPUTE* scalars, COMPUTE* logit
) {
    const int64 i = thread_number();
    if (i >= n) return;
    COMPUTE a = 1;
    scalars[i * width] = a;
    for (int layer = 0; layer < width - 1; layer++) {
        a = a * ((COMPUTE)1 + products[i * width + layer]) + constants[layer];
        scalars[i * width + layer + 1] = a;
    }
    logit[i] = a * products[i * width + width - 1] + constants[width - 1];
}

// slopes = the gradient by products;  sums[b] = those by constants, of the samples of block b
extern "C" __global__ void __launch_bounds__(256) cross_scalars_adjoint(
    const COMPUTE* products, const COMPUTE* scalars, const COMPUTE* upstream, int64 n, int32 width, COMPUTE* slopes,
    COMPUTE* sums
) {
    const int64 i = thread_number();
    COMPUTE slope = i < n ? upstream[i] : (COMPUTE)0;
    for (int layer = width - 1; layer >= 0; layer--) {
        const COMPUTE sum = block_sum<256>(slope);
        if (threadIdx.x == 0) sums[blockIdx.x * (int64)width + layer] = sum;
        if (i < n) {
            slopes[i * width + layer] = slope * scalars[i * width + layer];
            const COMPUTE product = products[i * width + layer];
            slope *= layer == width - 1 ? product : (COMPUTE)1 + product;
        }
    }
}
