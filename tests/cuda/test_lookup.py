"""Look-ups on a device, against a dict: places, rows, records, marks and counters, on every schedule.

Proves that distinct keys are numbered in order of first appearance and that new rows are taken in that order, which
makes places and row numbers those of the CPU; that a key has one slot, which a search finds, through growth, removal and
tickets that run out; and that a look-up reads nothing back while there is room.
"""

import numpy as np
import pytest
from cuda_device import REAL
from device_shards import (
    Form,
    check,
    check_look_up,
    fast,
    look_up,
    new_shard,
    open_both,
    rows_of,
)

from deshpc.backend.cuda.backend import CudaBackend
from deshpc.backend.cuda.launch import Kernels
from deshpc.backend.cuda.table import TICKET
from deshpc.backend.open import open_backend
from deshpc.data.batch import Batch
from deshpc.hashing.key_fields import fields_of
from deshpc.hashing.partition import FieldPartition, KeyPartition

TILE = 2048
NO_SLOT = 2**32 - 1
KINDS = ["duplicates", "one key", "distinct", "one bucket", "some without a key", "none with a key"]


def draw(generator, n, kind):
    """Keys (n) and their fields."""
    keys = generator.integers(1, 2**64, n, dtype=np.uint64)
    if kind == "duplicates":
        keys = generator.choice(generator.integers(1, 2**64, 1 + n // 5, dtype=np.uint64), n)
    elif kind == "one key":
        keys[:] = 2**64 - 1
    elif kind == "one bucket":  # the last, so that searches go on at the first
        keys = generator.integers(0, max(1, n // 3), n, dtype=np.uint64) << np.uint64(32) | np.uint64(0xFFFFFFFF)
    elif kind == "some without a key":
        keys[generator.random(n) < 0.3] = 0
    elif kind == "none with a key":
        keys[:] = 0
    return keys, generator.integers(0, 2**16, n).astype(np.uint16)


# ------------------------------------------------------------------ what the phases leave


@pytest.mark.parametrize("n", [1, 33, 255, 256, 257, 700])
def test_find_gives_slots_and_counts_what_has_none(device, n):
    backend, shard, model = open_both(device)
    generator = np.random.default_rng(n)
    keys, fields = draw(generator, 300, "one bucket")
    check_look_up(backend, shard, model, keys[:150], fields[:150], 0)
    asked = np.where(generator.random(n) < 0.2, 0, generator.choice(keys, n)).astype(np.uint64)
    slots, misses = device.empty((n + 1,), np.uint32), device.empty((2,), np.uint32)
    slots.fill(7)
    misses.fill(5)
    find = Kernels(device)("lookup.cu").find
    find(n, backend.array(asked), n, shard._buckets, shard._mask, slots, misses)
    buckets = backend.host(shard._buckets).reshape(-1, 8)[:, :4].reshape(-1)
    slot_of = {int(key): slot for slot, key in enumerate(buckets.tolist()) if key}
    expected = [slot_of.get(key, NO_SLOT) for key in asked.tolist()]
    missed = sum(key != 0 and key not in slot_of for key in asked.tolist())
    assert backend.host(slots).tolist() == [*expected, 7] and backend.host(misses).tolist() == [5 + missed, 5]


def test_a_bucket_with_an_empty_slot_ends_a_search(few):
    """Whichever slot it is; a full one sends the search on to the next bucket, behind the last to the first."""
    keys = np.array([1 << 32 | 3, 2 << 32 | 3, 3 << 32 | 3, 4 << 32 | 3, 5 << 32 | 3], np.uint64)  # all begin at bucket 3
    for empty in (None, 0, 1, 2, 3):
        buckets, slots, misses = np.zeros((4, 8), np.uint64), few.empty((5,), np.uint32), few.zeros((1,), np.uint32)
        buckets[3, :4], buckets[0, 2] = keys[:4], keys[4]
        expected = [12, 13, 14, 15, 2]
        if empty is not None:
            buckets[3, empty] = 0
            expected[empty] = expected[4] = NO_SLOT
        backend = CudaBackend(few)
        array = backend.array(buckets.reshape(-1))
        Kernels(few)("lookup.cu").find(5, backend.array(keys), 5, array, 3, slots, misses)
        assert few.to_host(slots).tolist() == expected and few.to_host(misses).tolist() == [expected.count(NO_SLOT)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 300, TILE, TILE + 1])
def test_first_occurrences_of_keys_in_a_scratch_index(few, n, kind):
    backend = CudaBackend(few)
    keys, _ = draw(np.random.default_rng(n), n, kind)
    buckets = few.empty((8 * 1024,), np.uint64)
    buckets.fill(99)
    firsts, tiles, counts, total = backend.lookup.unique(backend.array(keys), n, buckets, 1023)
    first_of = {}
    expected = [first_of.setdefault(key, j) if key else -1 for j, key in enumerate(keys.tolist())]
    assert backend.host(firsts).tolist() == expected
    assert tiles == -(-n // TILE)
    own = [sum(begin <= j < begin + TILE for j in first_of.values()) for begin in range(0, n, TILE)]
    before = np.cumsum([0, *own])
    packed = [int(one) << 32 | int(one) for one in before]  # none of them has a row
    assert backend.host(counts)[:tiles].tolist() == packed[:-1] and backend.host(total).tolist() == packed[-1:]
    occurrences = few.empty((n,), np.int32)
    backend.lookup.follow(firsts, n, backend.array(3 * np.arange(n, dtype=np.int32)), occurrences)
    assert backend.host(occurrences).tolist() == [-1 if first < 0 else 3 * first for first in expected]


@pytest.mark.parametrize("atomic", [False, True])
@pytest.mark.parametrize("samples, n", [(0, 0), (3, 0), (1, 1), (0, 5), (40, 300), (7, TILE), (300, TILE + 1), (5, 2 * TILE + 9)])
def test_occurrences_by_key(few, samples, n, atomic):
    """Some samples have no occurrences, and some occurrences, behind the last sample's, have no key."""
    backend, generator = CudaBackend(few, atomic), np.random.default_rng(n)
    there = n - n // 8 if samples else 0
    counts = generator.multinomial(there, np.full(samples, 1 / samples)) if samples else np.zeros(0, np.int64)
    counts[::3] = 0
    there, distinct = int(counts.sum()), max(1, n // 4)
    local = np.append(generator.integers(0, distinct, there), np.full(n - there, n)).astype(np.int32)
    offsets = np.append(0, np.cumsum(counts)).astype(np.int64)
    grouping = backend.lookup.group(
        backend.array(offsets), backend.array(local), backend.array(np.zeros(n, np.int64)), backend.buffers()
    )
    assert grouping.keys == n
    assert backend.host(grouping.samples).tolist() == [*np.repeat(np.arange(samples), counts).tolist(), *[-1] * (n - there)]
    if atomic:
        assert grouping.places is None and grouping.order is None
        return
    order = np.argsort(local, kind="stable")
    assert backend.host(grouping.order).tolist() == order.tolist()
    assert backend.host(grouping.places).tolist() == local[order].tolist()


# ------------------------------------------------------------------ shards


def several_batches(device, sizes, kind):
    """Insert, ask, insert: with keys of earlier batches among the later ones."""
    backend, shard, model = open_both(device)
    generator, before = np.random.default_rng(sum(sizes)), np.zeros(1, np.uint64)
    for step, n in enumerate(sizes):
        keys, fields = draw(generator, n, kind)
        again = generator.random(n) < 0.3
        keys[again] = generator.choice(before, n)[again]
        asked = generator.permutation(keys)
        check_look_up(backend, shard, model, asked, fields)
        check_look_up(backend, shard, model, keys, fields, step)
        check(backend, shard, model)
        check_look_up(backend, shard, model, asked[: n // 2], fields[: n // 2])
        before = keys if n else before
    check(backend, shard, model)


@pytest.mark.parametrize("kind", KINDS)
def test_places_rows_and_records_are_those_of_a_dict(device, kind):
    several_batches(device, (0, 1, 7, 300, 0, 257), kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [TILE - 1, TILE, TILE + 1, 2 * TILE + 77])
def test_tiles(few, n, kind):
    several_batches(few, (n, 1), kind)


@pytest.mark.parametrize("kind", ["distinct", "one bucket"])
def test_removed_rows_are_taken_again_in_the_order_of_the_free_list(device, kind):
    backend, shard, model = open_both(device)
    generator = np.random.default_rng(4)
    keys, fields = draw(generator, 400, kind)
    check_look_up(backend, shard, model, keys[:250], fields[:250], 1)
    for leaving in (keys[100:150], np.append(keys[20:30], np.uint64(12345)), keys[300:], keys[60:64]):
        assert shard.remove(leaving) == model.remove(np.unique(leaving))
        check(backend, shard, model)
    check_look_up(backend, shard, model, keys[10:90], fields[:80], 2)  # fewer rows than there are free ones
    check(backend, shard, model)
    check_look_up(backend, shard, model, keys[::-1].copy(), fields, 3)  # more
    check(backend, shard, model)
    assert model.free == []


def test_same_places_and_rows_as_on_the_cpu(device):
    form, generator = Form(dim=3), np.random.default_rng(5)
    backend, cpu = CudaBackend(device), open_backend("cpu", 1)
    shards = new_shard(backend, form), new_shard(cpu, form)
    pool = generator.integers(1, 2**64, 700, dtype=np.uint64)
    for step, n in enumerate((1, 90, 600, 0, 333)):
        keys = generator.choice(pool, n)
        fields = fields_of(keys)
        for inserted_at in (None, step):
            local, addresses = look_up(backend, shards[0], keys, fields, inserted_at)
            expected = shards[1].look_up(keys, fields, inserted_at)
            assert local.tolist() == expected.local.tolist()
            found, wanted = rows_of(backend, shards[0], addresses), rows_of(cpu, shards[1], expected.addresses)
            assert found == wanted + [None] * (len(found) - len(wanted))
        leaving = pool[generator.random(len(pool)) < 0.2]
        assert shards[0].remove(leaving) == shards[1].remove(leaving)
    own, other = shards[0].export(), shards[1].export()
    for name, array in other.arrays.items():
        assert array.dtype == getattr(own, name).dtype and array.tobytes() == getattr(own, name).tobytes()


def test_tickets_that_run_out_are_given_again(device):
    """Marks of old batches, which are above the tickets of new ones, must have been forgotten."""
    backend, shard, model = open_both(device)
    generator = np.random.default_rng(6)
    keys, fields = draw(generator, 150, "distinct")
    for ticket in (2**32 - 1 - 2 * 150, 2**32 - 1 - 150):  # the last batch that has tickets ends at the last one
        shard._counters[TICKET] = model.ticket = ticket
        check_look_up(backend, shard, model, keys, fields, 1)
        check(backend, shard, model)
    assert max(model.marks.values()) == 2**32 - 2
    shard._counters[TICKET] = model.ticket = 2**32 - 150  # one too few
    check_look_up(backend, shard, model, keys[::-1].copy(), fields, 2)
    assert max(model.marks.values()) == 150
    check(backend, shard, model)
    for step in (None, 3, 4):
        check_look_up(backend, shard, model, generator.choice(keys, 200), generator.integers(0, 9, 200).astype(np.uint16), step)
        check(backend, shard, model)


def test_the_index_grows_when_it_must_and_not_before(device):
    """64 buckets hold six tenths of 256 keys: 153."""
    backend, shard, model = open_both(device)
    keys, fields = draw(np.random.default_rng(7), 154, "distinct")
    check_look_up(backend, shard, model, keys[:153], fields[:153], 0)
    for _ in range(3):  # keys that are there need no room
        check_look_up(backend, shard, model, keys[:153], fields[:153], 1)
    assert shard._mask + 1 == 64
    check_look_up(backend, shard, model, keys, fields, 2)
    assert shard._mask + 1 == 128
    check(backend, shard, model)


@pytest.mark.skipif(REAL, reason="the executor alone counts how often the host waits")
def test_a_look_up_reads_nothing_back_while_there_is_room(device):
    backend, shard, model = open_both(device)
    generator = np.random.default_rng(9)
    keys, fields = draw(generator, 1_200, "distinct")
    shard.reserve(1_200)
    on_device = backend.array(keys), backend.array(fields)
    before = device.synchronisations
    for begin in range(0, 1_200, 300):
        shard.look_up(on_device[0][begin : begin + 300], on_device[1][begin : begin + 300], 0)
        shard.look_up(on_device[0][: begin + 300], on_device[1][: begin + 300])
    assert device.synchronisations == before
    shard.look_up(on_device[0][:300], on_device[1][:300], 0)  # that no key is new, only the device knows
    assert device.synchronisations == before + 1 and shard._mask + 1 == 512
    assert len(shard) == 1_200


def test_chunks_grow_when_they_must_and_not_before(few):
    device = fast(few)
    backend, shard, model = open_both(device)
    generator = np.random.default_rng(8)
    keys, fields = draw(generator, 70_000, "distinct")
    for begin, end, chunks in ((0, 40_000, 1), (30_000, 65_536, 1), (65_530, 65_537, 2)):
        order = generator.permutation(np.arange(begin, end))
        check_look_up(backend, shard, model, keys[order], fields[order], begin)
        assert len(shard._chunks) == chunks
    order = generator.permutation(np.repeat(np.arange(65_000, 70_000), 2))
    check_look_up(backend, shard, model, keys[order], fields[order], 4)
    assert shard.remove(keys[100:300]) == model.remove(keys[100:300])
    new, fields = draw(generator, 300, "distinct")
    check_look_up(backend, shard, model, new, fields, 5)
    check(backend, shard, model)


# ------------------------------------------------------------------ a shard's part of a batch


PARTITIONS = {
    "one owner": (KeyPartition(1, 1), 0),
    "by key": (KeyPartition(3, 1), 1),
    "by key, shards": (KeyPartition(2, 2), 3),
    "by field": (FieldPartition(3, 1, np.array([2, 0, 1, 1, 2])), 1),
}


def owner_of(partition, key, field):
    if isinstance(partition, FieldPartition):
        return int(partition.owner_of_field[field])
    return (int(key) >> 32) * partition.ranks * partition.shards >> 32


def batch_of(keys, fields, counts, width, generator):
    """Samples of so many occurrences each."""
    ends, n = np.cumsum(counts), len(counts)
    values = generator.random((len(keys), 2) if width == 2 else len(keys)).astype(np.float32) if width else None
    return Batch(
        0, n, np.arange(n), ends - counts, ends, keys, fields, values, np.zeros((n, 1), np.float32), np.zeros(n, np.float32)
    )


@pytest.mark.parametrize("width", [0, 1, 2])
@pytest.mark.parametrize("name", PARTITIONS)
def test_own_keys_of_a_batch(few, name, width):
    partition, owner = PARTITIONS[name]
    backend, shard, model = open_both(few)
    generator, pool = np.random.default_rng(10), np.random.default_rng(11).integers(1, 2**64, 900, dtype=np.uint64)
    pool = pool & ~np.uint64(0xFFFF << 32) | pool % np.uint64(5) << np.uint64(32)  # a key names its field
    for step, (samples, n) in enumerate([(5, 0), (1, 1), (3, 40), (400, TILE), (17, TILE + 1), (90, 2 * TILE + 5)]):
        keys = generator.choice(pool, n)
        fields = fields_of(keys)
        counts = generator.multinomial(n, np.full(samples, 1 / samples))
        batch = batch_of(keys, fields, counts, width, generator)
        own = np.array([owner_of(partition, *one) == owner for one in zip(keys, fields, strict=True)], bool)
        for inserted_at in (None, step):
            found, offsets, values = shard.look_up_own(batch.on(backend), partition, owner, inserted_at)
            own_keys, own_fields = np.zeros(n, np.uint64), np.zeros(n, np.uint16)
            own_keys[: own.sum()], own_fields[: own.sum()] = keys[own], fields[own]
            places, behind = model.look_up(own_keys, own_fields, inserted_at)
            assert backend.host(found.local).tolist() == places
            assert rows_of(backend, shard, backend.host(found.addresses)) == behind
            sample = np.repeat(np.arange(samples), counts)[own]
            assert backend.host(offsets).tolist() == [0, *np.cumsum(np.bincount(sample, minlength=samples)).tolist()]
            if width == 0:
                assert values is None
            else:
                assert backend.host(values)[: own.sum()].tolist() == batch.values[own].tolist()
        check(backend, shard, model)
