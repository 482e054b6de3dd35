"""Elementwise loops: a Python function on scalars and arrays, run for every index in the schedule's order.

The body is compiled with Numba, with bounds checked.  On a GPU the same body is a numba.cuda kernel, so that nothing
may depend on the order of indices: in check mode it is run as plain Python before, changing nothing, to find races and reads
of memory that nobody has written (`traced.py`), for all indices or, of more than `_MOST_TRACED`, for as many that are drawn.
"""

import functools

import numba
import numpy as np

from executor.arrays import DeviceArray, allocation_of, host_view
from executor.errors import ExecutorError
from executor.traced import Trace

_MOST_TRACED = 2000


@numba.njit(nogil=True)
def _run(body, order, arguments):
    for k in range(order.size):
        body(order[k], *arguments)


@functools.cache
def _compiled(body):
    """Compiled once a process, whatever the device: that takes seconds, running it does not."""
    return numba.njit(nogil=True, boundscheck=True, error_model="numpy")(body)


class Elementwise:
    """Called with the number of indices and the body's other arguments."""

    def __init__(self, device, body):
        self._device, self._name = device, getattr(body, "__name__", "body")
        self._python = getattr(body, "py_func", body)
        self._body = _compiled(self._python)

    def __call__(self, count, *arguments):
        given = [self._accept(number, value) for number, value in enumerate(arguments)]
        order = self._order(int(count))
        if self._device.mode == "check":
            self._trace(order, arguments)
        try:
            _run(self._body, order, tuple(given))
        except (IndexError, ZeroDivisionError) as error:
            raise ExecutorError(f"elementwise {self._name}: {error}") from error

    def _trace(self, order, arguments):
        whole, trace = order.size <= _MOST_TRACED, Trace(self._name, self._device.initialised)
        if not whole:
            order = np.random.default_rng(self._device.schedule.seed).choice(order, _MOST_TRACED, replace=False)
        trace.run(self._python, order, arguments)
        for one in trace.arrays:
            if not whole and one.written:
                allocation_of(one.array).mark_written(one.array)
            elif whole:
                for place in one.written:
                    allocation_of(one.array).mark_written(one.array[place : place + 1])

    def _order(self, count):
        schedule = self._device.schedule
        if schedule.order == "random":
            return np.random.default_rng(schedule.seed).permutation(count)
        return np.arange(count)[:: -1 if schedule.order == "reversed" else 1].copy()

    def _accept(self, number, value):
        if isinstance(value, DeviceArray):
            allocation_of(value).use()
            return host_view(value)
        if value is None or isinstance(value, np.generic):
            return value
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*[self._accept(number, field) for field in value])
        raise ExecutorError(
            f"elementwise {self._name}: argument {number} is a {type(value).__name__}; expected a device array, a NumPy "
            "scalar, a named tuple of them, or None"
        )
