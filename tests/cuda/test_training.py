"""Whole training steps with the real kernels and the real host code, against the CPU backend on one rank.

Each rank trains alone on the CPU and together with the others on the device, on the same awkward global batches: samples
without keys, duplicates, collisions, unseen keys in every step (so that the index grows in the middle), odd sizes.  Keys,
fields, counts and last steps are equal; losses, rows and dense parameters close, max|delta| / max|reference| of each array
as between numbers of ranks (see `steps/test_rank_invariance`); in fixed point rows are equal to the bit, and on every
schedule everything is equal to the bit.
"""

import hashlib
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from cuda_device import REAL
from mpi4py import MPI
from small_training import RULES, all_rows, all_samples, reads, score, small_config, small_model, train_on
from synthetic_batches import awkward_batches, one_key_batches

from deshpc.backend.cuda.backend import CudaBackend
from deshpc.training.step import step, steps

pytestmark = [pytest.mark.mpi, pytest.mark.in_turns(3)]

STEPS = 12
TOLERANCE = {"float64": (1e-11, 1e-11), "float32": (2e-5, 1e-6)}  # rows and dense parameters, losses


@cache
def on_cpu(name, rule, weighted, precision, accumulate=""):
    """(batches, what one rank with one CPU thread makes of them)."""
    batches = awkward_batches(21, STEPS, weighted)
    return batches, train_on(MPI.COMM_SELF, batches, config_of(name, rule, precision, accumulate))


def config_of(name, rule, precision, accumulate="", **train):
    return small_config(name, rule=RULES[rule], precision=precision, accumulate=accumulate, **train)


def assert_same_history(rows, expected):
    for part in ("keys", "fields", "counts", "steps"):
        assert np.array_equal(getattr(rows, part), getattr(expected, part)), part


def assert_close(actual, expected, tolerance, what):
    assert actual.shape == expected.shape and actual.dtype == expected.dtype, what
    for column in range(expected.shape[1] if expected.ndim == 2 else 1):
        found, wanted = (actual[:, column], expected[:, column]) if expected.ndim == 2 else (actual, expected)
        if wanted.size and np.abs(wanted).max() > 0:
            error = np.abs(found.astype(np.float64) - wanted).max() / np.abs(expected).max()
            assert error <= tolerance, f"{what} {column}: {error:.1e}"


def assert_close_run(trained, expected, precision):
    of_rows, of_losses = TOLERANCE[precision]
    assert_same_history(trained.rows, expected.rows)
    assert_close(trained.losses, expected.losses, of_losses, "losses")
    assert_close(trained.rows.numbers, expected.rows.numbers, of_rows, "rows")
    assert_close(trained.parameters, expected.parameters, of_rows, "dense parameters")


@pytest.mark.parametrize("exchange, routing", [("allreduce", "broadcast"), ("reduce_scatter", "routed"), ("rows", "broadcast")])
@pytest.mark.parametrize(
    "name, rule, weighted, precision",
    [
        ("fm", "adagrad", 0, "float64"),
        ("fm", "ftrl", 2, "float32"),
        ("fm", "rowwise_adagrad", 1, "float64"),
        ("lr", "adam", 1, "float64"),
        ("lr", "sgd, clipped", 0, "float32"),
        ("fm", "adam", 1, "float32"),
    ],
)
def test_ranks_on_a_device_train_what_one_cpu_trains(world, few, name, rule, weighted, precision, exchange, routing):
    batches, expected = on_cpu(name, rule, weighted, precision)
    config = config_of(name, rule, precision, exchange=exchange, routing=routing)
    assert_close_run(train_on(world, batches, config, backend=CudaBackend(few)), expected, precision)


