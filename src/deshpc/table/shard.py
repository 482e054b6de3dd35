"""One shard: the rows that one owner holds, as a dynamic hash table.

Rows are numbered; a row's record (`backend.record`) lies in a chunk of 2^16 records and never moves.  The index maps key to
row number.  When it is six tenths full, its entries move to one of twice the size, some with every few thousand new ones, so that
no look-up waits for all.  Removed rows go to a free list and are used again.
Nothing that can be read out depends on slots, row numbers or the order in which keys arrived.
"""

import math
from dataclasses import dataclass
from itertools import cycle
from typing import NamedTuple

import numpy as np

from deshpc.backend.arguments import Picked, Search
from deshpc.backend.record import CHUNK_ROWS
from deshpc.backend.rules import StateStart
from deshpc.backend.values import value_shape
from deshpc.errors import DataError, DeshpcError
from deshpc.table.decay import ERA, LEAST

_SMALLEST_INDEX = 64  # buckets
_LOAD_LIMIT = 0.6
_SLOTS_PER_BUCKET = 4
_MOST_ROWS = 2**31 - 1
_LAST_TICKET = 2**32 - 1
_STRIDE = 4096
"""New rows between moves of others to a larger index."""
_MOVED = 5120
"""Buckets whose rows move then: before all have moved, the old index is at most 0.8 full."""
_KEYS_A_BUCKET = 16
"""Keys that are looked up between moves of a bucket, so that a table that hardly grows has one index again some day."""
_BUCKET_BYTES = 64
_PART = 1 << 21
"""Bytes of an index that are given back, or made ready, at a time."""
_PARTS_AHEAD = 4
"""Parts of an index that are ready before rows move there."""

BLOCK_ROWS = 65_536
"""Rows that are read out at a time, where not all are: some megabytes."""


@dataclass(frozen=True)
class Initialisation:
    """What a new row holds: embeddings uniform with mean 0 and standard deviation `std`, scalar weight 0, optimizer
    state as `state_start` says.

    first_column : number of the first column that is held here
    own, whole : columns of each of an embedding's vectors that are held here, and that there are; 0: it is one vector, held whole
    """

    seed: int
    std: float
    state_start: StateStart
    first_column: int = 0
    own: int = 0
    whole: int = 0


@dataclass(frozen=True)
class Rows:
    """Rows read out in key order.  keys (n) uint64, fields (n) uint16, counts and last steps (n) uint32, numbers
    (n, weights + state) of the type of `RecordLayout.number`, decayed counts as of the last steps (n) float64, None where none are kept."""

    keys: np.ndarray
    fields: np.ndarray
    counts: np.ndarray
    steps: np.ndarray
    numbers: np.ndarray
    decayed: np.ndarray | None = None

    def __len__(self):
        return len(self.keys)

    @property
    def arrays(self):
        """{name: array} of those that are kept."""
        return {name: array for name, array in vars(self).items() if array is not None}

    def take(self, which):
        """The Rows at some places: numbers of them, a slice, or (n) bool."""
        return Rows(**{name: array[which] for name, array in self.arrays.items()})

    @staticmethod
    def concatenate(parts):
        """All rows of `parts` (not empty), in key order."""
        joined = Rows(**{name: np.concatenate([part.arrays[name] for part in parts]) for name in parts[0].arrays})
        return joined.take(np.argsort(joined.keys))


class History(NamedTuple):
    """What an eviction asks of a shard's rows, by row number.

    held (n) bool : whether there is such a row; of others anything
    steps (n) uint32 : of the last update
    worths (n) uint32 : rows of smaller ones are given up first: the bits of the decayed count, as it lies, or the last step
    """

    held: np.ndarray
    steps: np.ndarray
    worths: np.ndarray


class Lookup:
    """Where a batch's keys are.  local (n) int32: each key's place among the distinct keys; addresses (distinct)
    int64: the records of the distinct keys.  In evaluation place 0 is a record of zeros that stands for unseen keys.

    On a device nobody waits to learn how many distinct keys there are: addresses has room for all, and 0 beyond the last."""

    def __init__(self, local, addresses):
        self.local, self.addresses = local, addresses

    @property
    def distinct(self):
        return len(self.addresses)


