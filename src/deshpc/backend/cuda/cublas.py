"""Matrix products of a device, by cuBLAS through CuPy.

cuBLAS takes matrices column by column; ours lie row by row.  So it is asked for out^T = b^T a^T, and sees each matrix transposed
without a number being moved.
"""

import numpy as np

_TYPES = {"float32": "CUDA_R_32F", "float64": "CUDA_R_64F"}
_ARITHMETIC = {
    ("float32", "exact"): "CUBLAS_COMPUTE_32F",
    ("float32", "tf32"): "CUBLAS_COMPUTE_32F_FAST_TF32",
    ("float32", "bfloat16"): "CUBLAS_COMPUTE_32F_FAST_16BF",
}


def multiply(cupy, a, b, out, add, arithmetic):
    """Start out = a b, or out += a b, on the stream in use.

    a (m, k), b (k, n), out (m, n) : of one floating type; the numbers of a row or those of a column of a and of b lie side by side,
        those of a row of out.  No extent is zero.
    arithmetic : "exact", "tf32" or "bfloat16": to what float32 numbers are rounded before they are multiplied
    """
    cublas, kind = cupy.cuda.cublas, str(out.dtype)
    number = getattr(cupy.cuda.runtime, _TYPES[kind])
    compute = getattr(cublas, _ARITHMETIC.get((kind, arithmetic), "CUBLAS_COMPUTE_64F"))
    one, kept = np.ones(1, out.dtype), np.full(1, add, out.dtype)  # read before the call returns
    operations = cublas.CUBLAS_OP_N, cublas.CUBLAS_OP_T
    (of_a, row_a), (of_b, row_b), (of_out, row_out) = map(_layout, (a, b, out))
    if of_out:
        raise ValueError("the numbers of a row of the result have to lie side by side")
    (m, k), n = a.shape, b.shape[1]
    cublas.gemmEx(
        cupy.cuda.device.get_cublas_handle(), operations[of_b], operations[of_a], n, m, k, one.ctypes.data, b.data.ptr, number, row_b,
        a.data.ptr, number, row_a, kept.ctypes.data, out.data.ptr, number, row_out, compute, cublas.CUBLAS_GEMM_DEFAULT,
    )  # fmt: skip


def _layout(matrix):
    """(whether columns lie side by side instead of rows, numbers from one row or column to the next)."""
    size, (rows, columns) = matrix.dtype.itemsize, matrix.shape
    row, column = matrix.strides
    if column == size or columns == 1:
        return False, max(row // size, columns)
    if row == size or rows == 1:
        return True, max(column // size, rows)
    raise ValueError(f"neither rows nor columns of the matrix lie side by side: strides of {row} and {column} bytes")
