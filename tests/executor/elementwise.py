"""Elementwise loops: a Python function on scalars and arrays, run for every index in the schedule's order.

The body is compiled with Numba, with bounds checked.  On a GPU the same body is a numba.cuda kernel, so that nothing
may depend on the order of indices.  What it writes is not followed: all its arrays count as written afterwards.
"""

import functools

import numba
import numpy as np

from executor.arrays import DeviceArray, allocation_of, host_view
from executor.errors import ExecutorError


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
        self._body = _compiled(getattr(body, "py_func", body))

    def __call__(self, count, *arguments):
        given = [self._accept(number, value) for number, value in enumerate(arguments)]
        try:
            _run(self._body, self._order(int(count)), tuple(given))
        except (IndexError, ZeroDivisionError) as error:
            raise ExecutorError(f"elementwise {self._name}: {error}") from error
        for value in arguments:
            if isinstance(value, DeviceArray):
                allocation_of(value).mark_written(value)

    def _order(self, count):
        schedule = self._device.schedule
        if schedule.order == "random":
            return np.random.default_rng(schedule.seed).permutation(count)
        return np.arange(count)[:: -1 if schedule.order == "reversed" else 1].copy()

    def _accept(self, number, value):
        if isinstance(value, DeviceArray):
            return host_view(value)
        if value is None or isinstance(value, np.generic):
            return value
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*[self._accept(number, field) for field in value])
        raise ExecutorError(
            f"elementwise {self._name}: argument {number} is a {type(value).__name__}; expected a device array, a NumPy "
            "scalar, a named tuple of them, or None"
        )
