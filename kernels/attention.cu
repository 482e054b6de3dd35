// Values of sequences, of which each sample has any number, but for matrix products.  See `nn/attention.py`.
//
// Contract
//   begins (n + 1) int64 : sample i has the values begins[i] .. begins[i + 1], M in all, side by side;  dim, the numbers of one
//   seats (n, places dim), targets (n, dim) and their gradients : rows may lie apart
//   values (M, dim), pairs (M, 4 dim), numbers, weights, scratch (M)
//   A sample's numbers are added up in the order of its values: the same bits on every schedule.  exp is the device's own.
#include "numbers.cuh"

constexpr int WARP = 32;

// values = those of the seats that are there, a thread a number of a seat
extern "C" __global__ void __launch_bounds__(256) take(
    const COMPUTE* seats, int64 seats_row, int64 n, int32 places, int32 dim, const int64* begins, COMPUTE* values
) {
    const int64 width = (int64)places * dim, i = thread_number() / width, place = thread_number() % width;
    if (i >= n || place >= (begins[i + 1] - begins[i]) * dim) return;
    values[begins[i] * dim + place] = seats[i * seats_row + place];
}

// seats += gradient (M, dim): the adjoint
extern "C" __global__ void __launch_bounds__(256) give_back(
    const COMPUTE* gradient, int64 n, int32 places, int32 dim, const int64* begins, COMPUTE* seats, int64 seats_row
) {
    const int64 width = (int64)places * dim, i = thread_number() / width, place = thread_number() % width;
    if (i >= n || place >= (begins[i + 1] - begins[i]) * dim) return;
    seats[i * seats_row + place] += gradient[begins[i] * dim + place];
}

// pairs = e, t, e - t, e t of each value e and its sample's target t, a thread a coordinate of a sample
extern "C" __global__ void __launch_bounds__(256) pair(
    const COMPUTE* values, const COMPUTE* targets, int64 targets_row, int64 n, int32 dim, const int64* begins, COMPUTE* pairs
) {
    const int64 i = thread_number() / dim, c = thread_number() % dim;
    if (i >= n) return;
    const COMPUTE t = targets[i * targets_row + c];
    for (int64 m = begins[i]; m < begins[i + 1]; m++) {
        const COMPUTE e = values[m * dim + c];
        COMPUTE* own = pairs + 4 * m * dim + c;
        own[0] = e;
        own[dim] = t;
        own[2 * dim] = e - t;
        own[3 * dim] = e * t;
    }
}

// of_values += and of_targets += those of `pair`
extern "C" __global__ void __launch_bounds__(256) pair_adjoint(
    const COMPUTE* gradient, const COMPUTE* pairs, int64 n, int32 dim, const int64* begins, COMPUTE* of_values, COMPUTE* of_targets,
    int64 of_targets_row
) {
    const int64 i = thread_number() / dim, c = thread_number() % dim;
    if (i >= n) return;
    COMPUTE total = 0;
    for (int64 m = begins[i]; m < begins[i + 1]; m++) {
        const int64 place = 4 * m * dim + c;
        const COMPUTE e = pairs[place], t = pairs[place + dim], of_difference = gradient[place + 2 * dim], of_product = gradient[place + 3 * dim];
        of_values[m * dim + c] += gradient[place] + of_difference + of_product * t;
        total += gradient[place + dim] - of_difference + of_product * e;
    }
    of_targets[i * of_targets_row + c] += total;
}

// weights = exp(number) over the sum of a sample's, a thread a sample
extern "C" __global__ void __launch_bounds__(256) softmax(const COMPUTE* numbers, int64 n, const int64* begins, COMPUTE* weights) {
    const int64 i = thread_number();
    if (i >= n) return;
    const int64 begin = begins[i], end = begins[i + 1];
    COMPUTE most = begin < end ? numbers[begin] : (COMPUTE)0, total = 0;
    for (int64 m = begin; m < end; m++) most = numbers[m] > most ? numbers[m] : most;
    for (int64 m = begin; m < end; m++) {
        const COMPUTE one = exponential(numbers[m] - most);
        weights[m] = one;
        total += one;
    }
    for (int64 m = begin; m < end; m++) weights[m] = weights[m] / total;
}

// result (n, dim) = sum of a sample's weight times value, a thread a coordinate of a sample
extern "C" __global__ void __launch_bounds__(256) weighted_sum(
    const COMPUTE* weights, const COMPUTE* values, int64 n, int32 dim, const int64* begins, COMPUTE* result
) {
    const int64 i = thread_number() / dim, c = thread_number() % dim;
    if (i >= n) return;
    COMPUTE total = 0;
    for (int64 m = begins[i]; m < begins[i + 1]; m++) total += weights[m] * values[m * dim + c];
    result[i * dim + c] = total;
}

// of_values += and of_numbers += those of `weighted_sum`, and of `softmax` if weights are its;  gradient (n, dim).  One warp a sample.
extern "C" __global__ void __launch_bounds__(256) weighted_sum_adjoint(
    const COMPUTE* gradient, const COMPUTE* weights, const COMPUTE* values, int64 n, int32 dim, const int64* begins, int32 through_softmax,
    COMPUTE* scratch, COMPUTE* of_numbers, COMPUTE* of_values
) {
    const int64 i = thread_number() / WARP;
    if (i >= n) return;
    const int lane = threadIdx.x % WARP;
    const int64 begin = begins[i], end = begins[i + 1];
    COMPUTE mean = 0;
    for (int64 m = begin; m < end; m++) {
        COMPUTE of_weight = 0;
        for (int c = lane; c < dim; c += WARP) {
            const COMPUTE upstream = gradient[i * dim + c];
            of_weight += upstream * values[m * dim + c];
            of_values[m * dim + c] += weights[m] * upstream;
        }
        of_weight = group_sum<WARP>(of_weight);
        if (lane == 0) scratch[m] = of_weight;
        mean += weights[m] * of_weight;
    }
    if (lane != 0) return;
    for (int64 m = begin; m < end; m++) of_numbers[m] += through_softmax ? weights[m] * (scratch[m] - mean) : scratch[m];
}
