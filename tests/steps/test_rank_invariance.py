"""N ranks compute what one computes, whatever the exchange, the routing, the update rule and the number of threads.

Each rank also trains alone (COMM_SELF) on the same awkward global batches.  After twenty steps keys, fields, counts
and last steps are equal, losses, rows and dense parameters close: max|delta| / max|reference| of each array.  Routed
and broadcast give the same bits under each exchange, and all ranks hold the same bits of the dense parameters and of
the losses.  In float32, one step from equal rows gives states and key gradients whose error is a small multiple of the
sum of |terms|, which NumPy computes in float64.
"""

import ctypes
from functools import cache

import numpy as np
import pytest
from mpi4py import MPI
from plain_model import values_of
from small_training import (
    DIM,
    EXCHANGES,
    ROUTINGS,
    RULES,
    all_rows,
    all_samples,
    complete,
    reads,
    score,
    small_config,
    small_model,
    train_on,
)
from synthetic_batches import awkward_batches, one_key_batches

from deshpc.backend.record import KEY
from deshpc.nn.parts import parts_of
from deshpc.training.step import step

pytestmark = [pytest.mark.mpi, pytest.mark.in_turns]

EPSILON = 2.0**-23  # of float32
TOLERANCE = {  # (rows and dense parameters, losses) after twenty steps
    "float64": (1e-11, 1e-11),  # measured 7.0e-15 at most: rounding to 1.1e-16, in another order
    "float32": (2e-5, 1e-6),  # measured 5.0e-6 and 1.4e-7: rounding to 6e-8
}


@cache
def alone(name, rule, weighted, precision="float64"):
    """(batches, what one rank with one thread makes of them)."""
    batches = awkward_batches(21, weighted=weighted)
    return batches, train_on(MPI.COMM_SELF, batches, small_config(name, rule=RULES[rule], precision=precision))


def arrays(name, trained):
    """The arrays of a Trained that are compared, each by its own largest number: state by columns."""
    numbers, width = trained.rows.numbers, 1 + (DIM if name == "fm" else 0)
    state = {f"state {column}": numbers[:, column] for column in range(width, numbers.shape[1])}
    return {
        "linear weights": numbers[:, 0],
        "embeddings": numbers[:, 1:width],
        "dense parameters": trained.parameters,
        **state,
    }


def assert_close(actual, expected, tolerance, what):
    assert actual.shape == expected.shape and actual.dtype == expected.dtype, what
    if expected.size:
        error = np.abs(actual.astype(np.float64) - expected).max() / np.abs(expected).max()
        assert error <= tolerance, f"{what}: {error:.1e}"


def assert_same_history(rows, expected):
    for part in ("keys", "fields", "counts", "steps"):
        assert np.array_equal(getattr(rows, part), getattr(expected, part)), part


def check_invariance(world, name, rule, weighted, first_threads, precision):
    """Every exchange and routing on all ranks against one rank; 1 and 2 threads in turn.  Collective."""
    batches, expected = alone(name, rule, weighted, precision)
    of_rows, of_losses = TOLERANCE[precision]
    for exchange, threads in zip(EXCHANGES, (first_threads, 3 - first_threads, first_threads), strict=True):
        results = []
        for routing in ROUTINGS:
            options = {"precision": precision, "exchange": exchange, "routing": routing}
            trained = train_on(world, batches, small_config(name, rule=RULES[rule], **options), threads)
            what = f"{exchange}, {routing}, {threads} threads"
            assert_same_history(trained.rows, expected.rows)
            assert_close(trained.losses, expected.losses, of_losses, f"{what}: losses")
            for part, array in arrays(name, trained).items():
                assert_close(array, arrays(name, expected)[part], of_rows, f"{what}: {part}")
            for losses, parameters in world.allgather((trained.losses, trained.parameters)):
                assert np.array_equal(losses, trained.losses) and np.array_equal(parameters, trained.parameters), what
            results.append(trained)
        broadcast, routed = results
        assert np.array_equal(routed.losses, broadcast.losses), what
        assert routed.digest() == broadcast.digest(), what


