"""Shards on a device laid open, and what they should hold: a dict for the index, records byte by byte.

`Model` is a shard in plain Python: which place and row every key has, which mark, and what the record of each row is.
`check` compares everything that a shard has with it, and the index with the rules of searching it.
"""

import math
from typing import NamedTuple

import numpy as np
from cuda_device import REAL

from deshpc.backend.cuda.backend import CudaBackend
from deshpc.backend.cuda.table import FREE, LIVE, NEXT, TICKET
from deshpc.backend.record import RecordLayout
from deshpc.backend.rules import StateStart
from deshpc.table.shard import Initialisation, Shard

CHUNK = 65_536
MASK = 2**64 - 1
SEED, STD = 2**40 + 11, 0.3


class Form(NamedTuple):
    """Form of a row: `scalars` linear weights, `dim` embedding weights, state of each of them or (row-wise) of each part."""

    scalars: int = 1
    dim: int = 2
    precision: str = "float32"
    start: StateStart = StateStart(1, 0.125)
    row_wise: bool = False

    @property
    def widths(self):
        """State numbers of the linear weight and of the embedding."""
        parts = (self.scalars, self.dim)
        return [min(part, 1) if self.row_wise else self.start.planes * part for part in parts]

    @property
    def record_bytes(self):
        """The embedding begins at 16, the linear weight is in front of it; then state, and 12 bytes; whole halves of cache lines."""
        return math.ceil((16 + (self.dim + sum(self.widths)) * np.dtype(self.precision).itemsize + 12) / 32) * 32


def new_shard(backend, form):
    """A shard of rows of this form on any backend."""
    layout = RecordLayout(form.scalars, form.dim, form.precision, *form.widths)
    return Shard(backend, layout, Initialisation(SEED, STD, form.start))


def fast(device):
    """The same device without checks, for large tables."""
    if REAL:
        return device
    from executor.device import ExecutorDevice

    return ExecutorDevice(device.schedule, mode="fast")


def mix64(z):
    """The output function of SplitMix64."""
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
    return z ^ z >> 31


def fold(state, word):
    return mix64((state ^ word) + 0x9E3779B97F4A7C15 & MASK)


def embedding(key, dim):
    """v_c = (2 u_c - 1) sqrt(3) std, where u_c is made of the upper 24 bits of fold(fold(seed, key), c)."""
    state = fold(SEED, key)
    units = np.array([((fold(state, column) >> 40) - 8388607.5) / 8388608 for column in range(dim)])
    return units.astype(np.float32) * np.float32(math.sqrt(3) * STD)


def state_of(weights, width, start):
    """First state, float64, of the part of a row with these weights."""
    if start.planes == 0:
        return []
    plane = [start.constant + start.slope * w + start.jump * ((w > 0) - (w < 0)) for w in map(float, weights)]
    return (plane + [start.second_constant] * len(plane))[:width]


def new_record(form, key, field, step):
    """Bytes of the record of a new row, from the documented layout."""
    number, (of_weight, of_embedding) = np.dtype(form.precision).type, form.widths
    weights = embedding(key, form.dim)
    numbers = [*weights, *state_of(weights, of_embedding, form.start), *state_of([0.0] * form.scalars, of_weight, form.start)]
    body = np.array(numbers, np.float64).astype(number).tobytes()
    tail = np.array([step, 0, field], np.uint32).tobytes()
    record = np.uint64(key).tobytes() + bytes(8) + body + tail
    return record + bytes(form.record_bytes - len(record))


class Model:
    """A shard in plain Python.  rows {key: row number}, marks {key: mark}, records {row number: bytes}."""

    def __init__(self, form):
        self.form, self.rows, self.marks, self.records = form, {}, {}, {}
        self.free, self.next, self.ticket = [], 0, 1

    def look_up(self, keys, fields, step=None):
        """(local, rows behind the addresses; None for no address, "zeros" for the record of unseen keys)."""
        n, first = len(keys), int(step is None)
        base = self._tickets(n, first)
        places, behind, local = {}, ["zeros"] * first, []
        for j, (key, field) in enumerate(zip(keys.tolist(), fields.tolist(), strict=True)):
            if key == 0 or (step is None and key not in self.rows):
                local.append(n if step is not None else 0)
                continue
            if key not in self.rows:
                self.rows[key] = row = self._row()
                self.records[row] = new_record(self.form, key, field, step)
            if key not in places:
                places[key] = len(behind)
                behind.append(self.rows[key])
                self.marks[key] = base + n - 1 - j
            local.append(places[key])
        return local, behind + [None] * (n + first - len(behind))

    def remove(self, keys):
        """Free rows are taken again in ascending order, those that left last first."""
        leaving = [key for key in keys.tolist() if key in self.rows]
        self.free += sorted((self.rows.pop(key) for key in leaving), reverse=True)
        for key in leaving:
            del self.marks[key]
        return len(leaving)

    def _row(self):
        if self.free:
            return self.free.pop()
        self.next += 1
        return self.next - 1

    def _tickets(self, n, first):
        if self.ticket + n > 2**32 - 1:
            self.ticket, self.marks = 1, dict.fromkeys(self.marks, 0)
        base = self.ticket
        self.ticket += n + first
        return base


