"""Rows of a shard on a device that come and go: admission, histories, budgets and places that are used again, against dictionaries and a sort.

The definitions are those of `plain_living` and `device_shards`; whole runs are in `test_living_runs`.
"""

import numpy as np
import pytest
from cuda_device import REAL
from device_shards import SEED, fold, index_of, look_up, mix64, rows_of

from deshpc.backend.cuda.backend import CudaBackend
from deshpc.backend.cuda.table import FREE, LIVE, NEXT
from deshpc.backend.record import RecordLayout
from deshpc.backend.rules import StateStart
from deshpc.table.decay import ERA, LEAST, DecayedCounts
from deshpc.table.shard import Initialisation, Rows, Shard
from deshpc.table.sights import Sights
from deshpc.table.waiting import WaitingKeys

BEFORE = 2  # steps of keys that are known by the first one that counts


def new_shard(backend, after=1, chance=1.0, half_life=0, precision="float32"):
    """A shard of rows of a linear weight and two of an embedding, without state."""
    waiting = WaitingKeys(backend, after, chance, SEED) if after > 1 or chance < 1 else None
    decays = DecayedCounts(half_life) if half_life else None
    layout = RecordLayout(1, 2, precision, 0, 0, decays=decays is not None)
    return Shard(backend, layout, Initialisation(SEED, 0.1, StateStart()), waiting, decays)


def draw(rng, n, step):
    """Keys (n) and fields: a few that come often, many of a window that moves on, some without a key; bad hashes among them."""
    numbers = np.where(rng.random(n) < 0.3, rng.integers(1, 9, n), 100 + 60 * step + rng.integers(0, 200, n)).astype(np.uint64)
    keys = numbers * np.uint64(0x9E3779B97F4A7C15)
    keys = np.where(numbers % np.uint64(3) == 0, numbers << np.uint64(32) | np.uint64(0xFFFFFFFF), keys)
    keys[rng.random(n) < 0.05] = 0
    return keys, (keys >> np.uint64(48)).astype(np.uint16)


class PlainWaiting:
    """Which keys have rows, and the sights of the others, {key: (sights, last step)}, from the definition."""

    def __init__(self, after, chance):
        self._after, self._least, self._seed = after, round(chance * 2**32), fold(SEED, 0x61646D69)
        self.rows, self.waiting = set(), {}

    def look_up(self, keys, step):
        """Place of every key among the distinct ones that have rows, from 1 on: 0 without a row, above all of them without a key."""
        places = {}
        for key in keys.tolist():
            if key and (key in self.rows or self._admits(key, step)):
                self.rows.add(key)
                places.setdefault(key, 1 + len(places))
        return [places.get(key, 0) if key else len(keys) + 1 for key in keys.tolist()]

    def _admits(self, key, step):
        sights, last = self.waiting.get(key, (0, None))
        if last == step:
            return False
        if sights + 1 >= self._after and fold(fold(self._seed, key), sights + 1) >> 32 < self._least:
            self.waiting.pop(key, None)
            return True
        self.waiting[key] = sights + 1, step
        return False


def waiting_of(shard):
    sights = shard.waiting.sights()
    assert len(sights.keys) == shard.waiting.keys
    return dict(zip(sights.keys.tolist(), zip(sights.sights.tolist(), sights.steps.tolist(), strict=True), strict=True))


