// Rows that travel: requests of unique keys from home to owner, rows back, gradients of rows out.
//
// Contract
//   The order of requests, rows and gradients is that of `backend/cpu/rows.py`; requests are packed and read by routing.cu.
//   addresses, targets, sources are 64-bit addresses, of records or of places in messages.
//   A row is `width` numbers from its first weight on; a gradient that of w if there is one, of v (DIM), and the sum of g x^2 if
//   it travels.  Set besides: SCALARS, linear weights of a row, 0 or 1.
//   Gradients are added in the order of the home ranks: the same bits on every schedule, and those of the CPU.
//   Everything is coalesced, one number a thread; rows that have come are put where embeddings are 16-byte aligned.
#include "record.cuh"

constexpr int SUMS = SCALARS + DIM + 1;  // of a row's gradient, whether it has all of them or not

// places[u] = place of unique key u in the list of all requests, from that in its own
extern "C" __global__ void __launch_bounds__(256) place_in_list(
    const int32* in_request, const int32* unique_ranks, int64 n, const int64* firsts, int32* places
) {
    const int64 u = thread_number();
    if (u < n) places[u] = (int32)(firsts[unique_ranks[u]] + in_request[u]);
}

// addresses[u] = where element u lies, the (u - firsts[r])-th of stretch r: base + begins[r] + stride place
extern "C" __global__ void __launch_bounds__(256) segment_addresses(
    int64 base, const int64* firsts, const int64* begins, int32 stretches, int64 n, int64 stride, int64* addresses
) {
    const int64 u = thread_number();
    if (u >= n) return;
    int low = 0, high = stretches - 1;
    while (low < high) {
        const int middle = (low + high + 1) / 2;
        if (firsts[middle] <= u) low = middle; else high = middle - 1;
    }
    addresses[u] = base + begins[low] + stride * (u - firsts[low]);
}

// Copy the `width` weights, from byte `first` of the record on, of every requested key to its place.
extern "C" __global__ void __launch_bounds__(256) send_rows(
    const int32* local, int64 n, const int64* addresses, int64 first, int32 width, const int64* targets
) {
    const int64 j = thread_number() / width, c = thread_number() % width;
    if (j >= n) return;
    at<NUMBER>(targets[j])[c] = at<NUMBER>(addresses[local[j]], first)[c];
}

// Copy rows that have come, side by side from `rows` on, to records `stride` bytes apart; addresses : of these records
extern "C" __global__ void __launch_bounds__(256) place_rows(
    const int64* sources, int64 n, int64 base, int64 stride, int64 first, int32 width, int64* addresses
) {
    const int64 j = thread_number() / width, c = thread_number() % width;
    if (j >= n) return;
    const int64 record = base + j * stride;
    at<NUMBER>(record, first)[c] = at<NUMBER>(sources[j])[c];
    if (c == 0) addresses[j] = record;
}

// vector_sums -= v square_sums, one product and one sum rounded together: the gradient of v, floating point only
extern "C" __global__ void __launch_bounds__(256) subtract_squares(
    const int64* addresses, int64 n, COMPUTE* vector_sums, const COMPUTE* square_sums
) {
    const int64 c = thread_number() / DIM, k = thread_number() % DIM;
    if (c >= n) return;
    const COMPUTE v = (COMPUTE)at<NUMBER>(addresses[c], EMBEDDING)[k];
    vector_sums[c * DIM + k] = multiply_add(v, -square_sums[c], vector_sums[c * DIM + k]);
}

// Where number k of row c's gradient is summed, in the order in which gradients travel; null: nowhere
__device__ __forceinline__ SUM* sum_at(int64 c, int64 k, SUM* scalar_sums, SUM* vector_sums, SUM* square_sums) {
    if (k < SCALARS) return scalar_sums + c;
    if (k < SCALARS + DIM) return vector_sums + c * DIM + k - SCALARS;
    return square_sums == nullptr ? nullptr : square_sums + c;
}

// Write each unique row's sums to its place, and leave the sums zero.  sent : numbers of a gradient
extern "C" __global__ void __launch_bounds__(256) send_gradients(
    const int64* targets, int64 n, int32 sent, SUM* scalar_sums, SUM* vector_sums, SUM* square_sums
) {
    const int64 c = thread_number() / SUMS, k = thread_number() % SUMS;
    if (c >= n) return;
    SUM* place = sum_at(c, k, scalar_sums, vector_sums, square_sums);
    if (place == nullptr) return;
    if (k < sent) at<SUM>(targets[c])[k] = *place;
    *place = 0;
}

// Add the gradients that have come for a row, in the order of their requests, which `order` keeps among equal places.
//   places, order (n) : requests sorted by the place of their row;  sources (n) : where the gradient of each lies
extern "C" __global__ void __launch_bounds__(256) add_gradients(
    const uint32* places, const uint32* order, int64 n, const int64* sources, SUM* scalar_sums, SUM* vector_sums,
    SUM* square_sums
) {
    const int64 t = thread_number() / SUMS, k = thread_number() % SUMS;
    if (t >= n || (t > 0 && places[t - 1] == places[t])) return;
    const int64 c = places[t];
    SUM* place = sum_at(c, k, scalar_sums, vector_sums, square_sums);
    if (place == nullptr) return;
    SUM total = *place;
    for (int64 next = t; next < n && places[next] == c; next++) total += at<SUM>(sources[order[next]])[k];
    *place = total;
}
