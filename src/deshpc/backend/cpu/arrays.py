"""Arithmetic on whole arrays of numbers, CPU: what layers do beside matrix products and kernels of their own.

Arrays are (n, h), whose rows may lie apart, or vectors, unless something else is said.
"""

import numpy as np


def fill(target, number):
    """Every number of target = number."""
    target[...] = number


def put(source, target, add=False, factor=1.0):
    """target = factor source, or += with `add`; source may be of a narrower type."""
    if factor != 1:
        source = source * target.dtype.type(factor)
    if add:
        target += source
    else:
        target[...] = source


def add_rows(source, rows, target):
    """target[rows] += source; rows (r) int64, each once; source and target (r or n, h), or (r) and (n)."""
    target[rows] += source


def multiply(a, b, out):
    """out = a b, number by number; b (n, h), or (n, 1) for a factor of each row, or (h) for one of each column."""
    np.multiply(a, b, out=out)


def subtract_product(a, b, out):
    """out -= a b; a (n, h) or (n, 1)."""
    out -= a * b


def column_sums(x, out, weights=None):
    """out (h) = sum_i x_i, times weights (n, h) or (n, 1) if there are any."""
    if weights is None:
        x.sum(axis=0, out=out)
    elif weights.shape[1] == 1:
        np.matmul(x.T, weights.reshape(-1), out=out)
    else:
        np.einsum("nh,nh->h", x, weights, out=out)


def row_products(a, b, out, factor=1.0):
    """out (n, 1) = factor sum_j a_ij b_ij."""
    out[...] = out.dtype.type(factor) * (a * b).sum(axis=1, keepdims=True)
