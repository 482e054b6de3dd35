"""Single bytes of a text, for kernels, and how many of a kind there are."""

import numpy as np

from deshpc.jit import kernel


@kernel(inline=True)
def byte(data, i):
    """data[i] for i >= 0.  An unsigned index needs no test for a negative one, which costs a scan a third of its time.

    data : (any) uint8
    i : int64  ->  uint8
    """
    return data[np.uint64(i)]


_LANES, _MOST = 128, 255  # bytes that are compared side by side, and steps until a counter of eight bits is full


@kernel
def occurrences(data, wanted):
    """How many of the bytes are `wanted`, at the speed of memory.

    data : (any) uint8
    wanted : int64
    """
    wanted = np.uint8(wanted)
    counts = np.zeros(_LANES, np.uint8)
    steps = len(data) // _LANES
    total = 0
    for first in range(0, steps, _MOST):
        counts[:] = 0
        for step in range(first, min(first + _MOST, steps)):
            begin = np.uint64(step * _LANES)
            for lane in range(_LANES):
                counts[lane] += np.uint8(1) if data[begin + np.uint64(lane)] == wanted else np.uint8(0)
        for lane in range(_LANES):
            total += counts[lane]
    for i in range(steps * _LANES, len(data)):
        total += data[i] == wanted
    return total
