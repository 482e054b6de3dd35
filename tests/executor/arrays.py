"""Arrays in the device's memory, as strict as a GPU's: no element can be reached from the host but through the device.

`np.asarray`, arithmetic, iteration and conversion to a number raise TypeError: on a device each would be a hidden
copy, which waits for all kernels.  Views share the allocation of their base; rows of one may lie apart.
"""

import numpy as np


class DeviceArray:
    """Made by `ExecutorDevice.empty` and `zeros`; views by slicing along the first axis or the first two, `reshape` and `view`.

    `_bounds` : the bytes of the allocation that a kernel may touch which is given the array; views have those of their base.
    """

    __slots__ = ("_allocation", "_bounds", "_host")
    __array_ufunc__ = None  # an ndarray on the left of an operator leaves it to us

    def __init__(self, allocation, host, bounds=None):
        self._allocation, self._host = allocation, host
        self._bounds = bounds or (0, host.nbytes)

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    size = property(lambda self: self._host.size)
    nbytes = property(lambda self: self._host.nbytes)
    ndim = property(lambda self: self._host.ndim)
    flags = property(lambda self: self._host.flags)
    strides = property(lambda self: self._host.strides)
    itemsize = property(lambda self: self._host.itemsize)

    def __len__(self):
        return len(self._host)

    def __repr__(self):
        return f"<device array {self.dtype}{list(self.shape)}>"

    def __getitem__(self, key):
        keys = key if isinstance(key, tuple) else (key,)
        if not 1 <= len(keys) <= min(2, self.ndim) or any(not isinstance(one, slice) or one.step not in (None, 1) for one in keys):
            raise TypeError(f"{self!r}: only [begin:end] along the first axis or two makes a view; got [{key!r}]")
        return DeviceArray(self._allocation, self._host[key], self._bounds)

    def reshape(self, *shape):
        host = self._host.reshape(*shape)
        if self.size and not np.may_share_memory(host, self._host):
            raise TypeError(f"{self!r}: reshape to {shape} would copy, since rows lie apart")
        return DeviceArray(self._allocation, host, self._bounds)

    def view(self, dtype):
        return DeviceArray(self._allocation, self._host.view(dtype), self._bounds)

    def fill(self, value):
        self._allocation.use()
        if not self.flags.c_contiguous:
            raise TypeError(f"{self!r}: rows lie apart; fill whole arrays")
        if isinstance(value, int) and value == 0:
            self._allocation.clear(self)
            return
        self._host.fill(value)
        self._allocation.mark_written(self)

    @property
    def T(self):  # noqa: N802, NumPy's and CuPy's name
        if self.ndim != 2:
            raise TypeError(f"{self!r}: only a matrix is turned")
        return DeviceArray(self._allocation, self._host.T, self._bounds)

    def _refuse(self, *_, **__):
        raise TypeError(f"{self!r}: an implicit copy from the device; use device.to_host(array)")

    __array__ = __iter__ = __int__ = __float__ = __complex__ = __bool__ = __index__ = __contains__ = __setitem__ = _refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __neg__ = __abs__ = __invert__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refuse
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = __matmul__ = __rmatmul__ = _refuse
    __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = __lshift__ = __rshift__ = _refuse
    __iadd__ = __isub__ = __imul__ = __itruediv__ = __ifloordiv__ = __iand__ = __ior__ = __ixor__ = _refuse
    __hash__ = object.__hash__


def host_view(array):
    """The array's memory as an ndarray: for the device alone."""
    return array._host


def allocation_of(array):
    return array._allocation


def bounds_of(array):
    return array._bounds


def set_bounds(array, begin, end):
    array._bounds = begin, end


def require_array(value, what):
    if not isinstance(value, DeviceArray):
        raise TypeError(f"{what}: expected a device array; got {type(value).__name__}")
    return value


def describe(dtype, shape):
    return f"{np.dtype(dtype)}{list(shape)}"