def look_up(backend, shard, keys, fields, step=None):
    """Host copies of local and addresses of a look-up."""
    found = shard.look_up(backend.array(keys), backend.array(fields), step)
    assert found.local.dtype == np.int32 and found.addresses.dtype == np.int64
    return backend.host(found.local), backend.host(found.addresses)


def rows_of(backend, shard, addresses):
    """Row number behind each address; None for 0, "zeros" for the record of unseen keys."""
    size, zeros = shard.layout.record_bytes, backend.address(shard._zero_record)
    begins = [backend.address(chunk) for chunk in shard._chunks]
    found = []
    for address in addresses.tolist():
        if address in (0, zeros):
            found.append("zeros" if address else None)
            continue
        chunk = next(c for c, begin in enumerate(begins) if begin <= address < begin + CHUNK * size)
        assert (address - begins[chunk]) % size == 0
        found.append(chunk * CHUNK + (address - begins[chunk]) // size)
    return found


def index_of(backend, shard):
    """({key: row}, {key: mark}) of the index.  Every key must be where a search finds it, and only once."""
    buckets = backend.host(shard._buckets).reshape(-1, 8)
    count, keys = len(buckets), buckets[:, :4].copy()
    assert count == shard._mask + 1 and count & count - 1 == 0
    full = (keys != 0).all(axis=1)
    rows, marks, found = {}, {}, np.argwhere(keys != 0).tolist()
    all_rows, all_marks = buckets[:, 4:6].copy().view(np.int32), buckets[:, 6:].copy().view(np.uint32)
    for bucket, place in found:
        key = int(keys[bucket, place])
        assert key not in rows
        rows[key], marks[key] = int(all_rows[bucket, place]), int(all_marks[bucket, place])
        step = key % count
        while step != bucket:
            assert full[step], f"a search for key {key} ends at bucket {step}, before bucket {bucket}"
            step = (step + 1) % count
    return rows, marks


def check(backend, shard, model):
    """Index, counters, records of a shard on a device are those of its model."""
    rows, marks = index_of(backend, shard)
    assert rows == model.rows and marks == model.marks
    counters = [shard._counters[which] for which in (LIVE, NEXT, FREE, TICKET)]
    assert counters == [len(model.rows), model.next, len(model.free), model.ticket]
    assert backend.host(shard._counters.array).tolist() == counters[:3]
    assert len(shard) == len(model.rows) <= 4 * 0.6 * (shard._mask + 1)
    size = model.form.record_bytes
    assert shard.layout.record_bytes == size and len(shard._chunks) * CHUNK >= model.next
    expected = np.zeros(CHUNK * size * len(shard._chunks), np.uint8).reshape(-1, size)
    for row, record in model.records.items():
        expected[row] = np.frombuffer(record, np.uint8)
    for c, chunk in enumerate(shard._chunks):
        differ = (backend.host(chunk).reshape(-1, size) != expected[c * CHUNK : (c + 1) * CHUNK]).any(axis=1)
        assert np.flatnonzero(differ).tolist() == []
    assert not backend.host(shard._zero_record).any()


def open_both(device, form=None, atomic_sums=False):
    """(backend, shard, model) of a new shard."""
    form, backend = form or Form(), CudaBackend(device, atomic_sums)
    return backend, new_shard(backend, form), Model(form)


def check_look_up(backend, shard, model, keys, fields, step=None):
    """A look-up gives the places and rows of the model."""
    local, addresses = look_up(backend, shard, keys, fields, step)
    places, behind = model.look_up(keys, fields, step)
    assert local.tolist() == places
    assert rows_of(backend, shard, addresses) == behind
