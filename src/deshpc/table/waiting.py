"""Keys of one shard that have no row yet: how often they were seen, exactly, and when last.

A step whose global batch has the key is a sight, however often it is in the batch.  A key gets its row at a sight from the `after`-th
on, by the chance that a hash of seed, key and number of sights decides: a function of the key and its sights alone.  A key whose row
was given up begins anew.
"""

import numpy as np

from deshpc.backend.arguments import Waiting
from deshpc.hashing.splitmix import fold_words
from deshpc.table.sights import Sights

_SMALLEST = 64  # buckets
_SALT = 0x61646D69  # of the chances, which are to have nothing in common with first weights
_LOAD_LIMIT, _SLOTS = 0.6, 4


class WaitingKeys:
    """The waiting keys of one shard, which are counted as its rows are looked up (`backend.cpu.admission`)."""

    def __init__(self, backend, after, chance, seed):
        """after, chance : `table.admit_after`, `table.admit_probability`
        seed : of the run
        """
        self._backend, self._table, self._after = backend, backend.table, after
        self._threshold = np.uint64(round(chance * 2**32))
        self._seed = np.uint64(fold_words(seed, _SALT))
        self._entries = backend.admission.new_entries()
        self._new_buckets(_SMALLEST)

    @property
    def nbytes(self):
        """Bytes of their memory."""
        return self._buckets.nbytes

    @property
    def keys(self):
        """How many keys wait."""
        return int(self._entries[0] - self._entries[1])

    def arguments(self):
        """As kernels take them."""
        limit = int(_LOAD_LIMIT * _SLOTS * (self._mask + 1))
        return Waiting(self._buckets, self._mask, self._entries, limit, self._seed, self._after, self._threshold)

    def make_room(self, keys):
        """Make room for so many more keys, if there is none."""
        if self._entries[0] + keys > self.arguments().limit:
            full, waiting = self._buckets, self.keys
            self._new_buckets(self._room_for(max(2 * waiting, waiting + keys)))
            self._backend.admission.move_sights(full, self._buckets, self._mask)
            self._entries[:] = waiting, 0

    def sights(self):
        """Sights of all, in an order of their own."""
        keys, counts, marks = self.held()
        wait = counts > 0
        return Sights(keys[wait], counts[wait].view(np.uint32), marks[wait] - np.uint32(1))

    def look(self, oldest):
        """What an eviction finds, of a backend that looks where keys lie: see `HistoryOperations.look_at_waiting` of `backend.cuda`."""
        return self._backend.history.look_at_waiting(self._buckets, oldest)

    def keep(self, look):
        """Forget the keys that go by a look."""
        self._new_buckets(self._mask + 1)
        self._backend.history.keep(look, self._buckets, self._mask, self._entries)

    @property
    def entries(self):
        """Counts of keys that are there, and of those of them that have got rows."""
        return self._entries

    def set(self, sights):
        """Hold these keys instead."""
        self._fill(np.ascontiguousarray(sights.keys), sights.sights.astype(np.int32), (sights.steps + np.uint32(1)).astype(np.uint32))

    def held(self):
        """(keys (n) uint64, numbers of sights (n) int32, marks (n) uint32, one more than steps of the last ones), in an order of their own.

        A key that has got its row has 0 sights."""
        n = int(self._entries[0])
        keys, counts, marks = np.empty(n, np.uint64), np.empty(n, np.int32), np.empty(n, np.uint32)
        self._table.indexed_rows(self._buckets, keys, counts, marks)
        return keys, counts, marks

    def forget(self, keys):
        """Take out some keys (n) uint64 of those held, among them all that have got their rows."""
        self._backend.admission.forget(keys, self._buckets, self._mask)
        self._entries[0] -= len(keys)
        self._entries[1] = 0

    def _fill(self, keys, counts, marks):
        """Enter keys into fresh buckets, which have room for twice as many."""
        buckets = self._room_for(2 * len(keys))
        if buckets > self._mask + 1:
            self._new_buckets(buckets)
        else:
            self._buckets.fill(0)
        self._table.index_rows(keys, counts, marks, self._buckets, self._mask)
        self._entries[:] = len(keys), 0

    def _room_for(self, keys):
        """Buckets that have room for so many keys, as many as there are or more."""
        buckets = self._mask + 1
        while keys > _LOAD_LIMIT * _SLOTS * buckets:
            buckets *= 2
        return buckets

    def _new_buckets(self, buckets):
        self._mask = buckets - 1
        self._buckets = self._backend.aligned(buckets * 8, np.uint64, "keys that wait for a row")
