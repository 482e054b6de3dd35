"""A shard against a Python dictionary, and the content of its new rows against SplitMix64 in Python integers.

Proves that a key has exactly one row whatever happens to index, chunks and free list; that a batch's places are
numbered once per distinct key, also when the table grows in the middle of the batch; that rows never move; and that
what a new row holds depends on seed, key and column alone.
"""

import ctypes
import math

import numpy as np
import pytest

from deshpc.backend.open import open_backend
from deshpc.backend.record import RecordLayout
from deshpc.backend.rules import StateStart
from deshpc.errors import DataError, DeshpcError
from deshpc.table.shard import Initialisation, Rows, Shard

EMBEDDING_AT = 16  # the documented record
CHUNK = 65_536
MASK = 2**64 - 1


def new_shard(dim=5, precision="float32", seed=7, std=0.01, scalars=1, state_start=0.1):
    """A shard with one Adagrad accumulator a weight."""
    layout = RecordLayout(scalars, dim, precision, scalars, dim)
    return Shard(open_backend("cpu", 1), layout, Initialisation(seed, std, StateStart(1, state_start)))


def field_of(key):
    """Bits 32 to 47 of the key."""
    return key // 2**32 % 2**16


def fields_of(keys):
    return field_of(keys).astype(np.uint16)


def random_keys(generator, count):
    return np.unique(generator.integers(1, 2**64, count, dtype=np.uint64))


def in_order_of_appearance(keys):
    _, first = np.unique(keys, return_index=True)
    return keys[np.sort(first)]


def key_at(address):
    return ctypes.c_uint64.from_address(address).value


def count_at(address):
    """Of `new_shard`'s row: behind 5 weights and 6 numbers of state, after the last step."""
    return ctypes.c_uint32.from_address(address + EMBEDDING_AT + 4 * 11 + 4)


def check_places(keys, lookup):
    """Each distinct key has one place, numbered by first appearance, and the record there is the key's."""
    distinct = in_order_of_appearance(keys)
    assert lookup.distinct == len(distinct)
    addresses = lookup.addresses.tolist()
    assert len(set(addresses)) == len(addresses)
    assert [key_at(address) for address in addresses] == distinct.tolist()
    assert np.array_equal(distinct[lookup.local], keys)


def check_found(keys, lookup, held):
    """As `check_places` for `find`: unseen keys have place 0, whose record is zeros."""
    seen = np.fromiter((key in held for key in keys.tolist()), bool, len(keys))
    distinct = in_order_of_appearance(keys[seen])
    assert [key_at(address) for address in lookup.addresses[1:].tolist()] == distinct.tolist()
    assert not lookup.local[~seen].any()
    assert np.array_equal(distinct[lookup.local[seen] - 1], keys[seen])
    assert not any(ctypes.string_at(int(lookup.addresses[0]), EMBEDDING_AT + 4 * 11 + 12))


def record_bytes(numbers, size):
    """Of so many weights and state, one a linear weight: in front of the embedding, in the 16 bytes before it."""
    return math.ceil((16 + (numbers - 1) * size + 12) / 32) * 32


def index_bytes(most_rows):
    """64 buckets of 64 bytes and four slots, doubled whenever one more row would exceed six tenths."""
    buckets = 64
    while most_rows > buckets * 4 * 6 // 10:
        buckets *= 2
    return buckets * 64


def mix64(z):
    """The output function of SplitMix64."""
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
    return z ^ z >> 31


def fold(state, word):
    return mix64((state ^ word) + 0x9E3779B97F4A7C15 & MASK)


def embedding(seed, key, dim, std):
    """v_c = (2 u_c - 1) sqrt(3) std, where u_c is made of the upper 24 bits of fold(fold(seed, key), c)."""
    words = [fold(fold(seed, key), column) >> 40 for column in range(dim)]
    units = np.array([(word - 8388607.5) / 8388608 for word in words])  # 24 bits: exact in float32 too
    return units.astype(np.float32) * np.float32(math.sqrt(3) * std)


