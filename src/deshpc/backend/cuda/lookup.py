"""Find a batch's keys in the index of one shard on a device.  See kernels/lookup.cu for the phases.

Distinct keys are numbered in order of first appearance and new rows taken in that order, as on the CPU: `local`, and the
rows behind `addresses`, are the same.  How many distinct keys there are stays on the device: `addresses` is as long as the
batch has occurrences, and 0 beyond the last distinct key.

The first of a key's occurrences is found by tickets, the largest of which stays as the mark of the key's slot:

    batch              tickets    marks afterwards         first occurrences: those whose ticket is the mark
    a b a c            4 3 2 1    a 4   b 3   c 1          a, b, and c
    b d b              7 6 5      a 4   b 7   c 1   d 6    b and d: every ticket is larger than those of batches before
    next one from 8

So nothing is cleared between batches, and whichever thread comes last leaves the same mark.
"""

from typing import NamedTuple

import numpy as np

from deshpc.backend.cuda.buffers import Buffers
from deshpc.backend.cuda.prefix import tiles_of
from deshpc.backend.cuda.table import TICKET
from deshpc.backend.values import value_width

_NO_SLOT_BYTE = 0xFF


class Grouping(NamedTuple):
    """Occurrences by distinct key, for sums per key.

    keys : a number above every place of a key
    samples (nnz) int32 : sample of each occurrence, -1: of none
    places, order (nnz) uint32 : place of the key of each occurrence and the occurrence, sorted by place; None where sums are
    atomic
    """

    keys: int
    samples: object
    places: object
    order: object


