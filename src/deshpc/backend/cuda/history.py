"""What rows on a device have been through, and which of them go: a look reads nothing back but how many there are.  See kernels/history.cu."""

from typing import NamedTuple

import numpy as np

from deshpc.backend.cuda.buffers import Buffers
from deshpc.backend.cuda.kinds import kind
from deshpc.backend.cuda.prefix import tiles_of
from deshpc.backend.cuda.sending import sent

_DIGITS = ((0, 20, 12), (0, 8, 12), (0, 0, 8), (1, 52, 12), (1, 40, 12), (1, 28, 12), (1, 16, 12), (1, 4, 12), (1, 0, 4))
"""Of the 96 bits that rows are ordered by, from the top: whether they are the tie's, by how many bits they are shifted, and bits."""

_MOST_DIGITS = 1 << 12
_MOST_BLOCKS = 1024  # that count digits: each adds its own counts to all
_COUNTERS, _ENTRIES = 3, 2


class Look(NamedTuple):
    """What becomes of the rows, or waiting keys, in the slots of some buckets.

    worths (slots) uint32 : the smaller ones go first;  verdicts (slots) uint8 : of history.cu
    """

    buckets: object
    slots: int
    worths: object
    verdicts: object


class HistoryOperations:
    """Decayed counts, as `backend.cpu.history`, and looks.  One look at a time: its arrays are those of the next one."""

    def __init__(self, kernels, prefix):
        self._kernels, self._prefix, self._device = kernels, prefix, kernels.device
        self._scratch = Buffers(kernels.device)

    def read_decayed(self, rows, chunks, record_bytes, place, decayed):
        """Fill host array decayed (n) float32: the decayed counts of rows (n), a host array, as they lie.  Waits."""
        held = self._device.empty(decayed.shape, np.float32)
        self._plain.read_decayed(len(rows), sent(self._device, rows), len(rows), chunks, record_bytes, place, held)
        decayed[:] = self._device.to_host(held)

    def write_decayed(self, addresses, place, decayed):
        """Set the decayed counts (n) float32, a host array, of the records at `addresses` (n)."""
        self._plain.write_decayed(len(decayed), addresses, len(decayed), place, sent(self._device, decayed))

    def shrink_decayed(self, buckets, chunks, record_bytes, place, factor, least):
        """Multiply the decayed counts of all rows of an index by a factor (float32); what is less than `least` then is 0."""
        slots = _slots(buckets)
        self._plain.shrink_decayed(slots, buckets, slots, chunks, record_bytes, place, factor, least)

    def look(self, index, layout, oldest, zero_oldest, low_count):
        """The Look at the rows of an index.

        oldest : a row whose last step is this one, or an earlier one, goes;  zero_oldest : so does one of zeros;  -1: none does
        low_count : a row whose decayed count, as it lies, is less goes
        """
        slots, decayed = _slots(index.buckets), layout.decayed if layout.decays else -1
        found = self._new_look(index.buckets)
        self._kernels("history.cu", NUMBER=kind(layout.number)).look(
            slots, index.buckets, slots, index.chunks, index.record_bytes, layout.tail, decayed, low_count, oldest, zero_oldest,
            layout.first_weight, layout.weights, found.worths, found.verdicts,
        )  # fmt: skip
        return found

    def look_at_waiting(self, buckets, oldest):
        """The Look at keys that wait for a row.  oldest : one whose last sight was at this step, or an earlier one, goes; -1: none does"""
        found = self._new_look(buckets)
        self._plain.look_at_waiting(found.slots, buckets, found.slots, oldest, found.worths, found.verdicts)
        return found

    def shrink(self, look, cost, budget, add_up):
        """Let the least worth go until what stays, of `cost` each, costs no more than a budget.

        add_up : function of an array (n) int64 of the device that gives its sums over the ranks that share the budget
        As collective as `add_up`.
        """
        kernels, state, costs = self._plain, self._scratch.array("state", 4, np.int64), self._scratch.zeros("costs", _MOST_DIGITS, np.int64)
        self._device.to_device(np.array([0, 0, budget, 0], np.int64), state)
        blocks = min(-(-look.slots // kernels.count_digits.threads), _MOST_BLOCKS)
        for of_ties, shift, bits in _DIGITS:
            kernels.count_digits.blocks(blocks, look.buckets, look.slots, look.worths, look.verdicts, state, of_ties, shift, bits, cost, costs)
            kernels.pick_digit.blocks(1, add_up(costs[: 1 << bits]), bits, of_ties, state)
        kernels.cut(look.slots, look.buckets, look.slots, look.worths, state, look.verdicts)

    def give_up(self, index, look, buckets, mask):
        """Enter the rows that stay into empty buckets, as many as the index has.

        Returns (list of free rows, which has room for all, how many rows go, (1) uint64): arrays of the device.
        """
        rows = index.counters.most_rows
        gone, tiles = self._scratch.array("gone", rows, np.uint8), tiles_of(rows)
        counts, total = self._scratch.array("gone of tiles", tiles, np.uint64), self._scratch.array("gone in all", 1, np.uint64)
        free = index.free
        if len(free) < rows:
            free = self._device.empty((rows,), np.int32)
            if len(index.free):
                self._device.copy(index.free, free[: len(index.free)])
        gone.fill(0)
        index.counters.lower()
        self._plain.move_staying(look.slots, look.buckets, look.slots, look.verdicts, buckets, mask, gone)
        self._plain.count_gone.blocks(tiles, gone, rows, counts)
        self._prefix.of_tiles(counts, tiles, total)
        self._plain.free_rows.blocks(tiles, gone, rows, counts, total, index.counters.array, free)
        return free, total

    def keep(self, look, buckets, mask, entries):
        """Enter the waiting keys that stay into empty buckets, as many as there are; entries become those of these."""
        entries.lower()
        entries.array.fill(0)
        self._plain.keep_waiting(look.slots, look.buckets, look.slots, look.verdicts, buckets, mask, entries.array)

    def settle(self, counters, entries, total):
        """Count the `total` rows that have gone, and bring all counts to the host; returns how many rows went.  Waits.

        entries : of waiting keys, or None
        """
        report = self._scratch.array("report", _COUNTERS + _ENTRIES + 1, np.int64)
        self._plain.settle(1, total, counters.array, entries and entries.array, report)
        found = self._device.to_host(report)
        counters.take(found[:_COUNTERS])
        if entries:
            entries.take(found[_COUNTERS : _COUNTERS + _ENTRIES])
        return int(found[-1])

    def _new_look(self, buckets):
        slots, array = _slots(buckets), self._scratch.array
        return Look(buckets, slots, array("worths", slots, np.uint32), array("verdicts", slots, np.uint8))

    @property
    def _plain(self):
        """The kernels that do not read weights."""
        return self._kernels("history.cu", NUMBER="float")


def _slots(buckets):
    return buckets.size // 2