def test_millions_of_random_operations_match_a_dictionary():
    generator = np.random.default_rng(1)
    pool = generator.permutation(random_keys(generator, 150_000))
    shard, held, most = new_shard(), {}, 0  # key: [count, step of insertion]
    operations = 0
    for step in range(40):
        size = (0, 1, 7, 1_009)[step] if step < 4 else int(generator.integers(30_000, 90_000))
        keys = pool[(len(pool) * generator.random(size) ** 5).astype(np.int64)]  # some keys often, most seldom
        lookup = shard.look_up(keys, fields_of(keys), step)
        check_places(keys, lookup)
        for address in lookup.addresses.tolist():
            count_at(address).value += 1
        for key in in_order_of_appearance(keys).tolist():
            held.setdefault(key, [0, step])[0] += 1
        most = max(most, len(held))
        assert len(shard) == len(held)
        assert shard.nbytes == most * record_bytes(12, 4) + index_bytes(most)

        asked = pool[generator.integers(0, len(pool), 4_001)]
        check_found(asked, shard.look_up(asked, fields_of(asked)), held)
        operations += len(keys) + len(asked)

        if step % 9 == 8:  # rows that leave make room for later ones
            leaving = np.concatenate([pool[generator.random(len(pool)) < 0.2], np.array([1, 2, 3], np.uint64)])
            removed = [held.pop(key, None) for key in leaving.tolist()]
            assert shard.remove(leaving) == sum(row is not None for row in removed)
            assert len(shard) == len(held)
            operations += len(leaving)
    assert operations > 2_000_000

    rows, keys = shard.export(), sorted(held)
    assert rows.keys.tolist() == keys
    assert rows.counts.tolist() == [held[key][0] for key in keys]
    assert rows.steps.tolist() == [held[key][1] for key in keys]
    assert rows.fields.tolist() == [field_of(key) for key in keys]
    for place in generator.integers(0, len(keys), 500).tolist():  # also in rows that were used before
        assert np.array_equal(rows.numbers[place, 1:6], embedding(7, keys[place], 5, 0.01))
    assert np.array_equal(rows.numbers[:, 6:], np.full((len(keys), 6), np.float32(0.1)))


def test_growth_in_the_middle_of_a_batch_keeps_every_key_at_one_place():
    generator = np.random.default_rng(2)
    fresh = random_keys(generator, 3 * CHUNK)
    shard = new_shard()
    few = fresh[::1000].copy()
    shard.look_up(few, fields_of(few), 0)
    keys = generator.permutation(np.repeat(fresh, 3))  # duplicates on both sides of every growth
    check_places(keys, shard.look_up(keys, fields_of(keys), 1))
    assert len(shard) == len(fresh)
    assert shard.export().steps.tolist() == [0 if i % 1000 == 0 else 1 for i in range(len(fresh))]


@pytest.mark.parametrize("low", [0, 0xFFFFFFFFFF, 0x7F, 0x80000000FF])
def test_keys_that_share_their_low_bits(low):
    """All keys want the same bucket; low bits of ones make the search run over the index's end."""
    generator = np.random.default_rng(3)
    keys = generator.permutation(np.arange(1, 2_004, dtype=np.uint64) * np.uint64(2**53 - 2**40) | np.uint64(low))
    assert len(np.unique(keys)) == 2_003 and len(np.unique(keys & np.uint64(0xFFFFF))) == 1
    shard, held = new_shard(), set()
    for batch in np.array_split(keys, 7):
        twice = generator.permutation(np.repeat(batch, 2))
        check_places(twice, shard.look_up(twice, fields_of(twice), 0))
        held.update(batch.tolist())
        check_found(keys, shard.look_up(keys, fields_of(keys)), held)
    leaving = keys[::2]
    assert shard.remove(leaving) == len(leaving)
    held.difference_update(leaving.tolist())
    check_found(keys, shard.look_up(keys, fields_of(keys)), held)
    check_places(keys, shard.look_up(keys, fields_of(keys), 1))
    rows = shard.export()
    assert rows.keys.tolist() == sorted(keys.tolist())
    assert np.array_equal(rows.fields, fields_of(rows.keys))


@pytest.mark.parametrize("low", [0, 0xFFFFFFFFFF])
def test_an_index_is_searched_while_it_grows(low, monkeypatch):
    """In small steps, of which a batch sees several; of the keys a third want one bucket, the first or the last: searches run over the end."""
    monkeypatch.setattr("deshpc.table.shard._STRIDE", 16)
    monkeypatch.setattr("deshpc.table.shard._MOVED", 24)
    generator = np.random.default_rng(14)
    crowd = np.arange(1, 2_004, dtype=np.uint64) * np.uint64(2**53 - 2**40) | np.uint64(low)
    keys = generator.permutation(np.concatenate([crowd, random_keys(generator, 4_000)]))
    shard, held = new_shard(), set()
    for step, batch in enumerate(np.array_split(keys, 90)):
        twice = generator.permutation(np.repeat(batch, 2))
        check_places(twice, shard.look_up(twice, fields_of(twice), step))
        held.update(batch.tolist())
        asked = keys[generator.integers(0, len(keys), 1_000)]
        check_found(asked, shard.look_up(asked, fields_of(asked)), held)
    check_found(keys, shard.look_up(keys, fields_of(keys)), held)
    assert np.array_equal(shard.export().keys, np.sort(keys))


