"""Every exchange as a linear map, and its backward as the adjoint of that map.

A probe stands for the operators: it hands out partials that the test knows and keeps the gradients that it is given.
On N ranks, in float64, <complete(partials), y> = <partials, distribute(y)> for random y; with a factor of N, the
classic mistake, it is not.  Complete states are NumPy's sums, or what ranks have side by side.  Where rows travel, a home rank gets every row that it
has asked for as its owner exports it, and the owner the sums that all home ranks have sent.
"""

import ctypes
from types import SimpleNamespace

import numpy as np
import pytest
from small_training import all_rows, small_config, small_model
from synthetic_batches import N_FIELDS, awkward_batches, owner_of, share_of

from deshpc.backend.record import KEY
from deshpc.comm.shares import slice_of
from deshpc.exchange.kinds import EXCHANGES
from deshpc.exchange.pooled import PooledExchange
from deshpc.exchange.rows import RowExchange
from deshpc.exchange.sums import AllReduce, ReduceScatter
from deshpc.hashing.partition import KeyPartition
from deshpc.model.combinations import exchange_kind
from deshpc.route.routing import routings
from deshpc.table.found import Found
from deshpc.table.shard import Rows

pytestmark = pytest.mark.mpi

WIDTH = 3
ROUNDING = 1e-13  # of inner products of up to 1e3 terms of one sign


class Probe:
    """In the place of an OperatorSet."""

    name, room = "probe", 2

    def __init__(self, table=None, partials=None, operator=None):
        self.table, self._partials, self.operator = table, partials, operator

    def partial(self, shards, samples, scale, found=None, stays=False):
        self.samples = samples
        return np.zeros((samples, WIDTH)) if self._partials is None else self._partials

    def partial_adjoint(self, shards, state, scale):
        self.shards, self.gradient = shards, state.copy()


def assert_adjoint(world, forward, backward):
    """This rank's parts of two inner products: equal in sum, and not if one is counted N times.  Collective."""
    forward, backward = world.allreduce(forward), world.allreduce(backward)
    assert forward > 0 and abs(forward - backward) <= ROUNDING * forward
    assert world.size == 1 or abs(forward - world.size * backward) > forward / 2


@pytest.mark.parametrize("samples", [1, 2, 7, 64])
@pytest.mark.parametrize("exchange", [AllReduce, ReduceScatter])
def test_partials_are_added_up_and_gradients_come_back(world, exchange, samples):
    rng = np.random.default_rng(51)
    of_ranks = rng.standard_normal((world.size, samples, WIDTH))
    whole = of_ranks.sum(axis=0)
    y = (1 + rng.random(whole.shape)) * np.sign(whole)  # no term of the product cancels another
    y /= np.abs(whole).sum() / 10
    with small_model(world, small_config("lr")) as model:
        probe = Probe(partials=of_ranks[world.rank].copy())
        found = Found(SimpleNamespace(samples=samples), ["own"], train=True)
        travelling = exchange(model.backend, model.group, probe)
        state, shards = partials = travelling.start(found, 1.0).wait()
        assert shards is found.rows and probe.samples == samples
        top = slice(0, samples) if exchange.whole_top else slice(*slice_of(samples, world.size, world.rank))
        assert np.allclose(state, whole[top], rtol=1e-15, atol=1e-15)
        state = state.copy()
        assert travelling.give_back(found, partials, y[top].copy(), 1.0) is found.rows
        assert probe.shards is found.rows and np.array_equal(probe.gradient, y)
        counted = not exchange.whole_top or world.rank == 0  # a state that all ranks hold counts once
        assert_adjoint(world, counted * float((state * y[top]).sum()), float((of_ranks[world.rank] * probe.gradient).sum()))


