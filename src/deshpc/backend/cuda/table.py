"""The rows of one shard and their index on a device: new records, growth, rows read out and in.  See kernels/table.cu.

The index's buckets and the records are those of the CPU, byte for byte.  `Counters` knows how many rows there can be at
most, so that a step waits for nothing while there is room.
"""

from typing import NamedTuple

import numpy as np

from deshpc.backend.cuda.counts import Counts
from deshpc.backend.cuda.kinds import kind
from deshpc.backend.cuda.sending import sent

LIVE, NEXT, FREE, TICKET = 0, 1, 2, 3


class Index(NamedTuple):
    """Index and records of a shard: as `backend.cpu.table.Index`, its arrays on the device but `limits`."""

    buckets: object
    mask: int
    counters: "Counters"
    limits: np.ndarray
    free: object
    chunks: object
    record_bytes: int
    move: object = None


class Counters(Counts):
    """Live rows, next unused row, length of the free list: on the device; the next ticket: on the host."""

    def __init__(self, device):
        super().__init__(device, 3)
        self._ticket = 0

    def __getitem__(self, which):
        return self._ticket if which == TICKET else super().__getitem__(which)

    def __setitem__(self, which, number):
        if which == TICKET:
            self._ticket = int(number)
        else:
            super().__setitem__(which, number)

    @property
    def most_rows(self):
        """Row numbers from 0 on that are surely all that are in use, or free."""
        return int(self._known[NEXT]) + self._new

    def _fits(self, more, limits):
        return self._known[LIVE] + more <= limits[0] and self._known[NEXT] + max(0, more - self._known[FREE]) <= limits[1]


class TableOperations:
    """What `backend.cpu.table` offers, on a device."""

    LIVE, NEXT, FREE, TICKET = LIVE, NEXT, FREE, TICKET
    Index = Index

    def __init__(self, kernels):
        self._kernels, self._device = kernels, kernels.device

    def new_counters(self):
        """Counters of a shard without rows."""
        return Counters(self._device)

    def of(self, number, scalars, dim, width, planes):
        """The kernels for records of this form; width, planes : of an embedding's state."""
        return self._kernels("table.cu", NUMBER=kind(number), SCALARS=scalars, DIM=dim, STATE_WIDTH=width, PLANES=planes)

    def forget_marks(self, buckets):
        """Set every mark to 0."""
        self._plain.forget_marks(buckets.size // 8, buckets, buckets.size // 8)

    def new_move(self):
        """Nothing: a device moves all rows at once."""

    def move_rows(self, old, buckets, mask, move, most):
        """Enter every row of the index `old` into an empty one with more buckets; none is left."""
        count = old.size // 8
        self._plain.move_rows(count, old, count, buckets, mask)
        return False

    def index_rows(self, keys, rows, marks, buckets, mask):
        """Enter rows (host arrays) into an index that holds none of them."""
        n = len(keys)
        self._plain.index_rows(n, self._send(keys), self._send(rows), self._send(marks), n, buckets, mask)

    def indexed_rows(self, buckets, keys, rows, marks):
        """Fill host arrays with every (key, row, mark) of the index, in any order; returns their number.  Waits."""
        device, slots = self._device, buckets.size // 2
        held = [device.empty((len(host),), host.dtype) for host in (keys, rows, marks)]
        count = device.zeros((1,), np.uint32)
        self._plain.indexed_rows(slots, buckets, slots, *held, count)
        found = int(device.to_host(count)[0])
        for host, array in zip((keys, rows, marks), held, strict=True):
            host[:] = device.to_host(array)
        return found

    def read_records(self, rows, chunks, record_bytes, tail, places, number, fields, counts, steps, numbers):
        """Fill host arrays with the records of `rows`: as on the CPU.  Waits."""
        device, n, width = self._device, len(rows), numbers.shape[1]
        held = [device.empty(host.shape, host.dtype) for host in (fields, counts, steps, numbers)]
        kernels = self._kernels("table.cu", NUMBER=kind(number), SCALARS=0, DIM=0, STATE_WIDTH=0, PLANES=0)
        kernels.read_records(n * width, self._send(rows), n, chunks, record_bytes, tail, self._send(places), width, *held)
        for host, array in zip((fields, counts, steps, numbers), held, strict=True):
            host[...] = device.to_host(array)

    def write_records(self, addresses, tail, places, keys, fields, counts, steps, numbers):
        """Fill the records at `addresses` from host arrays: as on the CPU."""
        n, width = len(keys), numbers.shape[1]
        kernels = self._kernels("table.cu", NUMBER=kind(numbers), SCALARS=0, DIM=0, STATE_WIDTH=0, PLANES=0)
        kernels.write_records(
            n * width, addresses, n, tail, self._send(places), width, *map(self._send, (keys, fields, counts, steps, numbers))
        )

    @property
    def _plain(self):
        """The kernels that do not look into records."""
        return self._kernels("table.cu", NUMBER="float", SCALARS=0, DIM=0, STATE_WIDTH=0, PLANES=0)

    def _send(self, host):
        return sent(self._device, host)