def test_a_growing_index_never_gets_full_by_small_batches(monkeypatch):
    """Rows go on to the larger index however few keys a batch has: a search in a full one would not end."""
    monkeypatch.setattr("deshpc.table.shard._STRIDE", 16)
    monkeypatch.setattr("deshpc.table.shard._MOVED", 20)
    keys = np.random.default_rng(16).permutation(np.arange(1, 1_200, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    shard, fullest = new_shard(), 0.0
    for batch in np.array_split(keys, 400):
        shard.look_up(batch, fields_of(batch), 0)
        if shard._old is not None:
            slots = shard._old.reshape(-1, 8)[:, :4]
            fullest = max(fullest, np.count_nonzero(slots) / slots.size)
            assert fullest < 0.85
    assert fullest > 0.5
    assert np.array_equal(shard.export().keys, np.sort(keys))


def test_what_a_growing_index_gives_back_has_nothing_in_it():
    """Old indices of several megabytes, some of which are given back to the system before all rows have moved."""
    keys = random_keys(np.random.default_rng(15), 240_000)
    shard = new_shard()
    for step, batch in enumerate(np.array_split(keys, 20)):
        shard.look_up(batch, fields_of(batch), step)
        distinct = shard.look_up(keys, fields_of(keys)).distinct - 1  # without place 0
        assert distinct == len(shard) == (step + 1) * 12_000
    assert np.array_equal(shard.export().keys, np.sort(keys))


def test_removed_rows_are_used_again():
    generator = np.random.default_rng(4)
    keys = random_keys(generator, 9_001)
    old, new = keys[:4_500], keys[4_500:9_000]
    shard = new_shard()
    before = set(shard.look_up(old, fields_of(old), 1).addresses.tolist())
    full = shard.nbytes
    assert shard.remove(old) == len(old) and len(shard) == 0 and len(shard.export()) == 0
    assert shard.remove(old) == 0
    after = set(shard.look_up(new, fields_of(new), 2).addresses.tolist())
    assert after == before and shard.nbytes == full


def test_an_empty_shard():
    nothing = np.zeros(0, np.uint64)
    shard = new_shard()
    assert len(shard) == len(shard.export()) == 0
    assert shard.look_up(nothing, fields_of(nothing), 0).distinct == 0
    assert shard.look_up(nothing, fields_of(nothing)).distinct == 1 and len(shard.look_up(nothing, fields_of(nothing)).local) == 0
    asked = np.array([5, 9, 5], np.uint64)
    check_found(asked, shard.look_up(asked, fields_of(asked)), {})
    assert shard.remove(asked) == 0 and shard.nbytes == index_bytes(0)
    shard.load(shard.export())
    assert len(shard) == 0


def test_load_sets_what_export_gave():
    generator = np.random.default_rng(5)
    keys, n = random_keys(generator, 5_003), 5_003
    rows = Rows(
        keys, fields_of(keys), generator.integers(0, 2**32, n).astype(np.uint32),
        generator.integers(0, 2**32, n).astype(np.uint32), generator.standard_normal((n, 12)).astype(np.float32),
    )  # fmt: skip
    shard = new_shard()
    already = keys[::3].copy()
    shard.look_up(already, np.zeros(len(already), np.uint16), 3)
    order = generator.permutation(n)
    shard.load(Rows(*(getattr(rows, name)[order] for name in ("keys", "fields", "counts", "steps", "numbers"))))
    for name, array in shard.export().arrays.items():
        assert array.dtype == getattr(rows, name).dtype and np.array_equal(array, getattr(rows, name)), name
    with pytest.raises(DeshpcError, match="rows of 12 numbers do not fit a table of 4"):
        new_shard(dim=1).load(rows)


def test_rows_of_all_shards_in_key_order():
    parts = [new_shard(), new_shard(), new_shard()]
    keys = random_keys(np.random.default_rng(6), 1_009)
    for i, shard in enumerate(parts[:2]):  # the third stays empty
        shard.look_up(keys[i::2].copy(), fields_of(keys[i::2]), i)
    joined = Rows.concatenate([shard.export() for shard in parts])
    assert np.array_equal(joined.keys, keys) and np.array_equal(joined.fields, fields_of(keys))
    assert joined.steps.tolist() == [i % 2 for i in range(len(keys))]
    assert np.array_equal(joined.numbers[17, 1:6], embedding(7, int(keys[17]), 5, 0.01))


@pytest.mark.parametrize(
    ("dim", "precision"),
    [(0, "float32"), (0, "float64"), (1, "float32"), (5, "float32"), (13, "float64"), (16, "float32"), (33, "float32"), (300, "float32")],
)
def test_a_new_row_is_a_function_of_seed_key_and_column(dim, precision):
    generator, size = np.random.default_rng(8), np.dtype(precision).itemsize
    keys = np.concatenate([np.array([1, 2**63, 2**64 - 1], np.uint64), random_keys(generator, 60)])
    exported = []
    for order, batches in ((np.arange(len(keys)), 1), (generator.permutation(len(keys)), 4)):
        shard = new_shard(dim, precision, seed=2**40 + 11, std=0.3, state_start=0.125)
        for batch in np.array_split(keys[order], batches):
            lookup = shard.look_up(batch, fields_of(batch), 9)
            begins = lookup.addresses % 64
            lines = (begins + record_bytes(2 * (1 + dim), size) + 63) // 64
            assert (lines == math.ceil(record_bytes(2 * (1 + dim), size) / 64)).all()  # no line more than needed
        exported.append(shard.export())
        assert shard.nbytes == len(keys) * record_bytes(2 * (1 + dim), size) + index_bytes(len(keys))
    rows = exported[0]
    assert all(np.array_equal(array, getattr(exported[1], name)) for name, array in rows.arrays.items())
    assert rows.numbers.dtype == precision
    for key, numbers in zip(rows.keys.tolist(), rows.numbers, strict=True):
        assert numbers[0] == 0
        assert np.array_equal(numbers[1 : 1 + dim], embedding(2**40 + 11, key, dim, 0.3))
        assert (numbers[1 + dim :] == 0.125).all()
    assert not rows.counts.any() and (rows.steps == 9).all()


def test_initial_weights_have_mean_zero_and_the_asked_standard_deviation():
    keys = np.arange(1, 40_001, dtype=np.uint64)  # the least random keys
    shard = new_shard(dim=16, std=0.02, seed=0)
    shard.look_up(keys, fields_of(keys), 0)
    weights = shard.export().numbers[:, 1:17].astype(np.float64)
    n = weights.size
    assert abs(weights.mean()) < 4 * 0.02 / math.sqrt(n)
    # A uniform variate's square has variance (1.8 - 1) std^4, and the root halves the relative error.
    assert abs(weights.std() / 0.02 - 1) < 4 * math.sqrt(0.8 / n) / 2
    assert abs(weights).max() <= math.sqrt(3) * 0.02
    neighbours = [weights[:-1, 0] * weights[1:, 0], weights[:, 0] * weights[:, 1]]  # next key, next column
    for product in neighbours:
        assert abs(product.mean()) < 4 * 0.02**2 / math.sqrt(len(product))


def test_another_seed_draws_other_weights():
    keys = np.arange(1, 1_001, dtype=np.uint64)
    drawn = []
    for seed in (0, 1):
        shard = new_shard(seed=seed)
        shard.look_up(keys, fields_of(keys), 0)
        drawn.append(shard.export().numbers[:, 1:6])
    assert (drawn[0] == drawn[1]).mean() < 1e-3


def test_reserved_memory_is_filled_without_growing():
    generator = np.random.default_rng(12)
    keys = random_keys(generator, 3 * CHUNK)
    shard = new_shard()
    before, rest = keys[:70_000], keys[70_000:]
    shard.look_up(before, fields_of(before), 1)
    held = shard.export()
    shard.reserve(len(keys))
    again = shard.export()
    assert np.array_equal(held.keys, again.keys) and np.array_equal(held.numbers, again.numbers)
    size = shard.nbytes - len(shard) * record_bytes(12, 4)
    assert size == index_bytes(len(keys))
    for batch in np.array_split(rest, 7):
        check_places(batch, shard.look_up(batch, fields_of(batch), 2))
    assert len(shard) == len(keys) and shard.nbytes == len(keys) * record_bytes(12, 4) + size
    assert np.array_equal(shard.export().keys, np.sort(keys))


@pytest.mark.parametrize("change", ["key twice", "key 0", "field missing", "number missing"])
def test_rows_that_cannot_be_told_apart_are_refused_before_anything_is_set(change):
    """A key twice would give every later row its neighbour's numbers."""
    shard, source = new_shard(), new_shard()
    keys = random_keys(np.random.default_rng(3), 40)
    source.look_up(keys, fields_of(keys), 0)
    rows = source.export()
    arrays = {name: array.copy() for name, array in rows.arrays.items()}
    if change.startswith("key"):
        arrays["keys"][7] = arrays["keys"][6] if change == "key twice" else 0
    else:
        name = {"field missing": "fields", "number missing": "numbers"}[change]
        arrays[name] = arrays[name][:-1]
    with pytest.raises(DataError):
        shard.load(Rows(**arrays))
    assert len(shard) == 0
    shard.load(rows)
    assert len(shard) == 40