@pytest.mark.parametrize("samples", [1, 2, 7, 64])
@pytest.mark.parametrize("first", [0, 1])
def test_pooled_embeddings_come_home_and_their_gradients_go_back(world, first, samples):
    rng = np.random.default_rng(54)
    ends = first + np.cumsum([(2 + rank) % 4 for rank in range(world.size)])  # the third rank has no fields
    begins = np.append(first, ends[:-1])
    of_ranks = [rng.standard_normal((samples, first + end - begin)) for begin, end in zip(begins, ends, strict=True)]
    whole = np.hstack([sum(one[:, :first] for one in of_ranks), *(one[:, first:] for one in of_ranks)])
    y = (1 + rng.random(whole.shape)) * np.sign(whole) * 10 / np.abs(whole).sum()
    own = [*range(first), *range(begins[world.rank], ends[world.rank])]
    operator = SimpleNamespace(embeddings_at=first, places_of_ranks=lambda: [[one] for one in zip(begins, ends, strict=True)])
    top = slice(*slice_of(samples, world.size, world.rank))
    with small_model(world, small_config("lr")) as model:
        probe = Probe(partials=of_ranks[world.rank].copy(), operator=operator)
        found = Found(SimpleNamespace(samples=samples, home=range(samples)[top]), ["own"], train=True)
        travelling = PooledExchange(model.backend, model.group, probe)
        state, shards = partials = travelling.start(found, 1.0).wait()
        assert shards is found.rows and probe.samples == samples and state.shape == (len(whole[top]), whole.shape[1] + probe.room)
        state = state[:, : whole.shape[1]].copy()
        assert np.array_equal(state[:, first:], whole[top, first:]) and np.allclose(state, whole[top], rtol=1e-15, atol=1e-15)
        assert travelling.give_back(found, partials, y[top].copy(), 1.0) is found.rows
        assert probe.shards is found.rows and np.array_equal(probe.gradient, y[:, own])
        assert_adjoint(world, float((state * y[top]).sum()), float((of_ranks[world.rank] * probe.gradient).sum()))


def look_up(model, batch, whole):
    """A batch routed for travelling rows and looked up, and random weights in all rows; also on one rank.  Collective."""
    kind = routings(RowExchange)[0 if whole else 1]
    partition = KeyPartition(model.group.size, model.backend.threads)
    routing = kind(model.backend, model.group, partition, N_FIELDS, RowExchange)
    routed = routing.route(share_of(batch, model.group.rank, model.group.size, whole), "forward")().wait()
    shards = model.table.look_up(routed, insert=True)
    rows = all_rows(model)
    numbers = np.random.default_rng(batch.step).standard_normal(rows.numbers.shape)
    model.table.load(Rows(rows.keys, rows.fields, rows.counts, rows.steps, numbers))
    return Found(routed, shards, train=True)


def keys_at_home(model, batch, home, s):
    """Keys (unique) that thread s of this rank asks for, read off the occurrences, in the order of its list."""
    group, threads = model.group, model.backend.threads
    share = share_of(batch, group.rank, group.size)
    own = [key for i in range(len(share)) for key in share.keys[share.begins[i] : share.ends[i]]]
    keys = np.zeros(home.unique, np.uint64)
    keys[home.occurrences] = [key for key in own if owner_of(key, group.size * threads) % threads == s]
    return keys


def weights_at(addresses, layout):
    """(n, weights) of the records at these addresses, or of the received rows that stand for records."""
    size = layout.weights * np.dtype(layout.precision).itemsize
    found = [np.frombuffer(ctypes.string_at(int(a) + layout.first_weight, size), layout.precision) for a in addresses]
    return np.array(found, layout.precision).reshape(-1, layout.weights)


def keys_at(addresses):
    return np.array([ctypes.c_uint64.from_address(int(a) + KEY).value for a in addresses], np.uint64)


def sums_of(shard):
    """(distinct, n) sums side by side: of the linear weight, of the embedding, square sums."""
    columns = list(shard.sums)
    return np.hstack([one if one.ndim == 2 else one[:, None] for one in columns if one is not None])


def give_sums(rng, shard, weights):
    """Fill a home shard's sums at random, signed as the weights are, square sums small; returns a copy, side by side."""
    least = 2**40 if shard.sums.scalar.dtype.kind == "i" else 1.0
    shard.sums.scalar[:] = np.sign(weights[:, 0]) * least * (1 + rng.random(len(weights)))
    if shard.sums.vector is not None:
        shard.sums.vector[:] = np.sign(weights[:, 1:]) * least * (1 + rng.random(shard.sums.vector.shape))
    if shard.sums.square is not None:
        shard.sums.square[:] = least / 100 * rng.random(len(weights))
    return sums_of(shard).copy()