@pytest.mark.parametrize("after, chance", [(3, 1.0), (1, 0.4)])
def test_keys_get_their_rows_at_the_sights_of_a_dict(device, after, chance):
    """In batches whose keys come often, twice in a step, and once; more of them wait than the first buckets take."""
    backend = CudaBackend(device)
    shard, plain, rng = new_shard(backend, after, chance), PlainWaiting(after, chance), np.random.default_rng(after)
    size = shard.waiting.nbytes
    for step in range(7):
        keys, fields = draw(rng, 250, step)
        for asked, of_them in ((keys, fields), (keys[::-2].copy(), fields[::-2].copy())):  # the second time is the same sight
            local, addresses = look_up(backend, shard, asked, of_them, step)
            assert local.tolist() == plain.look_up(asked, step)
            behind = rows_of(backend, shard, addresses)
            there = len({*local.tolist()} - {0, len(asked) + 1})
            assert behind[0] == "zeros" and None not in behind[1 : 1 + there] and behind[1 + there :] == [None] * (len(asked) - there)
        assert waiting_of(shard) == plain.waiting
        assert index_of(backend, shard)[0].keys() == plain.rows
        unseen = look_up(backend, shard, *draw(rng, 250, step + 9))[0]
        assert waiting_of(shard) == plain.waiting and len(shard) == len(plain.rows), "evaluation counts nothing"
        assert not unseen[-1] or int(unseen.max()) <= 250
    assert shard.waiting.nbytes > size
    fresh = np.unique(draw(rng, 60, 50)[0])[1:]
    loaded = Rows(fresh, np.zeros(len(fresh), np.uint16), *np.ones((2, len(fresh)), np.uint32), np.ones((len(fresh), 3), np.float32))
    shard.load(loaded)
    assert index_of(backend, shard)[0].keys() == plain.rows | {*fresh.tolist()}, "rows that are read in need not wait"
    kept = Sights(fresh, np.arange(1, len(fresh) + 1, dtype=np.uint32), np.full(len(fresh), 9, np.uint32))
    shard.waiting.set(kept)
    assert waiting_of(shard) == {key: (sights, 9) for key, sights in zip(kept.keys.tolist(), kept.sights.tolist(), strict=True)}


def filled(backend, rng, half_life, precision="float32"):
    """(shard, {key: (last step, decayed count as it lies, whether its weights are all 0)}) of rows of eleven steps."""
    shard, rows = new_shard(backend, half_life=half_life, precision=precision), {}
    keys = np.unique(draw(rng, 420, 0)[0])[1:]
    n = len(keys)
    steps, zero = rng.integers(0, 11, n).astype(np.uint32), rng.random(n) < 0.5
    numbers = rng.standard_normal((n, 3))
    numbers[zero] = 0
    numbers[zero & (rng.random(n) < 0.3), 2] = -1e-30
    numbers[0] = [0, -0.0, 0]
    shard.load(Rows(keys, np.zeros(n, np.uint16), np.ones(n, np.uint32), steps, numbers.astype(precision)))
    held, _ = index_of(backend, shard)
    decayed = np.zeros(n, np.float32)
    if half_life:
        decayed = rng.choice(np.array([0, 1, 1.5, 2, 4, 1e-3], np.float32), n)  # many are worth the same
        addresses = [backend.address(shard._chunks[0]) + held[key] * shard.layout.record_bytes for key in keys.tolist()]
        backend.history.write_decayed(backend.array(np.array(addresses, np.int64)), shard.layout.decayed, decayed)
    for key, *one in zip(keys.tolist(), steps.tolist(), decayed.tolist(), (numbers == 0).all(axis=1).tolist(), strict=True):
        rows[key] = one
    return shard, rows


