"""Keys without rows on a device, whose sights are counted as they are looked up.  See kernels/admission.cu.

Their buckets are those of the CPU, byte for byte, but that a key which gets its row at its first sight has a place there, too.
"""

import numpy as np

from deshpc.backend.cuda.buffers import Buffers
from deshpc.backend.cuda.counts import Counts


class Entries(Counts):
    """How many keys are there, and how many of them have got rows."""

    def _fits(self, more, limits):
        return self._known[0] + more <= limits


class Admission:
    """What `backend.cpu.admission` offers, on a device.  waiting : `arguments.Waiting`, its arrays on the device; None: no key waits"""

    def __init__(self, kernels):
        self._kernels, self._device, self._scratch = kernels("admission.cu"), kernels.device, Buffers(kernels.device)

    def new_entries(self):
        """Counts of keys of empty buckets."""
        return Entries(self._device, 2)

    def move_sights(self, old, buckets, mask):
        """Enter the keys of `old` that have got no row into empty buckets that have room."""
        self._kernels.move_sights(old.size // 8, old, old.size // 8, buckets, mask)

    def have_room(self, waiting, keys):
        """Whether so many new keys are sure to fit, as far as the host knows."""
        return waiting is None or waiting.entries.have_room(keys, waiting.limit)

    def fit(self, waiting, keys):
        """Whether so many new keys fit.  Reads the device, and waits for it, if that is in doubt."""
        return waiting is None or waiting.entries.fit(keys, waiting.limit)

    def admit(self, waiting, step, index, keys, slots, most_new):
        """Count a sight of each of keys (n) that have no slot, and give one to those that get their row.  most_new : keys without a slot"""
        n, entries = keys.size, waiting.entries
        places = self._scratch.array("places", n, np.uint32)
        entries.note(most_new)
        self._kernels.enter_keys(n, keys, n, slots, waiting.buckets, waiting.mask, entries.array, places)
        self._kernels.count_sights(
            n, keys, n, places, waiting.buckets, step, waiting.after, waiting.seed, waiting.threshold, entries.array
        )
        self._kernels.admit_keys(n, keys, n, places, waiting.buckets, index.buckets, index.mask, slots)
        entries.fetch()
