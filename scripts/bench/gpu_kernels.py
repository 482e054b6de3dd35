"""How fast each kernel is: thousands of millions of keys or rows a second, bytes of a stated model, share of a copy's bandwidth.

    PYTHONPATH=src python scripts/bench/gpu_kernels.py [--device cuda] [--scale full] [--repeats 20] [--out kernels.json]

Times are medians between two events of the stream.  Before every repeat 256 MiB or more are overwritten, so that no batch is
in the L2 cache, and so that the host has started the kernels before the device comes to them.  Bytes are what an operation
has to move at least, whole sectors of 32 bytes where it reads at random: `Case.bytes` of each says how it is counted.
"""

import argparse
import statistics
from dataclasses import dataclass, field
from typing import NamedTuple

import gpu_layers
import gpu_one_rank
import numpy as np
from gpu_batches import of_fields, zipf
from gpu_device import environment, open_bench, save, upload

from deshpc.backend.arguments import Messages, Occurrences, SparseFeatures, Sums, Unpacked
from deshpc.backend.cuda.backend import CudaBackend
from deshpc.backend.cuda.buffers import Buffers
from deshpc.backend.cuda.launch import Kernels
from deshpc.backend.cuda.prefix import Prefix
from deshpc.backend.record import RecordLayout
from deshpc.backend.weight_form import WeightForm
from deshpc.config.schema import OptimizerConfig
from deshpc.hashing.partition import KeyPartition
from deshpc.route.distinct import Deduplication
from deshpc.table.optimizer import open_optimizer
from deshpc.table.shard import Initialisation, Shard

MIB = 2**20
SECTOR, NO_SLOT_BYTE = 32, 0xFF
FIELDS = 26  # of a sample
HIDDEN, MAPS, MOST_PRODUCTS = 400, 100, 256 * MIB  # units of a layer, maps of a CIN's, bytes of its products at a time
ROUTED_RANKS = 4
RULES = ("sgd", "adagrad", "rowwise_adagrad", "adam", "ftrl")
ZERO = np.float32(0)

SECTORS = """
// sums[i] = the two halves of a sector of `memory` (mask + 1 of them, a power of two), chosen by a hash of i.
typedef unsigned long long uint64;
extern "C" __global__ void read_sectors(const uint64* memory, uint64 mask, long long n, uint64* sums) {
    const uint64 i = (uint64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= (uint64)n) return;
    uint64 x = (i + 1) * 0x9E3779B97F4A7C15ull;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    const uint64* from = memory + 4 * ((x ^ (x >> 31)) & mask);
    const ulonglong2 low = *(const ulonglong2*)from, high = *(const ulonglong2*)(from + 2);
    sums[i] = low.x + low.y + high.x + high.y;
}
"""


class Scale(NamedTuple):
    """copied bytes;  busy : bytes overwritten before a repeat;  slots of the index;  probes, new keys;  rows of records, and
    of wide ones (`wide` numbers);  lookups of a batch;  sorted and summed numbers"""

    copied: int
    busy: int
    slots: int
    probes: int
    new: int
    rows: int
    wide_rows: int
    wide: int
    lookups: int
    sorted: int


SCALES = {
    "full": Scale(1024 * MIB, 256 * MIB, 2**26, 2**24, 2**22, 2**22, 2**20, 128, 2**20, 2**24),
    "small": Scale(256 * MIB, 64 * MIB, 2**23, 2**21, 2**19, 2**20, 2**18, 128, 2**18, 2**21),
    "tiny": Scale(4096, 1024, 2**10, 256, 64, 512, 64, 16, 260, 300),
}


@dataclass
class Case:
    """One operation.  items : how many `unit`s;  bytes : they move at least;  before : what undoes the repeat ahead
    lead : how often memory is overwritten first, more where many kernels are started"""

    name: str
    items: int
    unit: str
    bytes: int
    work: object
    before: object = None
    lead: int = 2
    note: str = ""
    kept: list = field(default_factory=list)


