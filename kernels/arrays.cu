// Arithmetic on whole arrays of numbers.  See `backend/cpu/arrays.py`.
//
// SOURCE  type of what `put` takes: COMPUTE, or a narrower one
//
// Contract
//   Arrays (n, h), whose rows may lie apart; a vector is one row.  A thread has one number, a warp a row of `row_products`.
//   All are the CPU's bits, but for the sums of `row_products`, which are the same on every schedule.
#include "numbers.cuh"

// target = number
extern "C" __global__ void __launch_bounds__(256) fill(COMPUTE* target, int64 target_row, int64 n, int64 h, COMPUTE number) {
    const int64 i = thread_number() / h, j = thread_number() % h;
    if (i < n) target[i * target_row + j] = number;
}

// target = factor source, or += with `add`
extern "C" __global__ void __launch_bounds__(256) put(
    const SOURCE* source, int64 source_row, COMPUTE* target, int64 target_row, int64 n, int64 h, COMPUTE factor, int32 add
) {
    const int64 i = thread_number() / h, j = thread_number() % h;
    if (i >= n) return;
    const COMPUTE number = factor * (COMPUTE)source[i * source_row + j];
    COMPUTE* to = target + i * target_row + j;
    *to = add ? *to + number : number;
}

// target[rows] += source; rows : each once
extern "C" __global__ void __launch_bounds__(256) add_rows(
    const COMPUTE* source, int64 source_row, const int64* rows, COMPUTE* target, int64 target_row, int64 n, int64 h
) {
    const int64 i = thread_number() / h, j = thread_number() % h;
    if (i < n) target[rows[i] * target_row + j] += source[i * source_row + j];
}

// out = a b;  b has one row for all if not b_rows, one column for all if not b_columns
extern "C" __global__ void __launch_bounds__(256) multiply(
    const COMPUTE* a, int64 a_row, const COMPUTE* b, int64 b_row, int32 b_rows, int32 b_columns, COMPUTE* out, int64 out_row,
    int64 n, int64 h
) {
    const int64 i = thread_number() / h, j = thread_number() % h;
    if (i >= n) return;
    const COMPUTE factor = b[(b_rows ? i * b_row : 0) + (b_columns ? j : 0)];
    out[i * out_row + j] = a[i * a_row + j] * factor;
}

// out -= a b;  a has one column for all if not a_columns
extern "C" __global__ void __launch_bounds__(256) subtract_product(
    const COMPUTE* a, int64 a_row, int32 a_columns, const COMPUTE* b, int64 b_row, COMPUTE* out, int64 out_row, int64 n, int64 h
) {
    const int64 i = thread_number() / h, j = thread_number() % h;
    if (i >= n) return;
    const COMPUTE factor = a[i * a_row + (a_columns ? j : 0)];
    out[i * out_row + j] -= factor * b[i * b_row + j];
}

// out[i] = factor sum_j a_ij b_ij
extern "C" __global__ void __launch_bounds__(256) row_products(
    const COMPUTE* a, int64 a_row, const COMPUTE* b, int64 b_row, int64 n, int64 h, COMPUTE factor, COMPUTE* out, int64 out_row
) {
    const int64 i = thread_number() / 32;
    if (i >= n) return;
    COMPUTE total = 0;
    for (int64 j = threadIdx.x % 32; j < h; j += 32) total += a[i * a_row + j] * b[i * b_row + j];
    total = group_sum<32>(total);
    if (threadIdx.x % 32 == 0) out[i * out_row] = factor * total;
}