def of_models(rules):
    """(name, rule, weighted, first_threads) of a test: each model meets each rule, with 0, 1 and 2 values in turn."""
    return [
        (name, rule, (i + j + 1) % 3, 1 + (i + j // 2) % 2) for i, name in enumerate(("lr", "fm")) for j, rule in enumerate(rules)
    ]


@pytest.mark.parametrize("name, rule, weighted, first_threads", of_models(RULES))
def test_twenty_steps_in_float64(world, name, rule, weighted, first_threads):
    check_invariance(world, name, rule, weighted, first_threads, "float64")


@pytest.mark.parametrize(
    "name, rule, weighted, first_threads", of_models(["sgd", "adagrad", "rowwise_adagrad", "adam", "ftrl"])
)
def test_twenty_steps_in_float32(world, name, rule, weighted, first_threads):
    check_invariance(world, name, rule, weighted, first_threads, "float32")


@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("routing", ROUTINGS)
@pytest.mark.parametrize("name", ["lr", "fm"])
def test_evaluation_with_unseen_keys(world, name, routing, exchange):
    batches, logits = awkward_batches(24), {}
    for comm, threads in ((MPI.COMM_SELF, 1), (world, 2)):
        with small_model(comm, small_config(name, routing=routing, exchange=exchange), threads) as model:
            for batch in batches[:8]:
                step(model, reads(model, batch))
            before = all_rows(model)
            logits[threads] = [
                all_samples(model, score(model, reads(model, batch))) for batch in batches
            ]
            assert np.array_equal(all_rows(model).numbers, before.numbers)  # nothing was inserted or updated
            assert not np.isin(batches[-6].keys, before.keys).all()
    for expected, actual in zip(logits[1], logits[2], strict=True):
        assert_close(actual, expected, 1e-11, "logits")


@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("routing", ROUTINGS)
def test_owners_of_nothing(world, routing, exchange):
    """One key in all the data: every other shard stays empty, in training and in evaluation."""
    batches = one_key_batches(22, steps=3)
    config = small_config("fm", routing=routing, exchange=exchange)
    expected = train_on(MPI.COMM_SELF, batches, config)
    trained = train_on(world, batches, config, threads=2)
    assert len(trained.rows) == 1
    assert_same_history(trained.rows, expected.rows)
    assert_close(trained.losses, expected.losses, 1e-11, "losses")
    assert_close(trained.rows.numbers, expected.rows.numbers, 1e-11, "rows")
    with small_model(world, config, threads=2, n_dense=0) as model:  # all shards are empty
        for batch in batches:
            assert not score(model, reads(model, batch)).any()


def one_step(comm, config, threads, start, batch):
    """From rows `start`: complete states (B, s), and gradients (n, 1 + k) of the batch's distinct keys in key order,
    with these keys (n).  Collective."""
    rows, dense = start
    with small_model(comm, config, threads) as model:
        model.table.load(rows)
        model.parameters.values[:] = dense
        found, partials = complete(model, reads(model, batch), train=True)
        state, logit = partials.state.copy(), np.empty(len(found.routed.labels), partials.state.dtype)
        model.operators.finish(state, found.routed.dense, model.parameters, logit, *parts_of(len(logit), 1))  # dense features are in it, too
        state = all_samples(model, state)
        learnt = model.top.learn(found, partials)
        touched = model.exchange.give_back(found, partials, learnt.gradient, learnt.scale)
        found = [gradients_of(shard, rows) for shard in touched]
        keys, gradients = (np.concatenate(parts) for parts in zip(*sum(model.group.gather(found), []), strict=True))
        order = np.argsort(keys)
        return state, keys[order], gradients[order]


def gradients_of(shard, rows):
    """Keys (n) of a shard's distinct rows, read from their records, and their gradients (n, 1 + k), as an update
    takes them."""
    keys = np.array([ctypes.c_uint64.from_address(int(address) + KEY).value for address in shard.occurrences.addresses], np.uint64)
    linear = shard.sums.scalar[:, None]
    if shard.sums.vector is None:
        return keys, linear.copy()
    shrink = shard.sums.scalar if shard.sums.square is None else shard.sums.square
    embeddings = rows.numbers[np.searchsorted(rows.keys, keys), 1 : 1 + DIM]
    return keys, np.hstack([linear, shard.sums.vector - shrink[:, None] * embeddings])


def exact_step(name, start, batch):
    """What `one_step` returns in float64, each number with the sum of its |terms|, and the keys: (state, terms, keys,
    gradients, terms)."""
    rows, dense = start
    dim, samples, n_dense = DIM if name == "fm" else 0, len(batch), batch.dense.shape[1]
    dense, dense_x, y = dense.astype(np.float64), batch.dense.astype(np.float64), batch.labels.astype(np.float64)
    bias, linear, factors = dense[0], dense[1 : 1 + n_dense], dense[1 + n_dense :].reshape(n_dense, dim)
    weights = rows.numbers[np.searchsorted(rows.keys, batch.keys), : 1 + dim].astype(np.float64)
    x, xl = (one[:, None] for one in values_of(batch))
    sample = np.repeat(np.arange(samples), batch.ends - batch.begins)
    keys, place = np.unique(batch.keys, return_inverse=True)
    vx, wx = weights[:, 1:] * x, weights[:, :1] * xl
    squares, dense_squares = 0.5 * (vx**2).sum(axis=1, keepdims=True), 0.5 * dense_x**2 @ (factors**2).sum(axis=1)

    state = sums(np.hstack([vx, wx - squares]), sample, samples)
    state[:, :dim] += dense_x @ factors  # A is completed by the dense features
    state_terms = sums(np.hstack([abs(vx), abs(wx) + squares]), sample, samples)
    state_terms[:, :dim] += abs(dense_x) @ abs(factors)
    logit = bias + state[:, dim] + dense_x @ linear + 0.5 * (state[:, :dim] ** 2).sum(axis=1) - dense_squares
    logit_terms = abs(bias) + state_terms[:, dim] + abs(dense_x) @ abs(linear) + dense_squares
    logit_terms += 0.5 * (state_terms[:, :dim] ** 2).sum(axis=1)
    p = 1 / (1 + np.exp(-logit))
    g = (p - y)[sample, None]
    g_terms = (p + y + p * (1 - p) * logit_terms)[sample, None]  # p (1 - p): the slope by which p follows the logit
    gradients = sums(np.hstack([g * xl, g * x * (state[sample, :dim] - vx)]), place, len(keys))
    size = g_terms * abs(x)
    gradient_terms = sums(np.hstack([g_terms * abs(xl), size * (state_terms[sample, :dim] + abs(vx))]), place, len(keys))
    return state, state_terms, keys, gradients, gradient_terms


def sums(terms, places, count):
    """Sums (count, s) of terms (n, s) by place (n)."""
    result = np.zeros((count, terms.shape[1]))
    np.add.at(result, places, terms)
    return result


def rounding(actual, expected, terms):
    """The largest |actual - expected| in units of float32's epsilon times the sum of |terms|."""
    error = np.abs(actual.astype(np.float64) - expected)
    assert not error[terms == 0].any()  # no terms, no rounding
    return (error[terms > 0] / terms[terms > 0]).max(initial=0.0) / EPSILON


@pytest.mark.parametrize("name, weighted", [("lr", 0), ("lr", 2), ("fm", 0), ("fm", 1), ("fm", 2)])
def test_one_step_in_float32_is_exact_but_for_rounding(world, name, weighted):
    batches = awkward_batches(23, steps=8, weighted=weighted)
    with small_model(MPI.COMM_SELF, small_config(name, precision="float32")) as model:
        for batch in batches:
            step(model, batch)
        start = all_rows(model), model.parameters.values.copy()
    ways = list(zip(EXCHANGES * 2, ROUTINGS * 3, (1, 1, 1, 2, 2, 2), strict=True))
    for batch in batches:
        state, state_terms, keys, gradients, gradient_terms = exact_step(name, start, batch)
        one = one_step(MPI.COMM_SELF, small_config(name, precision="float32"), 1, start, batch)
        pairs = [(one, (state, keys, gradients))]
        for exchange, routing, threads in ways:
            config = small_config(name, precision="float32", exchange=exchange, routing=routing)
            many = one_step(world, config, threads, start, batch)
            pairs += [(many, (state, keys, gradients)), (many, one)]
        for result, reference in pairs:
            assert np.array_equal(result[1], keys)
            # each addition rounds to half of epsilon of the running sum, which |terms| bound: measured 1.8 at most
            assert rounding(result[0], reference[0], state_terms) <= 4
            assert rounding(result[2], reference[2], gradient_terms) <= 4
