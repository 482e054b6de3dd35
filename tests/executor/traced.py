"""What the elements of an elementwise loop read and write: the body is run as plain Python, on arrays that note it."""

from contextlib import suppress

import numpy as np

from executor.arrays import DeviceArray, allocation_of, host_view
from executor.errors import ExecutorError

_MANY = -2


class Trace:
    """Runs a body for some indices, changes nothing, and finds elements that race or read what nobody has written."""

    def __init__(self, name, initialised):
        self.name, self._initialised = name, initialised
        self.index = None  # of the loop, now
        self._writers, self._readers, self._values = {}, {}, {}  # by address: index; what has been written
        self.arrays = []

    def run(self, body, order, arguments):
        given = [self._accept(f"argument {number}", value) for number, value in enumerate(arguments)]
        with np.errstate(all="ignore"):
            for self.index in order.tolist():
                # Where Python has no number for it, Numba has infinity or NaN; what the element does then is not followed.
                with suppress(ValueError, OverflowError, ZeroDivisionError):
                    body(self.index, *given)

    def _accept(self, what, value):
        if isinstance(value, DeviceArray):
            self.arrays.append(TracedArray(self, what, value))
            return self.arrays[-1]
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*[self._accept(f"{what}.{name}", field) for name, field in zip(value._fields, value, strict=True)])
        return value

    def read(self, array, place):
        address, host = array.address_of(place), array.host
        self._race(self._writers.get(address), "reads", "writes", array, place)
        if address in self._values:
            return self._values[address]
        if self._initialised and not allocation_of(array.array).is_written(address, host.itemsize):
            raise ExecutorError(f"elementwise {self.name}: element {self.index} reads {array.what}[{place}], which nobody has written")
        self._readers[address] = self.index if self._readers.get(address, self.index) == self.index else _MANY
        return host[place]

    def write(self, array, place, value):
        address = array.address_of(place)
        self._race(self._writers.get(address), "writes", "writes", array, place)
        self._race(self._readers.get(address), "writes", "reads", array, place)
        self._writers[address], self._values[address] = self.index, array.dtype.type(value)
        array.written.append(place)

    def _race(self, other, does, did, array, place):
        if other not in (None, self.index):
            who = "others" if other == _MANY else f"element {other}"
            raise ExecutorError(
                f"elementwise {self.name}: data race: element {self.index} {does} {array.what}[{place}], which {who} {did}, in no order"
            )


class TracedArray:
    """`written` : places that have been written."""

    def __init__(self, trace, what, array):
        self._trace, self.what, self.array, self.host = trace, what, array, host_view(array)
        self.dtype, self.size, self.shape, self.written = array.dtype, array.size, array.shape, []
        self._begin = self.host.ctypes.data

    def __len__(self):
        return len(self.host)

    def address_of(self, place):
        return self._begin + place * self.host.itemsize

    def __getitem__(self, place):
        return self._trace.read(self, self._inside(place))

    def __setitem__(self, place, value):
        self._trace.write(self, self._inside(place), value)

    def _inside(self, place):
        if self.host.ndim != 1 or not 0 <= place < self.size:
            raise ExecutorError(
                f"elementwise {self._trace.name}: element {self._trace.index}: {self.what}[{place}] is out of bounds of {list(self.shape)}"
            )
        return int(place)
