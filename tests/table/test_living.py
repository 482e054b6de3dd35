"""Which rows are worth keeping, against a sort; and a shard whose rows come and go without end, which neither grows nor slows down."""

import numpy as np
import pytest
from mpi4py import MPI

from deshpc.backend.arguments import Decay, Sums
from deshpc.backend.open import open_backend
from deshpc.backend.record import RecordLayout
from deshpc.backend.rules import Sgd, StateStart
from deshpc.backend.weight_form import WeightForm
from deshpc.comm.group import Group
from deshpc.table.decay import ERA, DecayedCounts
from deshpc.table.selection import Candidates, shrink
from deshpc.table.shard import Initialisation, Rows, Shard
from deshpc.table.waiting import WaitingKeys


@pytest.mark.mpi
@pytest.mark.parametrize("most, costs", [(3, (1, 1)), (2**32 - 1, (1, 1)), (40, (3, 7))])
def test_the_least_worth_go_whoever_has_them(world, most, costs):
    """Ranks and shards have any part of the rows; budgets from nothing to all of them."""
    rng, group, backend = np.random.default_rng(most), Group(world), open_backend("cpu", 1)
    n = 500
    worths, ties = rng.integers(0, most, n, np.uint32, endpoint=True), rng.permutation(rng.integers(0, 2**64, n, np.uint64))
    ties[: n // 2] = np.uint64(5 << 40) + rng.permutation(n // 2).astype(np.uint64)  # many are neighbours
    place, kind = rng.integers(0, world.size, n), rng.integers(0, 2, n)
    gone = rng.random(n) < 0.1
    order, cost = np.lexsort((ties, worths))[::-1], np.where(gone, 0, np.array(costs)[kind])
    for budget in (0, 1, 7, 250, *range(n - 12, n + 1), int(cost.sum()) - 1, int(cost.sum())):
        numbers = [np.flatnonzero((place == group.rank) & (kind == k)) for k in (0, 1)]
        own = [Candidates(worths[mine], ~gone[mine], lambda at, mine=mine: ties[mine[at]], costs[k]) for k, mine in enumerate(numbers)]
        shrink(own, budget, group.sum, backend)
        wanted = np.zeros(n, bool)
        wanted[order[np.cumsum(cost[order]) <= budget]] = True
        for one, mine in zip(own, numbers, strict=True):
            assert np.array_equal(one.stays, wanted[mine] & ~gone[mine]), budget
    group.free()


@pytest.mark.parametrize("precision, scalars", [("float32", 1), ("float64", 1), ("float64", 0)])
def test_constant_churn_leaves_no_trace(precision, scalars):
    """Rows of new keys in the place of old ones, hundreds of times: the same memory, and an index like a new one's."""
    if MPI.COMM_WORLD.rank:
        return
    backend, layout = open_backend("cpu", 1), RecordLayout(scalars, 4, precision, scalars, 4, decays=True)
    decays, start = DecayedCounts(5), Initialisation(1, 0.1, StateStart(1, 0.5))
    shard, rng, sizes = Shard(backend, layout, start, None, decays), np.random.default_rng(4), []
    held = []
    for step in range(300):
        keys = np.unique(rng.integers(1, 2**63, 1000, np.uint64))
        fields = (keys >> np.uint64(32)).astype(np.uint16)
        addresses = shard.look_up(keys, fields, step).addresses
        assert not np.array([np.frombuffer(_bytes_at(int(one) + layout.decayed), np.float32)[0] for one in addresses[:50]]).any()
        backend.history.write_decayed(addresses, layout.decayed, np.ones(len(keys), np.float32))
        held.append(keys)
        assert np.array_equal(shard.export().keys, np.sort(np.concatenate(held)))
        history = shard.history()
        shard.evict(np.flatnonzero(history.held & (step - history.steps.astype(np.int64) >= 3)))
        held = held[-3:]
        sizes.append(shard.nbytes)
    assert len(set(sizes[5:])) == 1
    alone = Shard(backend, layout, start, None, decays)
    rows = shard.export()
    alone.reserve(shard._counters[0])
    alone.load(Rows(rows.keys, rows.fields, rows.counts, rows.steps, rows.numbers, rows.decayed))
    assert _searched(shard) == _searched(alone)  # no key is further from its bucket than in an index that had no other
    again = alone.export()
    assert all(np.array_equal(one, other) for one, other in zip(rows.arrays.values(), again.arrays.values(), strict=True))


@pytest.mark.parametrize("half_life", [1, 3, 1 << 22])
def test_counts_decay_as_in_float64(half_life):
    """Of rows that are seen always, often, or never again, over eras; what is read out of one shard and taken by another is the same to the bit."""
    if MPI.COMM_WORLD.rank:
        return
    backend, layout, decays = open_backend("cpu", 1), RecordLayout(1, 0, "float32", 0, 0, decays=True), DecayedCounts(half_life)
    shard, other = (Shard(backend, layout, Initialisation(1, 0.1, StateStart(0)), None, decays) for _ in range(2))
    rng, keys, chances = np.random.default_rng(half_life), np.arange(1, 5, dtype=np.uint64), np.array([1, 0.3, 0.05, 0])
    counts, lasts, wanted = np.zeros(4), np.zeros(4), np.zeros(4)
    begin = 5 * ERA * half_life - 40  # two eras meet on the way
    for step in range(begin, begin + 150):
        seen = rng.random(4) < (chances if step > begin else 1)
        addresses = shard.look_up(keys, np.zeros(4, np.uint16), step).addresses
        shard.begin_era(step)
        backend.update.rows(
            Sgd(np.float32(0)), WeightForm.of(backend, 0, "float32", "float32", None), layout.linear_state, layout.tail, 1, addresses[seen],
            Sums(np.zeros(4, np.float32), None, None), 1.0, np.uint32(step), np.float32(1), np.float32(0), Decay(layout.decayed, decays.sight(step)), None,
        )  # fmt: skip
        wanted = np.where(seen, wanted * 2.0 ** ((lasts - step) / half_life) + 1, wanted)
        counts, lasts = counts + seen, np.where(seen, step, lasts)
    rows = shard.export()
    assert np.array_equal(rows.steps, lasts) and np.array_equal(rows.counts, counts)
    alive = lasts > step - 100 * half_life
    np.testing.assert_allclose(rows.decayed[alive], wanted[alive], rtol=1e-5)
    assert alive.all() or (rows.decayed[~alive] == 0).all()
    other.load(rows)
    for one in (shard, other):
        one.begin_era(begin + 40 + 2 * ERA * half_life)
    assert np.array_equal(shard.history().worths, other.history().worths) and np.array_equal(shard.export().decayed, other.export().decayed)


def test_waiting_keys_that_got_rows_leave_their_places():
    if MPI.COMM_WORLD.rank:
        return
    backend, rng, sizes = open_backend("cpu", 1), np.random.default_rng(5), []
    waiting = WaitingKeys(backend, 2, 1.0, 7)
    shard = Shard(backend, RecordLayout(1, 0, "float32", 1, 0), Initialisation(1, 0.1, StateStart(1, 0.5)), waiting)
    for step in range(0, 200, 2):
        keys = np.unique(rng.integers(1, 2**63, 1000, np.uint64))
        fields = (keys >> np.uint64(32)).astype(np.uint16)
        for now in (step, step):  # the same step is one sight
            assert not shard.look_up(np.repeat(keys, 2), np.repeat(fields, 2), now).local.any()
        assert dict(zip(*waiting.sights()[:2], strict=True)) == dict.fromkeys(keys, 1)
        found = shard.look_up(keys, fields, step + 1)
        assert found.local.tolist() == [*range(1, len(keys) + 1)] and len(waiting.sights().keys) == 0
        shard.evict(np.flatnonzero(shard.held()))
        sizes.append(shard.nbytes)
    assert len(set(sizes[5:])) == 1 and len(shard) == 0


def _searched(shard):
    """Buckets that are passed until all keys of a shard are found."""
    buckets = shard._buckets.reshape(-1, 8)[:, :4]
    places = {int(key): place for place, line in enumerate(buckets) for key in line if key}
    return sum((place - key) % len(buckets) for key, place in places.items())


def _bytes_at(address):
    import ctypes

    return ctypes.string_at(address, 4)
