"""Small host arrays on their way to a device: places in messages, counts, rows that are read in."""

import numpy as np


def begins_of(counts):
    """Exclusive prefix sums of counts (n), int64: where each of several stretches begins."""
    return np.cumsum(counts, dtype=np.int64) - counts


def sent(device, host):
    """A copy of a host array on the device; the host's may change at once, but for memory of `host_memory`."""
    array = device.empty(host.shape, host.dtype)
    device.to_device(host, array)
    return array


def sent_together(device, buffers, name, *rows):
    """Host arrays of one length as int64 arrays (1, n) of the device each, in one transfer and one buffer."""
    host = np.stack(rows).astype(np.int64, copy=False)
    array = buffers.array(name, host.shape, np.int64)
    device.to_device(host, array)
    return [array[row : row + 1] for row in range(len(rows))]
