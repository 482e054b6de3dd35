"""Arithmetic on whole arrays of numbers, on a device: the operations of `backend.cpu.arrays`.  See kernels/arrays.cu."""

from deshpc.backend.cuda.kinds import kind

_WARP = 32


class ArrayOperations:
    """Arrays are (n, h), whose rows may lie apart, or vectors, unless something else is said."""

    def __init__(self, kernels, column_sums):
        self._kernels, self._column_sums = kernels, column_sums

    def fill(self, target, number):
        target = _rows_of(target)
        self._of(target).fill(target.size, target, *target.shape, float(number))

    def put(self, source, target, add=False, factor=1.0):
        source, target = _rows_of(source), _rows_of(target)
        self._of(target, source).put(target.size, source, target, *target.shape, float(factor), int(add))

    def add_rows(self, source, rows, target):
        source, target = _columns_of(source), _columns_of(target)
        self._of(target).add_rows(source.size, source, rows, target, *source.shape)

    def multiply(self, a, b, out):
        a, out, of_rows = _rows_of(a), _rows_of(out), b.ndim == 2
        b = _rows_of(b)
        self._of(out).multiply(out.size, a, b, int(of_rows), int(b.shape[1] == a.shape[1]), out, *out.shape)

    def subtract_product(self, a, b, out):
        a, b, out = _rows_of(a), _rows_of(b), _rows_of(out)
        self._of(out).subtract_product(out.size, a, int(a.shape[1] == out.shape[1]), b, out, *out.shape)

    def column_sums(self, x, out, weights=None):
        self._column_sums(x, out, weights)

    def row_products(self, a, b, out, factor=1.0):
        n, h = a.shape
        self._of(a).row_products(_WARP * n, a, b, n, h, float(factor), out)

    def _of(self, target, source=None):
        return self._kernels("arrays.cu", COMPUTE=kind(target), SOURCE=kind(target if source is None else source))


def _rows_of(array):
    """A vector as one row."""
    return array if array.ndim == 2 else array.reshape(1, array.size)


def _columns_of(array):
    """A vector as one column."""
    return array if array.ndim == 2 else array.reshape(array.size, 1)