class Shard:
    """A table of rows of one `RecordLayout`, owned by one thread at a time."""

    def __init__(self, backend, layout, initialisation, waiting=None, decays=None):
        """waiting : `WaitingKeys`, where keys do not get a row at first sight
        decays : `DecayedCounts`, None where the layout has none
        """
        self.waiting, self._decays, self._era = waiting, decays, 0
        self.layout, self._backend, self._kernels, self._table = layout, backend, backend.lookup, backend.table
        self._sets = cycle([backend.buffers(), backend.buffers()])
        scale = np.float32(math.sqrt(3.0) * initialisation.std)
        start = initialisation.state_start
        width = layout.vector_state // max(1, start.planes)
        self._new = (
            layout.number, layout.element, layout.scalars, layout.dim, width, np.uint64(initialisation.seed), scale, start,
            initialisation.first_column, initialisation.own or layout.dim, initialisation.whole or layout.dim,
        )  # fmt: skip
        self._chunks, self._chunk_addresses, self._ready_rows = [], backend.array(np.zeros(0, np.int64)), 0
        self._asked_rows = 0
        self._old, self._move, self._pause, self._parts = None, backend.table.new_move(), _MOST_ROWS, 0
        self._counters = self._table.new_counters()
        self._counters[self._table.TICKET] = 1
        self._free = backend.array(np.zeros(0, np.int32))
        self._zero_record = backend.aligned(layout.record_bytes, np.uint8)
        self._new_index(_SMALLEST_INDEX)

    def __len__(self):
        return int(self._counters[self._table.LIVE])

    @property
    def nbytes(self):
        """Bytes of records (rows in use), index and waiting keys."""
        of_waiting = self.waiting.nbytes if self.waiting else 0
        return int(self._counters[self._table.NEXT]) * self.layout.record_bytes + self._buckets.nbytes + of_waiting

    def look_up(self, keys, fields, step=None, buffers=None, admits=False):
        """Look up keys (n) uint64 of fields (n) uint16; unseen ones are inserted at `step`.  Returns a Lookup.

        step : None inserts nothing; unseen keys get a record of zeros
        admits : whether unseen keys get rows at once, where they would have to wait
        Valid until the call after the next one, or as long as the caller's `buffers`.
        """
        return self._probe(self._kernels.look_up_listed, (keys, fields), buffers or next(self._sets), len(keys), step, admits)

    def look_up_own(self, batch, partition, owner, step=None):
        """Look up those keys of a `Batch` that `owner` owns, as `look_up`.

        Returns (Lookup, offsets (n + 1) int64 of the owned occurrences of each sample, their values or None).
        """
        buffers, most, values = next(self._sets), batch.occurrences, None
        if batch.values is not None:
            values = buffers.array("values", value_shape(batch.values, most + 1), np.float32)
        offsets, block = buffers.array("offsets", len(batch) + 1, np.int64), 2 * self._kernels.BLOCK
        picked = Picked(offsets, values, buffers.array("picked", block, np.uint64))
        found = self._probe(self._kernels.look_up_own, (batch.sparse, partition, owner, picked), buffers, most, step)
        return found, offsets, None if values is None else values[: len(found.local)]

    def look_up_lists(self, lists, samples, like, step=None):
        """Look up the keys of `KeyLists`, occurrences of so many samples, as `look_up_own`.

        like : None, or values of other occurrences, in the form that these have
        """
        buffers, most, values = next(self._sets), len(lists.samples) * lists.room, None
        if like is not None:
            values = buffers.array("values", value_shape(like, most), np.float32)
        offsets = buffers.array("offsets", samples + 1, np.int64)
        found = self._probe(self._backend.lists.look_up_lists, (lists, offsets, values), buffers, most, step)
        return found, offsets, None if values is None else values[: len(found.local)]

    def _probe(self, kernel, arguments, buffers, most, step, admits=False):
        """The Lookup of at most so many keys by `kernel`, which is called again when the shard has grown."""
        counters, kernels = self._counters, self._kernels
        local, addresses = buffers.array("local", most + 1, np.int32), buffers.array("addresses", most + 2, np.int64)
        fresh = buffers.array("fresh", kernels.SCRATCH, np.int64)
        progress = np.zeros(kernels.PROGRESS, np.int64)
        if counters[self._table.TICKET] + most > _LAST_TICKET:
            self._table.forget_marks(self._settled())
            counters[self._table.TICKET] = 1
        waits = self.waiting is not None and step is not None and not admits
        if step is None or waits:
            addresses[:1].fill(self._backend.address(self._zero_record))
            progress[kernels.DISTINCT] = 1
        waiting = self.waiting.arguments() if waits else None
        search = Search(step is not None, self._new, np.uint32(step or 0), progress, local, addresses, fresh, waiting)
        while lack := kernel(self._index(), search, *arguments):
            self._grow(lack)
            if waits:
                self.waiting.make_room(lack)
                search = search._replace(waiting=self.waiting.arguments())
        counters[self._table.TICKET] += progress[kernels.DISTINCT]
        if self._old is not None and step is not None:
            self._move_rows(most // _KEYS_A_BUCKET)
        return Lookup(local[: progress[kernels.DONE]], addresses[: progress[kernels.DISTINCT]])

    def reserve(self, rows):
        """Set memory aside for so many rows: until there are more, nothing grows, and no page is new to the system."""
        self._grow(rows - len(self))
        self._backend.touch(self._settled())
        self._ready_rows = self._asked_rows = len(self._chunks) * CHUNK_ROWS
        for chunk in self._chunks:
            self._backend.touch(chunk)

    def export(self):
        """All rows, in key order."""
        return self._read(*self._in_key_order())

    def blocks(self, block_rows=BLOCK_ROWS, ordered=True):
        """Yield all rows, so many at a time (copies).  The rows must not change until the last is out.

        ordered : by key; else in any order, which is faster
        Memory beside a block: key and row number of every row.
        """
        keys, rows = self._in_key_order() if ordered else self._indexed()[:2]
        for begin in range(0, len(keys), block_rows):
            yield self._read(keys[begin : begin + block_rows], rows[begin : begin + block_rows])

    def _in_key_order(self):
        """(keys, row numbers) of all rows."""
        keys, rows, _ = self._indexed()
        order = np.argsort(keys)
        return keys[order], rows[order]

    def _read(self, keys, rows):
        """The Rows of these keys, which are at these row numbers."""
        n, layout = len(keys), self.layout
        fields, counts, steps = np.empty(n, np.uint16), np.empty(n, np.uint32), np.empty(n, np.uint32)
        numbers = np.empty((n, layout.numbers), layout.number.dtype)
        self._table.read_records(
            rows, self._chunk_addresses, layout.record_bytes, layout.tail, layout.places, layout.number,
            fields, counts, steps, numbers,
        )  # fmt: skip
        return Rows(keys, fields, counts, steps, numbers, self._read_decayed(rows, steps))

    def _read_decayed(self, rows, steps):
        if self._decays is None:
            return None
        decayed = np.empty(len(rows), np.float32)
        self._backend.history.read_decayed(rows, self._chunk_addresses, self.layout.record_bytes, self.layout.decayed, decayed)
        return self._decays.read_out(decayed, steps, self._era)

    def load(self, rows, given=None):
        """Set these rows (`Rows`) to the given content, inserting keys that are not there.

        given : (m) int64, which of a row's numbers `rows.numbers` (n, m) are; the others stay as they are, those of new rows as these
        begin; None: all

        DataError, before anything is set, unless all arrays have one length, and the keys are distinct and not 0.
        """
        lengths = [len(array) for array in rows.arrays.values()]
        if any(length != len(rows) for length in lengths):
            raise DataError(f"rows of {lengths} keys, fields, counts, steps and numbers")
        in_order = (rows.keys[1:] > rows.keys[:-1]).all()
        if not (in_order or len(np.unique(rows.keys)) == len(rows)) or not rows.keys.all():
            raise DataError("rows have a key twice, or the key 0, which no value has")
        places = self.layout.places if given is None else self.layout.places[given]
        if rows.numbers.shape[1] != len(places):
            raise DeshpcError(f"rows of {rows.numbers.shape[1]} numbers do not fit a table of {len(places)}")
        keys, fields = map(self._backend.array, (rows.keys, rows.fields))
        addresses = self.look_up(keys, fields, 0, admits=True).addresses
        numbers = np.ascontiguousarray(rows.numbers, self.layout.number.dtype)
        self._table.write_records(
            addresses, self.layout.tail, places, rows.keys, rows.fields, rows.counts, rows.steps, numbers
        )
        if self._decays is not None:
            self.begin_era(rows.steps.max(initial=0))
            decayed = self._decays.expected(rows.counts, rows.steps) if rows.decayed is None else rows.decayed
            self._backend.history.write_decayed(addresses, self.layout.decayed, self._decays.in_memory(decayed, rows.steps, self._era))

    def remove(self, keys):
        """Remove the rows of these keys (those that are there); returns how many.  Rebuilds the index."""
        held, rows, marks = self._indexed()
        leaving = np.isin(held, keys)
        free = self._backend.host(self._free[: self._counters[self._table.FREE]])
        free = np.concatenate([free, np.sort(rows[leaving])[::-1]]).astype(np.int32)
        self._free = self._backend.array(free)
        self._counters[self._table.FREE] = len(free)
        self._counters[self._table.LIVE] -= int(leaving.sum())
        self._settled().fill(0)
        staying = ~leaving
        self._table.index_rows(held[staying], rows[staying], marks[staying], self._settled(), self._mask)
        return int(leaving.sum())

    def begin_era(self, step):
        """Have decayed counts lie as those of the era of a step, unless they lie as those of a later one."""
        if self._decays is not None and (era := self._decays.era(step)) > self._era:
            factor = np.float32(2.0 ** max(-ERA * (era - self._era), -1000))
            self._backend.history.shrink_decayed(
                self._settled(), self._chunk_addresses, self.layout.record_bytes, self.layout.decayed, factor, LEAST
            )
            self._era = era

    def held(self):
        """(n) bool, whether there is a row of this number."""
        held = np.ones(int(self._counters[self._table.NEXT]), bool)
        held[self._free[: self._counters[self._table.FREE]]] = False
        return held

    def history(self):
        """The History of all rows.  No batch may be under way."""
        held, place = self.held(), None if self._decays is None else self.layout.decayed
        steps = np.empty(len(held), np.uint32)
        worths = steps if place is None else np.empty(len(held), np.uint32)
        self._backend.history.histories(self._chunk_addresses, self.layout.record_bytes, self.layout.tail, place, steps, worths)
        return History(held, steps, worths)

    def ties(self, rows):
        """(n) uint64, a hash of the key of each of these rows (n) int64: what decides between rows that are worth the same."""
        hashes = np.empty(len(rows), np.uint64)
        self._backend.history.ties(rows, self._chunk_addresses, self.layout.record_bytes, hashes)
        return hashes

    def are_zero(self, rows):
        """(n) bool, whether all weights of the rows of these numbers (n) int64 are 0."""
        layout, zeros = self.layout, np.empty(len(rows), bool)
        self._backend.history.are_zero(
            rows, self._chunk_addresses, layout.record_bytes, layout.places[: layout.weights], layout.number, zeros
        )
        return zeros

    def evict(self, rows):
        """Give up the rows of these numbers (n) int64, ascending: they are used again, the smallest first, and the index has no trace of
        them.  No batch may be under way."""
        free, place = int(self._counters[self._table.FREE]), -1 if self._decays is None else self.layout.decayed
        self._backend.history.free_rows(self._settled(), self._mask, rows, self._chunk_addresses, self.layout.record_bytes, place)
        self._free = np.concatenate([self._free[:free], rows[::-1]], dtype=np.int32)
        self._counters[self._table.FREE] = len(self._free)
        self._counters[self._table.LIVE] -= len(rows)

    def look(self, oldest, zero_oldest, low_count):
        """What an eviction finds, of a backend that looks where rows lie: see `HistoryOperations.look` of `backend.cuda`.  No batch may be
        under way."""
        self._settled()
        return self._backend.history.look(self._index(), self.layout, oldest, zero_oldest, low_count)

    def keep(self, look):
        """Give up the rows that go by a look; returns how many there are of them.  Waits for the device."""
        crowded, entries = self._index(), self.waiting and self.waiting.entries
        self._new_index(self._mask + 1)
        self._free, gone = self._backend.history.give_up(crowded, look, self._buckets, self._mask)
        return self._backend.history.settle(self._counters, entries, gone)

    def _index(self):
        return self._table.Index(
            self._buckets, self._mask, self._counters, self._limits(), self._free, self._chunk_addresses,
            self.layout.record_bytes, self._move,
        )  # fmt: skip

    def _limits(self):
        """Most live rows and most row numbers until `_grow` is called."""
        return np.array([min(_limit(self._mask + 1), self._pause), self._ready_rows], np.int64)

    def _grow(self, rows):
        """Make room for at least so many more rows: more buckets, more chunks."""
        counters, buckets = self._counters, self._mask + 1
        live, unused, free = (int(counters[which]) for which in (self._table.LIVE, self._table.NEXT, self._table.FREE))
        while _limit(buckets) < live + rows:
            buckets *= 2
        if buckets > self._mask + 1:
            self._settled()
            self._old, self._parts = self._buckets, 0
            self._new_index(buckets)
        if self._old is not None:
            self._move_rows(_MOVED if rows <= _STRIDE else self._old.size // 8)
            if self._old is not None:
                self._pause = live + max(rows, _STRIDE)
        if self._ready_rows < unused + rows - free:
            self._add_rows(unused + rows - free)

    def _move_rows(self, buckets):
        """Move the rows of about so many buckets to the larger index: and their marks, which the running batch needs."""
        left = self._table.move_rows(self._old, self._buckets, self._mask, self._move, buckets)
        if left:
            self._follow_move(int(self._move[self._table.MOVED]) * _BUCKET_BYTES)
        else:
            self._old, self._pause = None, _MOST_ROWS

    def _follow_move(self, moved):
        """Give back what the old index has left behind, of which `moved` bytes have been read, and have memory of the new one made ready."""
        narrow, first = self._old.nbytes, int(self._move[self._table.FIRST]) * _BUCKET_BYTES
        while self._parts * _PART <= moved < narrow:
            behind, ahead = (self._parts - 1) * _PART, (self._parts + _PARTS_AHEAD) * _PART
            if behind >= first:
                self._backend.release(self._old, behind, behind + _PART)
            for copy in range(0, self._buckets.nbytes, narrow):
                begin, end = (ahead if self._parts else _PART), min(ahead + _PART, narrow)
                self._backend.make_ready(self._buckets, copy + begin, copy + end)
            self._parts += 1

    def _settled(self):
        """The buckets of the index, when every row is in it."""
        if self._old is not None:
            self._move_rows(self._old.size // 8)
        return self._buckets

    def _add_rows(self, needed):
        """Have memory for row numbers below `needed`, and for some beyond, which is made ready for the next call."""
        size = self.layout.record_bytes
        lead = min(min(self._backend.ready_bytes, needed * size // 8) // size, (_MOST_ROWS - CHUNK_ROWS - needed) // 2)
        if lead * size < _PART:  # a small table, or memory that is there when it is given
            lead = 0
        while len(self._chunks) * CHUNK_ROWS < needed + 2 * lead:
            self._add_chunk()
        self._ready_rows = needed + lead if lead else len(self._chunks) * CHUNK_ROWS
        begin, end = max(self._asked_rows, self._ready_rows), self._ready_rows + lead
        for row in range(begin - begin % CHUNK_ROWS, end, CHUNK_ROWS):
            inside = max(0, begin - row) * size, min(CHUNK_ROWS, end - row) * size
            self._backend.make_ready(self._chunks[row // CHUNK_ROWS], *inside)
        self._asked_rows = max(self._asked_rows, end)

    def _add_chunk(self):
        if (len(self._chunks) + 1) * CHUNK_ROWS > _MOST_ROWS:
            raise DeshpcError(f"a shard holds at most {_MOST_ROWS} rows; use more ranks")
        self._chunks.append(self._backend.aligned(CHUNK_ROWS * self.layout.record_bytes, np.uint8, "rows of a table"))
        addresses = [self._backend.address(chunk) for chunk in self._chunks]
        self._chunk_addresses = self._backend.array(np.array(addresses, np.int64))

    def _new_index(self, buckets):
        self._mask = buckets - 1
        self._buckets = self._backend.aligned(buckets * 8, np.uint64, "the index of a table")

    def _indexed(self):
        n = len(self)
        keys, rows, marks = np.empty(n, np.uint64), np.empty(n, np.int32), np.empty(n, np.uint32)
        self._table.indexed_rows(self._settled(), keys, rows, marks)
        return keys, rows, marks


def _limit(buckets):
    """Rows that an index of so many buckets may hold."""
    return int(_LOAD_LIMIT * _SLOTS_PER_BUCKET * buckets)