@pytest.mark.parametrize("exchange, routing", [("allreduce", "routed"), ("reduce_scatter", "broadcast"), ("rows", "routed")])
@pytest.mark.parametrize("name, rule, weighted", [("fm", "adagrad, clipped", 1), ("lr", "ftrl", 2), ("fm", "sgd", 0)])
def test_fixed_point_gives_the_cpus_rows_to_the_bit(world, few, name, rule, weighted, exchange, routing):
    batches, expected = on_cpu(name, rule, weighted, "float32", "int64")
    config = config_of(name, rule, "float32", "int64", exchange=exchange, routing=routing)
    trained = train_on(world, batches, config, backend=CudaBackend(few))
    assert_close_run(trained, expected, "float64")
    if not REAL:  # a device's exp and log are not the CPU's, so that gradients may differ in their last bit
        assert trained.digest(dense=False) == expected.digest(dense=False)


@pytest.mark.parametrize("name, weighted", [("fm", 1), ("lr", 0)])
def test_every_schedule_gives_the_same_bits(world, device, name, weighted):
    batches = awkward_batches(21, STEPS, weighted)
    config = config_of(name, "adagrad", "float32", routing="routed")
    found = train_on(world, batches, config, backend=CudaBackend(device))
    assert _BITS.setdefault((name, weighted), found.digest()) == found.digest()
    assert_close_run(found, on_cpu(name, "adagrad", weighted, "float32")[1], "float32")


_BITS = {}
"""Digest of what the first schedule has made."""


@pytest.mark.parametrize("loss", ["squared", "poisson"])
@pytest.mark.parametrize("name, accumulate", [("fm", ""), ("lr", "int64")])
def test_other_losses_train_what_one_cpu_trains(world, few, name, accumulate, loss):
    rng = np.random.default_rng(3)
    batches = [replace(one, labels=rng.poisson(1.5, len(one)).astype(np.float32)) for one in awkward_batches(21, 6, 1)]
    config = small_config(name, rule={**RULES["sgd, clipped"]}, precision="float64" if not accumulate else "float32", accumulate=accumulate)
    config = replace(config, train=replace(config.train, loss=loss, exchange="reduce_scatter"))
    expected = train_on(MPI.COMM_SELF, batches, config)
    found = train_on(world, batches, config, backend=CudaBackend(few))
    assert_close_run(found, expected, "float64" if not accumulate else "float32")


def test_atomic_sums_are_close_in_floating_point_and_exact_in_fixed_point(world, few):
    batches, expected = on_cpu("fm", "adagrad", 1, "float64")
    config = config_of("fm", "adagrad", "float64")
    assert_close_run(train_on(world, batches, config, backend=CudaBackend(few, atomic_sums=True)), expected, "float64")
    fixed = config_of("fm", "adagrad", "float32", "int64")
    atomic, ordered = (train_on(world, batches, fixed, backend=CudaBackend(few, atomic)) for atomic in (True, False))
    assert atomic.digest() == ordered.digest()


@pytest.mark.parametrize("exchange", ["allreduce", "rows"])
def test_numbers_of_a_device_travel_as_halves(world, few, exchange):
    batches = awkward_batches(61, 3, 1)
    half, full = (
        train_on(world, batches, config_of("fm", "sgd", "float32", exchange=exchange, wire=wire), backend=CudaBackend(few))
        for wire in ("bfloat16", "full")
    )
    assert half.losses == pytest.approx(full.losses, rel=0.02)
    assert abs(half.rows.numbers - full.rows.numbers).max() <= 0.02 * abs(full.rows.numbers).max()
    assert world.size > 1 or half.digest() == full.digest()
    sent, whole = ({(one["kind"], one["direction"]): one["sent_bytes"] for one in found.ledger} for found in (half, full))
    assert whole == {what: bytes * (2 if what[0] in ("partials", "rows", "gradients") else 1) for what, bytes in sent.items()}


def test_a_single_key_leaves_other_ranks_nothing(world, few):
    batches = one_key_batches(5, 6)
    expected = train_on(MPI.COMM_SELF, batches, config_of("fm", "adagrad", "float64"))
    for routing in ("broadcast", "routed"):
        config = config_of("fm", "adagrad", "float64", routing=routing)
        assert_close_run(train_on(world, batches, config, backend=CudaBackend(few)), expected, "float64")