@pytest.mark.parametrize("half_life, precision", [(0, "float32"), (5, "float64")])
def test_the_rows_that_a_sort_keeps_stay(few, half_life, precision):
    """By age, count, zeros and budgets, in turn; then the places of those that went are taken, the lowest first."""
    backend, rng = CudaBackend(few), np.random.default_rng(half_life)
    shard, rows = filled(backend, rng, half_life, precision)
    free = []
    for oldest, zero_oldest, low, cost, budget in (
        (-1, -1, 0.0, 1, 10**6), (1, -1, 0.0, 1, 10**6), (-1, 6, 0.0, 1, 10**6), (-1, -1, 0.5, 1, 150), (-1, -1, 0.0, 1, 149),
        (3, 4, 1.2, 1, 100), (-1, -1, 0.0, 7, 7 * 60 + 3), (-1, -1, 0.0, 1, 1),
    ):  # fmt: skip
        before = shard.export()
        numbers = index_of(backend, shard)[0]
        look = shard.look(oldest, zero_oldest, np.float32(low))
        backend.history.shrink(look, cost, budget, lambda costs: costs)
        left = {
            key: one for key, one in rows.items()
            if one[0] > oldest and not (half_life and one[1] < low) and not (one[2] and one[0] <= zero_oldest)
        }  # fmt: skip
        order = sorted(left, key=lambda key: (left[key][1] if half_life else left[key][0], mix64(key)), reverse=True)
        left = {key: left[key] for key in order[: budget // cost]}
        waits = few.synchronisations if not REAL else 0
        assert shard.keep(look) == len(rows) - len(left)
        assert REAL or few.synchronisations == waits + 1
        found, _ = index_of(backend, shard)
        assert found == {key: numbers[key] for key in left}
        free += sorted((numbers[key] for key in rows if key not in left), reverse=True)
        assert [shard._counters[which] for which in (LIVE, NEXT, FREE)] == [len(left), len(numbers) + len(free) - (len(rows) - len(left)), len(free)]
        assert backend.host(shard._free)[: len(free)].tolist() == free
        after = shard.export()
        there = np.isin(before.keys, list(left))
        assert all(np.array_equal(one, before.take(there).arrays[name]) for name, one in after.arrays.items())
        rows = left
    keys = np.unique(draw(rng, 300, 30)[0])[1:]
    _, addresses = look_up(backend, shard, keys, np.zeros(len(keys), np.uint16), 20)
    assert rows_of(backend, shard, addresses) == (free[::-1] + list(range(len(free) + 1, 1000)))[: len(keys)]
    if half_life:
        decayed = shard.export()
        assert not decayed.decayed[np.isin(decayed.keys, keys)].any(), "a new row has no sights of the one before"


@pytest.mark.parametrize("budget", [0, 40])
def test_waiting_keys_are_forgotten_by_age_and_budget(device, budget):
    backend, rng = CudaBackend(device), np.random.default_rng(budget)
    shard = new_shard(backend, 2)
    for step in range(4):
        look_up(backend, shard, *draw(rng, 120, step), step)
    before = waiting_of(shard)
    look = shard.waiting.look(0)
    if budget:
        backend.history.shrink(look, 1, budget, lambda costs: costs)
    shard.waiting.keep(look)
    young = {key: one for key, one in before.items() if one[1] > 0}
    newest = sorted(young, key=lambda key: (young[key][1], mix64(key)), reverse=True)
    left = {key: young[key] for key in newest[: budget or None]}
    assert len(left) < len(before) and waiting_of(shard) == left
    known = np.array([*left], np.uint64)
    fields = np.zeros(len(known), np.uint16)
    assert look_up(backend, shard, known, fields, 9)[0].tolist() == list(range(1, 1 + len(known)))
    look = shard.look(9, -1, np.float32(0))
    assert shard.keep(look) >= len(known) and len(shard) == 0 and waiting_of(shard) == {}
    assert not look_up(backend, shard, known, fields, 9)[0].any() and waiting_of(shard) == dict.fromkeys(left, (1, 9)), "they begin anew"


def test_decayed_counts_shrink_with_an_era(few):
    backend, rng = CudaBackend(few), np.random.default_rng(3)
    shard, rows = filled(backend, rng, 5)
    shard.begin_era(5 * ERA * 6)  # 96 half-lives
    found = shard.look(-1, -1, np.float32(0))
    worths, there = backend.host(found.worths).view(np.float32), backend.host(found.verdicts) == 0
    shrunk = np.array([one[1] for one in rows.values()], np.float32) * np.float32(2.0**-96)
    assert sorted(worths[there].tolist()) == sorted(np.where(shrunk < LEAST, 0, shrunk).tolist()) and (worths[there] > 0).any()
