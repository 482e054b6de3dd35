"""Attention between the fields of a sample, on a device: the operations of `backend.cpu.self_attention`.  See kernels/self_attention.cu."""

from deshpc.backend.cuda.buffers import Buffers
from deshpc.backend.cuda.kinds import kind


class SelfAttentionOperations:
    def __init__(self, kernels):
        self._kernels, self._scratch = kernels, Buffers(kernels.device)

    def attend(self, queries, keys, values, heads, shares, result):
        count, sizes = _sizes(queries, shares)
        self._of(shares).attend(count, queries, keys, values, *sizes, shares, result)

    def attend_adjoint(self, gradient, queries, keys, values, heads, shares, of_queries, of_keys, of_values):
        count, sizes = _sizes(queries, shares)
        slopes = self._scratch.array("slopes", shares.shape, shares.dtype)
        self._of(shares).ask_adjoint(count, gradient, keys, values, shares, *sizes, slopes, of_queries)
        self._of(shares).told_adjoint(count, gradient, queries, shares, slopes, *sizes, of_keys, of_values)

    def _of(self, numbers):
        return self._kernels("self_attention.cu", COMPUTE=kind(numbers))


def _sizes(queries, shares):
    """(threads, (samples, fields, heads, numbers of a head))."""
    n, heads, fields, _ = shares.shape
    return n * heads * fields, (n, fields, heads, queries.shape[1] // heads)
