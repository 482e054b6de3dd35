"""A device that does nothing: its arrays are a shape and a type, launches and copies return at once.

What a step takes on it is what the host computes, on top of what CUDA and CuPy take for a launch or a copy.  Attributes of
arrays are as cheap as CuPy's or cheaper, views cost what Python takes for an object.
"""

import math

import numpy as np


class IdleDevice:
    """What is read back is 0."""

    name = "idle"

    def empty(self, shape, dtype):
        return IdleArray(shape, np.dtype(dtype))

    zeros = empty

    def host_memory(self, shape, dtype):
        return np.zeros(shape, dtype)

    def to_device(self, host, target):
        pass

    def to_host(self, array):
        host = np.empty(array.shape, array.dtype)
        self.into_host(array, host)
        return host

    def into_host(self, array, host):
        host[...] = 0

    def start_into_host(self, array, host):
        pass

    def copy_out(self, array, host):
        return None

    def copy(self, source, target):
        pass

    def address(self, array):
        return 1 << 40

    def mark(self):
        return None

    def passed(self, point):
        return True

    def wait(self, point):
        pass

    def compile(self, name, source, constants):
        return _Compiled()

    def launch(self, function, blocks, threads, arguments):
        pass

    def multiply(self, a, b, out, add, arithmetic):
        pass

    def elementwise(self, body):
        return _start


class _Compiled:
    def function(self, name):
        return name


def _start(count, *arguments):
    pass


class _Flags:
    c_contiguous = True


class IdleArray:
    """Shape and type.

    strides : of a matrix, bytes from one row and from one number to the next
    """

    __slots__ = ("dtype", "flags", "ndim", "shape", "size", "strides")

    def __init__(self, shape, dtype, strides=None):
        self.shape, self.dtype, self.flags = shape, dtype, _FLAGS
        self.size, self.ndim = math.prod(shape), len(shape)
        self.strides = strides or (self.ndim == 2 and (shape[1] * dtype.itemsize, dtype.itemsize))

    @property
    def nbytes(self):
        return self.size * self.dtype.itemsize

    @property
    def T(self):  # noqa: N802, NumPy's and CuPy's name
        return IdleArray(self.shape[::-1], self.dtype, self.strides[::-1])

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, key):
        rows, *columns = key if isinstance(key, tuple) else (key,)
        shape = tuple(len(range(extent)[one]) for one, extent in zip((rows, *columns), self.shape, strict=False))
        return IdleArray(shape + self.shape[len(shape) :], self.dtype, self.strides if columns else None)

    def reshape(self, *shape):
        shape = shape[0] if isinstance(shape[0], tuple) else shape
        if -1 in shape:
            known = -math.prod(shape)
            shape = tuple(self.size // max(1, known) if extent == -1 else extent for extent in shape)
        return IdleArray(shape, self.dtype)

    def view(self, dtype):
        dtype = np.dtype(dtype)
        return IdleArray((*self.shape[:-1], self.shape[-1] * self.dtype.itemsize // dtype.itemsize), dtype)

    def fill(self, value):
        pass


_FLAGS = _Flags()