@pytest.mark.parametrize("whole", [True, False], ids=["broadcast", "routed"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name, weighted, precision, accumulate", [
    ("lr", True, "float64", ""), ("lr", True, "float32", "int64"), ("fm", False, "float64", ""), ("fm", True, "float64", ""),
    ("fm", True, "float32", ""), ("fm", False, "float32", "int64"), ("fm", True, "float32", "int64"),
    ("fm", 2, "float64", ""), ("fm", 2, "float32", "int64"),
])  # fmt: skip
def test_rows_come_home_and_their_gradients_go_back(world, name, weighted, precision, accumulate, threads, whole):
    rng, tolerance = np.random.default_rng([52, world.rank]), 0 if accumulate else {"float32": 1e-6, "float64": 1e-14}[precision]
    config = small_config(name, exchange="rows", precision=precision, accumulate=accumulate)
    with small_model(world, config, threads) as model:
        layout, group = model.table.layout, model.group
        exchange = RowExchange(model.backend, group, Probe(model.table))
        for batch in awkward_batches(53, steps=6, weighted=weighted):
            found = look_up(model, batch, whole)
            rows, requests, home_samples = all_rows(model), found.routed.requests, len(found.routed.home)
            ledger, before = group.ledger, group.ledger.of(operator="probe")
            _, shards = partials = exchange.start(found, 1.0).wait()
            sent, forward = [], 0.0
            for s, (shard, home) in enumerate(zip(shards, requests.home, strict=True)):
                keys = keys_at_home(model, batch, home, s)
                weights = rows.numbers[np.searchsorted(rows.keys, keys), : layout.weights]
                assert np.array_equal(weights_at(shard.occurrences.addresses, layout), weights)
                assert not sums_of(shard).any()
                given = give_sums(rng, shard, weights)
                if weighted and layout.dim and not accumulate:  # the gradient of v is made at home
                    given[:, 1:-1] -= weights[:, 1:] * given[:, -1:]
                    given[:, -1] = 0
                forward += float((weights * given[:, : layout.weights]).sum())
                sent += zip(keys.tolist(), given, strict=True)
            assert exchange.give_back(found, partials, np.zeros((home_samples, WIDTH)), 1.0) is found.rows
            assert not any(sums_of(shard).any() for shard in shards)  # zero again, for the next batch

            others = np.arange(world.size) != world.rank
            of_gradient = (layout.weights + bool(accumulate and weighted and layout.dim)) * model.table.sums_type.itemsize
            moved = int(requests.asked[others].sum()) * layout.weights * np.dtype(precision).itemsize
            assert ledger.of(operator="probe") - before == moved + int(requests.asking[others].sum()) * of_gradient

            expected, backward = {}, 0.0
            for key, given in sum(group.gather(sent), []):  # in the order of home ranks
                expected[key] = expected[key] + given if key in expected else given
            for shard in found.rows:
                keys, sums = keys_at(shard.occurrences.addresses), sums_of(shard)
                wanted = np.array([expected.pop(int(key)) for key in keys]).reshape(sums.shape)
                assert np.allclose(sums, wanted, rtol=tolerance, atol=tolerance)
                weights = rows.numbers[np.searchsorted(rows.keys, keys), : layout.weights]
                backward += float((weights * sums[:, : layout.weights]).sum())
                for one in shard.sums:
                    if one is not None:
                        one[...] = 0
            assert not set.intersection(*map(set, group.gather(list(expected))))  # every key has met its owner
            if precision == "float64" and len(batch.keys):
                assert_adjoint(world, forward, backward)


def test_one_rank_exchanges_nothing(world):
    for name, kind in EXCHANGES.items():
        assert exchange_kind(small_config("lr", exchange=name), world.size) is (AllReduce if world.size == 1 else kind)
        assert exchange_kind(small_config("lr", exchange=name), 1) is AllReduce
