"""Attention between the fields of a sample, CPU, but for matrix products.  See `nn.self_attention`.

queries, keys, values (n F, d) : a row is a field of a sample;  d numbers are those of all heads, side by side
"""

import numpy as np

from deshpc.backend.cpu.memory import cast
from deshpc.jit import kernel


@kernel
def attend(queries, keys, values, heads, shares, result):
    """shares (n, heads, F, F) = softmax over j of <q_i, k_j>;  result (n F, d) = sum_j share_ij v_j, head by head."""
    fields, width = shares.shape[2], queries.shape[1] // heads
    for i in range(len(shares)):
        first = i * fields
        for h in range(heads):
            begin = h * width
            for f in range(fields):
                largest = -np.inf
                for g in range(fields):
                    dot = cast(0, queries[0, 0])
                    for c in range(begin, begin + width):
                        dot += queries[first + f, c] * keys[first + g, c]
                    shares[i, h, f, g] = dot
                    largest = max(largest, dot)
                total = cast(0, queries[0, 0])
                for g in range(fields):
                    shares[i, h, f, g] = np.exp(shares[i, h, f, g] - largest)
                    total += shares[i, h, f, g]
                for c in range(begin, begin + width):
                    result[first + f, c] = 0
                for g in range(fields):
                    shares[i, h, f, g] /= total
                    share = shares[i, h, f, g]
                    for c in range(begin, begin + width):
                        result[first + f, c] += share * values[first + g, c]


@kernel
def attend_adjoint(gradient, queries, keys, values, heads, shares, of_queries, of_keys, of_values):
    """The gradients (n F, d) of `attend` by its inputs, from that by its result."""
    fields, width = shares.shape[2], queries.shape[1] // heads
    of_queries[:], of_keys[:], of_values[:] = 0, 0, 0
    of_share = np.empty(fields, shares.dtype)
    for i in range(len(shares)):
        first = i * fields
        for h in range(heads):
            begin = h * width
            for f in range(fields):
                mean = cast(0, queries[0, 0])
                for g in range(fields):
                    share, dot = shares[i, h, f, g], cast(0, queries[0, 0])
                    for c in range(begin, begin + width):
                        dot += gradient[first + f, c] * values[first + g, c]
                        of_values[first + g, c] += share * gradient[first + f, c]
                    of_share[g] = dot
                    mean += share * dot
                for g in range(fields):
                    of_dot = shares[i, h, f, g] * (of_share[g] - mean)
                    for c in range(begin, begin + width):
                        of_queries[first + f, c] += of_dot * keys[first + g, c]
                        of_keys[first + g, c] += of_dot * queries[first + f, c]
