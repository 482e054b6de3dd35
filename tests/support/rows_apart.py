"""Matrices that are a part of a larger one, as the columns of one operator are: what lies around them must stay as it is."""

import numpy as np


class RowsApart:
    """A matrix (n, columns) of random numbers inside a larger one.

    whole : that, on the host
    """

    def __init__(self, rng, n, columns, dtype):
        self.whole = rng.standard_normal((n + 2, columns + 5)).astype(dtype)
        self._place = slice(1, n + 1), slice(3, 3 + columns)

    @property
    def numbers(self):
        """The matrix itself, on the host."""
        return self.whole[self._place]

    def on(self, backend):
        """(the larger matrix, the matrix itself) on the device of a backend."""
        whole = backend.array(self.whole)
        return whole, whole[self._place]

    def with_numbers(self, numbers):
        """The larger matrix with other numbers in its place."""
        whole = np.copy(self.whole)
        whole[self._place] = numbers
        return whole