def test_evaluation_inserts_nothing_and_unseen_keys_add_nothing(world, few):
    batches = awkward_batches(33, 8)
    config = config_of("fm", "adagrad", "float64", routing="routed")
    with small_model(MPI.COMM_SELF, config) as cpu, small_model(world, config, backend=CudaBackend(few)) as model:
        for batch in batches[:5]:
            step(cpu, reads(cpu, batch))
            step(model, reads(model, batch))
        before = hashed(all_rows(model))
        for batch in batches[5:]:
            expected = score(cpu, reads(cpu, batch))
            found = all_samples(model, score(model, reads(model, batch)))
            assert_close(found, expected, 1e-11, "logits")
            keys, fields = batch.keys.copy(), batch.fields.copy()
            mine = model.table.asked(keys, fields) == world.rank
            np.testing.assert_array_equal(model.table.holds(keys, fields)[mine], cpu.table.holds(keys, fields)[mine])
        assert hashed(all_rows(model)) == before


def test_rows_and_parameters_move_between_backends(world, few):
    """What one backend has trained the other takes over, and both go on alike."""
    batches = awkward_batches(35, 8)
    config = config_of("fm", "adam", "float64")
    with small_model(MPI.COMM_SELF, config) as cpu, small_model(world, config, backend=CudaBackend(few)) as model:
        for batch in batches[:4]:
            step(cpu, reads(cpu, batch))
        model.table.load(cpu.table.export())
        model.parameters.load(cpu.parameters.arrays())
        assert hashed(all_rows(model)) == hashed(cpu.table.export())
        for batch in batches[4:]:
            assert step(model, reads(model, batch)) == pytest.approx(step(cpu, reads(cpu, batch)), rel=1e-11)
        assert_close(all_rows(model).numbers, cpu.table.export().numbers, 1e-11, "rows")


@pytest.mark.parametrize("routing", ["broadcast", "routed"])
def test_preparing_a_batch_ahead_changes_no_bit(world, few, routing):
    batches = awkward_batches(39, STEPS)
    found = []
    for overlap in ("on", "off"):
        config = config_of("fm", "adagrad", "float32", routing=routing, overlap=overlap)
        with small_model(world, config, backend=CudaBackend(few)) as model:
            assert model.overlaps == (overlap == "on")
            losses = [one.loss for one in steps(model, [reads(model, batch) for batch in batches])]
            found.append((losses, hashed(all_rows(model))))
    assert found[0] == found[1]


def test_a_step_waits_for_its_losses_alone(few, monkeypatch):
    """One rank, rows set aside: nothing waits for all that was started, and what is waited for has kernels queued behind it."""
    if REAL:
        pytest.skip("a real device does not count")
    launched, marked, behind = [0], [], []
    launch, mark, wait = few.launch, few.mark, few.wait

    def counted(*arguments):
        launched[0] += 1
        launch(*arguments)

    def noted():
        marked.append((mark(), launched[0]))
        return marked[-1][0]

    def waited(point):
        behind.append(next(launched[0] - before for one, before in marked if one is point))
        wait(point)

    for name, method in (("launch", counted), ("mark", noted), ("wait", waited)):
        monkeypatch.setattr(few, name, method)
    batches = awkward_batches(37, 6)
    with small_model(MPI.COMM_SELF, config_of("fm", "adagrad", "float32"), backend=CudaBackend(few)) as model:
        model.table.reserve(5_000)
        before = few.synchronisations
        losses = [one.loss for one in steps(model, batches)]
        assert few.synchronisations == before
    assert len(losses) == 6 and len(behind) >= 6
    assert min(behind) >= 5  # at least backward pass and update



def hashed(rows):
    digest = hashlib.sha256()
    for part in (rows.keys, rows.fields, rows.counts, rows.steps, rows.numbers):
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()