class Cases:
    """Makes the arrays of each case when its turn comes."""

    def __init__(self, bench, scale):
        from rows_worker import key_of

        self._key_of = key_of
        self.device, self.scale = bench.device, scale
        self.backend = CudaBackend(bench.device)
        self._kernels = Kernels(bench.device)
        self._random = np.random.default_rng(7)

    def all(self):
        """Functions that yield Cases, in the order in which they are to be measured."""
        return [
            self.bandwidth, self.index, self.growth, self.look_up, self.new_records, self.partials, self.sums, self.updates,
            self.wide_table, self.prefix, self.routing, self.embeddings, self.pooled_table, *self._layers(),
        ]  # fmt: skip

    # ------------------------------------------------------------------ memory

    def bandwidth(self):
        device, n = self.device, self.scale.copied // 8
        source, target = device.zeros((n,), np.uint64), device.empty((n,), np.uint64)
        yield Case("copy", n, "numbers", 16 * n, lambda: device.copy(source, target), note="read and written")
        function = device.compile("sectors.cu", SECTORS, {}).function("read_sectors")
        count, mask = n // 4, np.uint64((1 << (n // 4).bit_length() - 1) - 1)
        arguments = [source, mask, np.int64(count), target]
        yield Case(
            "random sectors", count, "sectors", (SECTOR + 8) * count,
            lambda: device.launch(function, -(-count // 256), 256, arguments), note="32 bytes read, 8 written",
        )  # fmt: skip

    # ------------------------------------------------------------------ table

    def index(self):
        scale, device = self.scale, self.device
        buckets, held = scale.slots // 4, scale.slots // 2
        index, kernels = self._filled(buckets, held), self._kernels("lookup.cu")
        slots, misses = device.empty((scale.probes,), np.uint32), device.zeros((1,), np.uint32)
        hits = self._upload(self._keys(self._random.integers(0, held, scale.probes, np.uint64)))
        absent = self._upload(self._keys(held + np.arange(scale.probes, dtype=np.uint64)))
        n, each = scale.probes, 8 + SECTOR + 4
        for name, keys in (("find, hit", hits), ("find, miss", absent)):
            yield Case(
                name, n, "keys", each * n, lambda keys=keys: kernels.find(n, keys, n, index, buckets - 1, slots, misses),
                note="key, one sector of four keys, slot; half full, uniform keys",
            )  # fmt: skip
        new, saved = scale.new, device.empty((8 * buckets,), np.uint64)
        device.copy(index, saved)

        def restore():
            device.copy(saved, index)
            slots.view(np.uint8).fill(NO_SLOT_BYTE)

        yield Case(
            "claim, new keys", new, "keys", (8 + 4 + 4 + 3 * SECTOR) * new,
            lambda: kernels.claim(new, absent, new, index, buckets - 1, slots), restore,
            note="key, slot twice, sector of keys twice, sector of rows",
        )  # fmt: skip

    def growth(self):
        buckets = self.scale.slots // 8
        held = int(0.6 * 4 * buckets)
        index, wide = self._filled(buckets, held), self.device.empty((16 * buckets,), np.uint64)
        yield Case(
            "growth of the index", held, "keys", 64 * buckets + 4 * SECTOR * held,
            lambda: self.backend.table.move_rows(index, wide, 2 * buckets - 1, self.backend.table.new_move(), buckets), lambda: wide.fill(0),
            note="whole old index, two sectors of the new one twice a key; without its zeroing",
        )  # fmt: skip

    def look_up(self):
        scale, n = self.scale, self.scale.lookups
        shard, rows = self._shard(16), scale.rows
        numbers = np.arange(rows, dtype=np.uint64)
        for begin in range(0, rows, scale.lookups):
            part = numbers[begin : begin + scale.lookups]
            self._look_up(shard, self._keys(part), 0)
        for name, drawn in (("uniform", self._random.integers(0, rows, n, np.uint64)), ("zipf", self._zipf_numbers(n) % rows)):
            keys, fields = self._upload(self._keys(drawn)), self._upload(np.zeros(n, np.uint16))
            distinct = len(np.unique(drawn))
            yield Case(
                f"look-up of known keys, {name}", n, "keys", n * (8 + 4 * 9 + 3 * SECTOR) + 40 * distinct,
                lambda keys=keys, fields=fields: shard.look_up(keys, fields, 1), lead=12,
                note=f"find .. locate and what the host does; {distinct / n:.0%} distinct",
            )  # fmt: skip
        batches = [self._upload(self._keys(rows + turn * n + np.arange(n, dtype=np.uint64))) for turn in range(self.turns)]
        fields, left = self._upload(np.zeros(n, np.uint16)), iter(batches)
        yield Case(
            "look-up of new keys", n, "keys", n * (8 + 4 * 9 + 5 * SECTOR + 40 + shard.layout.record_bytes),
            lambda: shard.look_up(next(left), fields, 2), lead=12, note="find .. locate, and new records of k = 16",
        )  # fmt: skip

    turns = 0  # batches of new keys that will be asked for; set by `measure`

    def new_records(self):
        layout, n = _layout("adagrad", 16), self.scale.rows // 2
        records, addresses = self._records(layout, self.scale.rows, n)
        start = open_optimizer(OptimizerConfig()).state_start
        kernels = self.backend.table.of(ZERO, 1, 16, 16, start.planes)
        taken, order = self._upload(np.array([n, n, 0, 0], np.int64)), self._upload(np.arange(n, dtype=np.int32))
        keys, fields = self._upload(self._keys(np.arange(n, dtype=np.uint64))), self._upload(np.zeros(n, np.uint16))
        size = layout.record_bytes
        yield Case(
            "write_new", n, "rows", (size + 4 + 4 + 8 + 8 + 2) * n,
            lambda: kernels.write_new(
                n * (size // 16), taken, order, order, addresses, keys, fields, n, size, np.uint32(1), np.uint64(1),
                np.float32(0.01), start.constant, start.second_constant, start.slope, start.jump,
            ),
            note=f"records of {size} bytes, key, field, address and two numbers", kept=[records],
        )  # fmt: skip

    # ------------------------------------------------------------------ operators

    def partials(self):
        n = self.scale.lookups // FIELDS * FIELDS
        for dim, rows in ((16, self.scale.rows), (self.scale.wide, self.scale.wide_rows)):
            layout = _layout("adagrad", dim)
            distinct = min(n, rows)
            records, addresses = self._records(layout, rows, distinct)
            local = self._upload((np.arange(n) % distinct).astype(np.int32))
            row = _sectors(layout.weights_end)
            yield self._partial(f"FM partial, k = {dim}, every row once", n, dim, local, addresses, records, n * row)
            drawn = np.unique(self._zipf_numbers(n), return_inverse=True)[1]
            few = min(int(drawn.max()) + 1, distinct)
            local = self._upload((drawn % few).astype(np.int32))
            yield self._partial(
                f"FM partial, k = {dim}, zipf", n, dim, local, addresses, records, few * row, f"; {few / n:.0%} distinct, each read once"
            )
            if rows == self.scale.rows:
                yield from self._find_and_partial(n, layout, records, addresses, row)
        layout = _layout("adagrad", 0)
        records, addresses = self._records(layout, self.scale.rows, n)
        local, offsets, samples = self._upload(np.arange(n, dtype=np.int32)), self._offsets(n), n // FIELDS
        weights, state = self.device.empty((n,), np.float32), self.device.empty((samples, 1), np.float32)
        yield Case(
            "linear partial, every row once", n, "keys", n * (8 + SECTOR + 4 + 4 + 4) + 12 * samples,
            lambda: self.backend.linear.partial(
                self._form(0), Occurrences(offsets, local, None, addresses, in_order=True), weights, state, 0, 1.0
            ),
            note="address, sector of the record, weight written and read, local", kept=[records],
        )  # fmt: skip

    def _partial(self, name, n, dim, local, addresses, records, row_bytes, note=""):
        samples, form = n // FIELDS, self._form(dim)
        offsets, state = self._offsets(n), self.device.empty((samples, dim + 1), np.float32)
        return Case(
            name, n, "keys", row_bytes + n * 12 + samples * (8 + 4 * (dim + 1)),
            lambda: self.backend.fm.partial(
                form, Occurrences(offsets, local, None, addresses, in_order=True), state, 0, 1.0
            ),
            note=f"local, address, sectors of the weights, state{note}", kept=[records],
        )  # fmt: skip

    def _find_and_partial(self, n, layout, records, addresses, row):
        buckets, rows = self.scale.slots // 4, self.scale.slots // 2
        index, kernels = self._filled(buckets, rows), self._kernels("lookup.cu")
        keys = self._upload(self._keys(self._random.integers(0, rows, n, np.uint64)))
        slots, misses = self.device.empty((n,), np.uint32), self.device.zeros((1,), np.uint32)
        local = self._upload(np.arange(n, dtype=np.int32) % min(n, self.scale.rows))
        partial = self._partial("", n, 16, local, addresses, records, n * row)

        def work():
            kernels.find(n, keys, n, index, buckets - 1, slots, misses)
            partial.work()

        yield Case("find and FM partial, k = 16", n, "keys", partial.bytes + (8 + SECTOR + 4) * n, work, note="both of the above")

    def sums(self):
        n, dim = self.scale.lookups // FIELDS * FIELDS, 16
        samples, rows = n // FIELDS, self.scale.lookups
        offsets, form = self._offsets(n), self._form(dim)
        state = self._upload(np.full((samples, dim + 1), 0.01, np.float32))
        for drawn_by in ("zipf", "uniform"):
            drawn = self._zipf_numbers(n) if drawn_by == "zipf" else self._random.integers(0, n // 2, n)
            local = np.unique(drawn, return_inverse=True)[1].astype(np.int32)
            distinct, local = int(local.max()) + 1, self._upload(local)
            addresses = self._upload(np.full(rows, 64, np.int64))
            sums = Sums(self.device.zeros((rows,), np.float32), self.device.zeros((rows, dim), np.float32), None)
            buffers = Buffers(self.device)
            yield Case(
                f"grouping, {drawn_by}", n, "keys", n * (4 + 4 + 4) + n * 20 * -(-rows.bit_length() // 8),
                lambda local=local, addresses=addresses, buffers=buffers: self.backend.lookup.group(
                    offsets, local, addresses, buffers
                ),
                lead=12, note=f"samples of occurrences, places, sort by place; {distinct / n:.0%} distinct",
            )  # fmt: skip
            for how in ("ordered", "atomic"):
                backend = CudaBackend(self.device, atomic_sums=how == "atomic")
                grouping = backend.lookup.group(offsets, local, addresses, Buffers(self.device))
                occurrences = Occurrences(offsets, local, None, addresses, grouping=grouping)
                yield Case(
                    f"key sums, {how}, {drawn_by}", n, "keys",
                    n * (12 if how == "ordered" else 8) + samples * 4 * (dim + 1) + distinct * 8 * (dim + 1),
                    lambda backend=backend, occurrences=occurrences, sums=sums: backend.fm.partial_adjoint(
                        form, occurrences, state, 0, sums, 1.0
                    ),
                    lead=4, note=f"k = 16; places, states once, sums read and written; {distinct / n:.0%} distinct",
                )  # fmt: skip

    def updates(self):
        for rule in RULES:
            yield self._update(rule, 16, self.scale.rows, self.scale.rows // 2)

    def _update(self, name, dim, rows, n):
        layout, optimizer = _layout(name, dim), open_optimizer(OptimizerConfig(name=name))
        records, addresses = self._records(layout, rows, n)
        scalar, vector = self.device.zeros((n,), np.float32), self.device.zeros((n, dim), np.float32)
        rule, one = optimizer.rule(0, np.float32), np.float32(1)
        used = _sectors(layout.used_bytes)
        return Case(
            f"update, {name}, k = {dim}", n, "rows", n * (2 * used + 8 + 8 * (dim + 1)),
            lambda: self.backend.update.rows(
                rule, self._form(dim), layout.linear_state, layout.tail, 1, addresses, Sums(scalar, vector, scalar), 1.0,
                np.uint32(1), one, ZERO, None, None,
            ),
            note=f"{used} bytes of a record read and written, sums read and cleared", kept=[records],
        )  # fmt: skip

    def wide_table(self):
        """Forward, backward and update of a batch of a table, as libraries of embeddings measure it: rows are known."""
        n, dim, rows = self.scale.lookups // FIELDS * FIELDS, self.scale.wide, self.scale.wide_rows
        drawn = np.unique(self._zipf_numbers(n), return_inverse=True)[1].astype(np.int64)
        distinct = min(int(drawn.max()) + 1, rows)
        local, offsets, samples = self._upload((drawn % distinct).astype(np.int32)), self._offsets(n), n // FIELDS
        form, state = self._form(dim), self.device.empty((samples, dim + 1), np.float32)
        for rule in ("sgd", "adam"):
            update = self._update(rule, dim, rows, distinct)
            layout, optimizer = _layout(rule, dim), open_optimizer(OptimizerConfig(name=rule))
            records, addresses = self._records(layout, rows, distinct)
            scalar, vector = self.device.zeros((distinct,), np.float32), self.device.zeros((distinct, dim), np.float32)
            sums = Sums(scalar, vector, None)
            numbers, buffers, one = optimizer.rule(0, np.float32), Buffers(self.device), np.float32(1)

            def work(layout=layout, addresses=addresses, sums=sums, numbers=numbers, buffers=buffers, one=one):
                backend = self.backend
                occurrences = Occurrences(offsets, local, None, addresses, in_order=True)
                backend.fm.partial(form, occurrences, state, 0, 1.0)
                occurrences = occurrences._replace(grouping=backend.lookup.group(offsets, local, addresses, buffers))
                backend.fm.partial_adjoint(form, occurrences, state, 0, sums, 1.0)
                backend.update.rows(
                    numbers, form, layout.linear_state, layout.tail, 1, addresses, sums._replace(square=sums.scalar), 1.0,
                    np.uint32(1), one, ZERO, None, None,
                )  # fmt: skip

            row = _sectors(layout.weights_end)
            yield Case(
                f"table pass, {rule}, k = {dim}", n, "keys",
                distinct * (row + 8 * (dim + 1)) + 2 * samples * 4 * (dim + 1) + 60 * n + update.bytes, work, lead=20,
                note=f"partial, grouping, key sums, update; {distinct / n:.0%} distinct", kept=[records],
            )  # fmt: skip

    # ------------------------------------------------------------------ sorts, sums, routing

    def prefix(self):
        prefix = Prefix(self._kernels)
        for n in (self.scale.lookups, self.scale.sorted):
            bits = max(1, n.bit_length() - 1)
            keys, buffers = self._upload(self._random.integers(0, 1 << bits, n, np.uint32)), Buffers(self.device)
            yield Case(
                f"sort, {n:,} numbers of {bits} bits", n, "keys", n * 20 * -(-bits // 8),
                lambda keys=keys, n=n, bits=bits, buffers=buffers: prefix.sort(keys, n, bits, buffers, "bench"), lead=12,
                note="20 bytes a number and digit",
            )  # fmt: skip
        n, total = self.scale.sorted, self.device.zeros((1,), np.uint64)
        counts = self.device.zeros((n,), np.uint64)
        yield Case(
            "prefix sums", n, "numbers", 24 * n, lambda: prefix.sum(counts, n, total), lead=4, note="read twice, written once"
        )

    def routing(self):
        n, ranks = self.scale.lookups // FIELDS * FIELDS, ROUTED_RANKS
        samples, kernels, device = n // FIELDS, self.backend.routing, self.device
        batch = _Share(self._upload(self._keys(self._zipf_numbers(n))), self._offsets(n), n, self._field_numbers(n))
        home, partition = self.backend.buffers(), KeyPartition(ranks, 1)
        deduplicate = Deduplication(kernels, partition, ranks, FIELDS)
        unique, header = deduplicate(batch, home, whole=True)
        count, sections = len(unique.keys), np.empty((ranks, 4), np.int64)
        waits = "; counts are read by the host, who is waited for"
        yield Case(
            "routing: distinct keys", n, "keys", n * (8 + 2 + 4 * 11 + 3 * SECTOR) + count * 24,
            lambda: deduplicate(batch, home, whole=True), note=f"{count / n:.0%} distinct{waits}",
        )
        all_samples = np.full(ranks, samples, np.int64)
        kernels.section_bytes(header, all_samples, 0, False, sections)
        size = int(sections[:, 3].sum())
        messages = Messages(device.zeros((size,), np.uint8), header, sections, all_samples, False)
        places = device.empty((count,), np.int32)
        yield Case(
            "routing: pack", n, "keys", 2 * size + 40 * (count + n),
            lambda: kernels.pack(batch.sparse, unique, places, messages),
            note=f"{ranks} messages of {size:,} bytes in all, two sorts",
        )  # fmt: skip
        kept = Unpacked(
            device.empty((int(header[:, :-1].sum()) + 1,), np.uint64), device.empty((count + 1,), np.uint16),
            device.empty((ranks * samples + 1,), np.int64), device.empty((n,), np.int32), None,
        )  # fmt: skip
        yield Case(
            "routing: unpack", n, "keys", 2 * size,
            lambda: kernels.unpack(messages, partition, 0, None, None, kept),
            lead=12, note=f"messages of {ranks} ranks",
        )  # fmt: skip

    # ------------------------------------------------------------------ deep models

    def embeddings(self):
        """Pools and bi-interactions, whose records and sums are those of an FM of the same batch."""
        n, dim = self.scale.lookups // FIELDS * FIELDS, 16
        samples, width = n // FIELDS, 1 + FIELDS * dim
        occurrences, distinct, sums, kept = self._of_fields(n, dim, self.scale.rows, "adagrad")
        columns, form = self._columns(dim), self._form(dim)
        pooled, paired = (self.device.zeros((samples, numbers), np.float32) for numbers in (width, 1 + 2 * dim))
        row, pool, bi_interaction = distinct * _sectors(_layout("adagrad", dim).weights_end), self.backend.pool, self.backend.bi_interaction
        reads, adds, states = 12 * n, 12 * n + distinct * 8 * (dim + 1), 4 * samples * width
        said = f"; {distinct / n:.0%} distinct"
        yield Case(
            "pool, partial", n, "keys", row + reads + 2 * distinct + states,
            lambda: pool.partial(form, True, False, occurrences, columns, pooled, 1.0, 0, samples, width),
            note=f"k = 16, linear; local, address, field, each row once, state{said}", kept=kept,
        )  # fmt: skip
        yield Case(
            "pool, key sums", n, "keys", adds + 2 * distinct + states,
            lambda: pool.partial_adjoint(form, occurrences, columns, pooled, sums, 1.0), lead=4,
            note=f"k = 16, linear; places, fields, state, sums read and written{said}",
        )  # fmt: skip
        yield Case(
            "bi-interaction, partial", n, "keys", row + reads + 4 * samples * (1 + 2 * dim),
            lambda: bi_interaction.partial(form, occurrences, paired, 1.0, 0, samples),
            note=f"k = 16; local, address, each row once, state{said}", kept=kept,
        )  # fmt: skip
        yield Case(
            "bi-interaction, key sums", n, "keys", adds + row + 8 * distinct + 4 * samples * (1 + 2 * dim),
            lambda: bi_interaction.partial_adjoint(form, occurrences, paired, sums, 1.0), lead=4,
            note=f"k = 16; places, rows, state, sums read and written{said}",
        )  # fmt: skip

    def pooled_table(self):
        """As `wide_table`, with an embedding for each field of a sample, as an embedding bag gives it."""
        n, dim = self.scale.lookups // FIELDS * FIELDS, self.scale.wide
        samples, width = n // FIELDS, 1 + FIELDS * dim
        state, columns, form = self.device.zeros((samples, width), np.float32), self._columns(dim), self._form(dim)
        for rule in ("sgd", "adam"):
            occurrences, distinct, sums, kept = self._of_fields(n, dim, self.scale.wide_rows, rule)
            layout, optimizer = _layout(rule, dim), open_optimizer(OptimizerConfig(name=rule))
            numbers, buffers, one = optimizer.rule(0, np.float32), Buffers(self.device), np.float32(1)

            def work(occurrences=occurrences, layout=layout, sums=sums, numbers=numbers, buffers=buffers, one=one):
                backend, (offsets, local, _, addresses, *_) = self.backend, occurrences
                backend.pool.partial(form, True, False, occurrences, columns, state, 1.0, 0, samples, width)
                grouped = occurrences._replace(grouping=backend.lookup.group(offsets, local, addresses, buffers))
                backend.pool.partial_adjoint(form, grouped, columns, state, sums, 1.0)
                backend.update.rows(
                    numbers, form, layout.linear_state, layout.tail, 1, addresses, sums, 1.0, np.uint32(1), one, ZERO, None, None
                )

            row, used = _sectors(layout.weights_end), _sectors(layout.used_bytes)
            yield Case(
                f"pooled table pass, {rule}, k = {dim}", n, "keys",
                distinct * (row + 2 * used + 8 + 16 * (dim + 1)) + 2 * samples * 4 * width + 60 * n, work, lead=20,
                note=f"pool, grouping, key sums, update; {distinct / n:.0%} distinct", kept=kept,
            )  # fmt: skip

    def _of_fields(self, n, dim, rows, rule):
        """(Occurrences of batches whose fields have keys of their own, distinct keys, Sums, what has to be kept)."""
        drawn = np.unique(of_fields(self._random, n // FIELDS, FIELDS, 4 * n).ravel(), return_inverse=True)[1]
        distinct = min(int(drawn.max()) + 1, rows)
        local = (drawn % distinct).astype(np.int32)
        fields = np.empty(distinct, np.uint16)
        fields[local] = np.tile(np.arange(FIELDS, dtype=np.uint16), n // FIELDS)
        records, addresses = self._records(_layout(rule, dim), rows, distinct)
        offsets, local = self._offsets(n), self._upload(local)
        grouping = self.backend.lookup.group(offsets, local, addresses, Buffers(self.device))
        sums = Sums(self.device.zeros((distinct,), np.float32), self.device.zeros((distinct, dim), np.float32), None)
        return Occurrences(offsets, local, None, addresses, self._upload(fields), grouping=grouping), distinct, sums, [records]

    def _columns(self, dim):
        """Where each field's embedding begins in the state of a pool, behind the linear terms."""
        return self._upload(1 + dim * np.arange(FIELDS, dtype=np.int64))

    def _layers(self):
        """A function for each group of `gpu_layers`."""
        samples = self.scale.lookups // FIELDS
        rows = min(16 * samples, MOST_PRODUCTS // (4 * MAPS * FIELDS))
        sizes = gpu_layers.Sizes(samples, FIELDS, 16, HIDDEN, MAPS, rows)

        for name, cases in gpu_layers.cases(self.backend, sizes).items():

            def group(cases=cases):
                for what, size, work in cases():
                    yield Case(what, samples, "samples", size, work, note="every array read and written once")

            group.__name__ = name
            yield group

    # ------------------------------------------------------------------ material

    def _upload(self, host):
        return upload(self.device, host)

    def _form(self, dim):
        return WeightForm.of(self.backend, dim, "float32", "float32", "float32")

    def _keys(self, numbers):
        return self._key_of(np.asarray(numbers, np.uint64))

    def _zipf_numbers(self, n):
        """Numbers of which about a third are distinct."""
        return zipf(self._random, n, 4 * n)

    def _offsets(self, n):
        return self._upload(np.arange(n // FIELDS + 1, dtype=np.int64) * FIELDS)

    def _field_numbers(self, n):
        return self._upload(np.tile(np.arange(FIELDS, dtype=np.uint16), n // FIELDS))

    def _filled(self, buckets, held):
        """An index of so many buckets with the keys of numbers 0 .. held - 1."""
        index = self.device.zeros((8 * buckets,), np.uint64)
        for begin in range(0, held, 2**23):
            numbers = np.arange(begin, min(begin + 2**23, held), dtype=np.uint64)
            rows = numbers.astype(np.int32)
            self.backend.table.index_rows(self._keys(numbers), rows, np.zeros(len(rows), np.uint32), index, buckets - 1)
        return index

    def _records(self, layout, rows, n):
        """(records of zeros, addresses of n different ones at random)."""
        records = self.device.zeros((rows * layout.record_bytes + 128,), np.uint8)
        begin = -(-self.device.address(records) // 128) * 128
        chosen = self._random.permutation(rows)[:n].astype(np.int64)
        return records, self._upload(begin + chosen * layout.record_bytes)

    def _shard(self, dim):
        optimizer, scale = open_optimizer(OptimizerConfig()), self.scale
        shard = Shard(self.backend, _layout("adagrad", dim), Initialisation(1, 0.01, optimizer.state_start))
        shard.reserve(scale.rows + self.turns * scale.lookups + 1)
        return shard

    def _look_up(self, shard, keys, step):
        shard.look_up(self._upload(keys), self._upload(np.zeros(len(keys), np.uint16)), step)


class _Share:
    """What `Deduplication` needs of a batch."""

    def __init__(self, keys, offsets, occurrences, fields):
        self.occurrences = occurrences
        self.sparse = SparseFeatures(offsets[: offsets.size - 1], offsets[1:], keys, fields, None)

    def __len__(self):
        return self.sparse.begins.size


def _layout(rule, dim):
    state = open_optimizer(OptimizerConfig(name=rule)).state_numbers
    return RecordLayout(1, dim, "float32", state(1), state(dim))


def _sectors(size):
    """Bytes of the sectors that `size` bytes from a sector's begin on lie in."""
    return -(-size // SECTOR) * SECTOR


def measure(bench, scale, repeats, warm_up, report):
    """Run every case; report(result) of each as it comes.  A case that fails is a result with "error"."""
    cases = Cases(bench, scale)
    cases.turns = repeats + warm_up + 1
    copy = None
    for make in cases.all():
        bench.free_bytes()
        try:
            for case in make():
                result = run(bench, scale, case, repeats, warm_up)
                if case.name == "copy":
                    copy = result["gb_per_s"]
                result["share_of_copy"] = result["gb_per_s"] / copy
                report(result)
        except Exception as error:  # the others are measured all the same
            report({"name": f"{make.__name__}", "error": f"{type(error).__name__}: {error}"})


def run(bench, scale, case, repeats, warm_up):
    """The result of one case."""
    busy = bench.device.empty((scale.busy,), np.uint8)

    def before():
        if case.before:
            case.before()
        for _ in range(case.lead):
            busy.fill(0)

    bench.milliseconds(case.work, before, warm_up)
    times = bench.milliseconds(case.work, before, repeats)
    ms = statistics.median(times)
    return {
        "name": case.name, "unit": case.unit, "items": case.items, "bytes": int(case.bytes), "ms": ms, "least_ms": min(times),
        "most_ms": max(times), "g_per_s": case.items / ms / 1e6, "gb_per_s": case.bytes / ms / 1e6, "note": case.note,
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "executor"), default="cuda")
    parser.add_argument("--scale", choices=SCALES, default="full")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--out", help="JSON file, written anew after each case")
    options = parser.parse_args()
    gpu_one_rank.stand_in()
    bench = open_bench(options.device)
    found = {"environment": environment(bench), "scale": options.scale, "repeats": options.repeats, "results": []}

    def report(result):
        found["results"].append(result)
        save(options.out, found)
        print(line(result, bench.measures), flush=True)

    measure(bench, SCALES[options.scale], options.repeats, options.warm_up, report)


def line(result, measured=True):
    """A result as a line of the table."""
    if "error" in result:
        return f"{result['name']:<44} FAILED {result['error']}"
    if not measured:
        return f"{result['name']:<44} ran"
    return (
        f"{result['name']:<44}{result['ms']:>10.4f} ms{result['g_per_s']:>9.3f} G {result['unit']}/s"
        f"{result['gb_per_s']:>9.0f} GB/s{result['share_of_copy']:>7.0%} of a copy   {result['note']}"
    )


if __name__ == "__main__":
    main()