class LookupOperations:
    """What `backend.cpu.lookup` offers, on a device."""

    BLOCK, SCRATCH = 0, 0
    DISTINCT, DONE, PROGRESS = 0, 1, 2

    def __init__(self, kernels, prefix, table, admission, atomic):
        self._kernels, self._prefix, self._table, self._device = kernels, prefix, table, kernels.device
        self._lookup, self._scratch, self._atomic, self._admission = kernels("lookup.cu"), Buffers(kernels.device), atomic, admission

    def look_up_listed(self, index, search, keys, fields):
        """Look up keys (n) of fields (n): as on the CPU, but that all of addresses is written, 0 beyond the last.

        progress[DISTINCT] becomes the room for distinct keys.  Returns 0, or for how many more rows there must be room first:
        for as many as there are keys, so that the next batches are not in doubt, and there has to be room for as many waiting ones,
        where keys wait.  Reads the device, and waits for it, only where the room may not be enough.
        """
        insert, new, step, progress, local, addresses, _, waiting = search
        n, before = keys.size, int(progress[self.DISTINCT])
        array = self._scratch.array
        slots, misses = array("slots", n, np.uint32), array("misses", 1, np.uint32)
        misses.fill(0)
        self._lookup.find(n, keys, n, index.buckets, index.mask, slots, misses)
        counters, most_new = index.counters, n
        if insert and n and not (counters.have_room(n, index.limits) and self._admission.have_room(waiting, n)):
            most_new = int(self._device.to_host(misses)[0])
            if not (counters.fit(most_new, index.limits) and self._admission.fit(waiting, most_new)):
                return n
        base = counters[TICKET]
        if insert:
            counters.note(most_new)
            if waiting is None:
                self._lookup.claim(n, keys, n, index.buckets, index.mask, slots)
            else:
                self._admission.admit(waiting, step, index, keys, slots, most_new)
        firsts, tiles, counts, total = self.count_distinct(index.buckets, slots, n, base)
        numbers, new_rows = array("numbers", n, np.int32), array("new rows", n, np.int32)
        taken = array("taken", 4, np.int64)
        if n == 0:
            taken.fill(0)
        self._lookup.take_rows(min(n, 1), total, counters.array, taken)
        self._lookup.number.blocks(
            tiles, slots, firsts, n, index.buckets, counts, taken, before, index.free, index.chunks, index.record_bytes,
            numbers, addresses, new_rows,
        )  # fmt: skip
        self._lookup.locate(n, keys, firsts, n, numbers, taken, before, before + n if insert else 0, local, addresses)
        if insert:
            counters.fetch()
            self._write_new(new, index.record_bytes, step, taken, new_rows, numbers, addresses, keys, fields, n)
        progress[self.DISTINCT], progress[self.DONE] = before + n, n
        return 0

    def look_up_own(self, index, search, sparse, partition, owner, picked):
        """Look up those keys of some samples that `owner` owns; begins and ends are views of one array of offsets."""
        keys, fields = sparse.keys, sparse.fields
        if partition.owners == 1 or partition.split == "column":  # a rank owns every key's columns, and has one shard
            self.take_all(sparse, picked.offsets, picked.values)
        else:
            keys, fields, _ = self.pick(
                sparse, partition, partition.owners, owner, picked.offsets, picked.values, self._scratch
            )
        return self.look_up_listed(index, search, keys, fields)

    def take_all(self, sparse, own_offsets, own_values):
        """own_offsets (n + 1) and own_values, as of `pick`, of all occurrences."""
        count = own_offsets.size
        self._kernels("routing.cu", VALUES=0).rebase_offsets(count, sparse.begins, count - 1, own_offsets)
        if own_values is not None:
            self._device.copy(sparse.values, own_values[: len(sparse.values)])

    def pick(self, sparse, partition, modulus, residue, own_offsets, own_values, buffers):
        """(keys, fields, total (1) uint64) of the occurrences whose owner is `residue` modulo `modulus`, in order.

        keys is as long as the batch, 0 beyond the last;  own_offsets, own_values : of these occurrences
        """
        offsets, _, keys, fields, values = sparse
        n, array = keys.size, buffers.array
        kernels = self._kernels("routing.cu", VALUES=value_width(values))
        owners, of_field = self.owners_of(partition)
        tiles, total = tiles_of(n), array("picked in all", 1, np.uint64)
        counts = array("picked of tiles", tiles, np.uint64)
        own_keys, own_fields = array("picked keys", n, np.uint64), array("picked fields", n, np.uint16)
        before = array("picked before", n + 1, np.int64)
        kernels.count_own.blocks(tiles, keys, fields, n, owners, of_field, modulus, residue, counts)
        self._prefix.of_tiles(counts, tiles, total)
        kernels.pick_own.blocks(
            tiles, keys, fields, values, n, owners, of_field, modulus, residue, counts, total, own_keys, own_fields,
            own_values, before,
        )  # fmt: skip
        if n == 0:
            before.fill(0)
        kernels.pick_offsets(own_offsets.size, offsets, own_offsets.size - 1, before, own_offsets)
        return own_keys, own_fields, total

    def owners_of(self, partition):
        """(number of owners, owner of each field on the device or None) of a partition."""
        of_field = getattr(partition, "owner_of_field", None)
        if of_field is None:
            return partition.owners, None
        array = self._scratch.array("owner of field", len(of_field), np.int64)
        self._device.to_device(of_field, array)
        return partition.owners, array

    def count_distinct(self, buckets, slots, n, base):
        """Mark slots and count keys where they appear first: (firsts, tiles, prefix sums of the tiles' counts, total)."""
        array, tiles = self._scratch.array, tiles_of(n)
        firsts, counts = array("firsts", n, np.int32), array("counts", tiles, np.uint64)
        total = array("total", 1, np.uint64)
        self._lookup.mark(n, slots, n, buckets, base)
        self._lookup.count.blocks(tiles, slots, n, buckets, base, firsts, counts)
        self._prefix.of_tiles(counts, tiles, total)
        return firsts, tiles, counts, total

    def unique(self, keys, n, buckets, mask):
        """As `count_distinct`, of keys (n) that are entered into the scratch index `buckets`, which has room."""
        slots = self._scratch.array("slots", n, np.uint32)
        slots.view(np.uint8).fill(_NO_SLOT_BYTE)
        buckets.fill(0)
        self._lookup.claim(n, keys, n, buckets, mask, slots)
        return self.count_distinct(buckets, slots, n, 1)

    def follow(self, firsts, n, numbers, occurrences):
        """occurrences[j] = the number of occurrence j's key."""
        self._kernels("routing.cu", VALUES=0).follow(n, firsts, n, numbers, occurrences)

    def group(self, offsets, local, addresses, buffers):
        """The Grouping of occurrences `local`, of samples `offsets`, in `buffers`."""
        n, keys = local.size, addresses.size
        samples = buffers.array("samples", n, np.int32)
        self._lookup.spread_samples(n, offsets, offsets.size - 1, n, samples)
        if self._atomic:
            return Grouping(keys, samples, None, None)
        places = buffers.array("places", n, np.uint32)
        self._device.copy(local.view(np.uint32), places)
        return Grouping(keys, samples, *self._prefix.sort(places, n, keys.bit_length(), buffers, "grouped"))

    def row_fields(self, addresses, tail, fields):
        """fields (distinct) uint16 of the rows whose records are at these addresses, 0 where there is none."""
        self._lookup.row_fields(addresses.size, addresses, addresses.size, tail, fields)

    def _write_new(self, new, record_bytes, step, taken, new_rows, numbers, addresses, keys, fields, n):
        number, _, scalars, dim, width, seed, scale, start, *_ = new  # whole embeddings: their first column is 0
        kernels = self._table.of(number, scalars, dim, width, start.planes)
        kernels.write_new(
            n * (record_bytes // 16), taken, new_rows, numbers, addresses, keys, fields, n, record_bytes, step, seed, scale,
            start.constant, start.second_constant, start.slope, start.jump,
        )  # fmt: skip
