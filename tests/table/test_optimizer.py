"""Every update rule, of rows and of dense parameters, against its formula in float64 over a dictionary of rows.

Each step starts from the stored numbers; `rounding.Rounded` carries the bound on what the kernel's roundings may do, so
that the tolerance of each number follows from the formula itself.
"""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from rounding import UNIT, Rounded

from deshpc.backend.exact_norm import total
from deshpc.backend.open import open_backend
from deshpc.config import OptimizerConfig
from deshpc.hashing.partition import KeyPartition
from deshpc.nn.parameters import Parameters
from deshpc.route.routed import OwnedKeys
from deshpc.table.optimizer import open_optimizer
from deshpc.table.table import Table

CONFIGS = {
    "sgd": OptimizerConfig(name="sgd", learning_rate=0.3),
    "adagrad": OptimizerConfig(name="adagrad", learning_rate=0.05, initial_accumulator=0.1, epsilon=1e-3),
    "rowwise_adagrad": OptimizerConfig(name="rowwise_adagrad", learning_rate=0.07, initial_accumulator=0.2, epsilon=1e-3),
    "adam": OptimizerConfig(name="adam", learning_rate=0.02, beta1=0.8, beta2=0.95, epsilon=1e-3),
    "ftrl": OptimizerConfig(name="ftrl", learning_rate=0.1, beta=0.5, l1=1.5, initial_accumulator=0.3),
}
PLANES = {"sgd": 0, "adagrad": 1, "rowwise_adagrad": 1, "adam": 2, "ftrl": 2}
rules = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
PLAIN, REGULARISED = (1.0, 0.0), (0.25, 0.03)  # clip, l2


def formula(config, step, unit, w, g, state, l1, l2):
    """(weights, state planes) of one part of a row after one update: all `Rounded` arrays.  One accumulator a row is a
    plane of one number."""
    constant = lambda value: Rounded.constant(value, unit)  # noqa: E731
    rate, epsilon, name = constant(config.learning_rate), constant(config.epsilon), config.name
    if name == "sgd":
        return w - rate * g, []
    if name in ("adagrad", "rowwise_adagrad"):
        square = g * g
        total = state[0] + (square if name == "adagrad" else square.mean())
        return w - g * rate / (total.root() + epsilon), [total]
    if name == "adam":
        t, beta1, beta2 = step + 1, config.beta1, config.beta2
        mean = constant(beta1) * state[0] + constant(1 - beta1) * g
        square = constant(beta2) * state[1] + constant(1 - beta2) * g * g
        size = (square * constant(1 / (1 - beta2**t))).root() + epsilon
        return w - rate * (mean * constant(1 / (1 - beta1**t))) / size, [mean, square]
    total = state[1] + g * g
    z = state[0] + (g - (total.root() - state[1].root()) / rate * w)
    kept = z.between(constant(l1)) - z
    return kept / ((constant(config.beta) + total.root()) / rate + constant(l2)), [z, total]


def exact_zeros(config, z, weights):
    """FTRL's weights whose |z| is at most l1 are +0.0; returns how many there are."""
    dead = np.abs(z.value) + z.error <= config.l1
    assert not weights[dead].any() and not np.signbit(weights[dead]).any()
    assert weights[np.abs(z.value) - z.error > config.l1].all()
    return int(dead.sum())


def new_table(config, scalars, dim, storage, compute, sums=None):
    return Table(
        open_backend("cpu", 1), SimpleNamespace(rank=0, size=1), KeyPartition(1, 1), scalars, dim, storage, compute,
        open_optimizer(config), 5, 0.5, sums, own_terms=bool(scalars),
    )  # fmt: skip


def look_up(table, keys, step, values=None):
    """The ShardRows of a batch of one sample."""
    owned = OwnedKeys(
        keys, (keys >> np.uint64(32)).astype(np.uint16), values is not None, offsets=np.array([0, len(keys)]), values=values
    )
    (shard,) = table.look_up(SimpleNamespace(shards=[owned], step=step), insert=True)
    return shard


def by_key(table):
    rows = table.export()
    return dict(zip(rows.keys.tolist(), rows.numbers, strict=True))


def parts_of(config, scalars, dim):
    """[(places of the weights, [places of each state plane])] of the parts of a row."""
    place, parts = scalars + dim, []
    for begin, count in ((0, scalars), (scalars, dim)):
        planes = []
        for _ in range(PLANES[config.name] if count else 0):
            width = 1 if config.name == "rowwise_adagrad" else count
            planes.append(slice(place, place + width))
            place += width
        if count:
            parts.append((slice(begin, begin + count), planes))
    return parts, place


def check_updates(config, scalars, dim, storage, compute, weighted, clip, l2, sums=None):
    config = replace(config, l2=l2)
    generator, unit, inverse_scale = np.random.default_rng(3), UNIT[compute], 2.0**-20 if sums else 1.0
    table = new_table(config, scalars, dim, storage, compute, sums)
    parts, width = parts_of(config, scalars, dim)
    pool = generator.integers(1, 2**64, 211, dtype=np.uint64)
    counts, steps, zeros = dict.fromkeys(pool.tolist(), 0), {}, 0
    for step in (0, 3, 4, 9):
        keys = generator.choice(pool, 101)
        _, first = np.unique(keys, return_index=True)
        distinct = keys[np.sort(first)].tolist()  # places are numbered by first appearance
        shard = look_up(table, keys, step, generator.random(len(keys)).astype(np.float32) if weighted else None)
        n, before = len(distinct), by_key(table)
        arrays = list(shard.sums)
        assert [one is not None for one in arrays] == [bool(scalars), bool(dim), bool(dim and weighted)]
        for one in arrays:
            if one is not None:
                assert one.dtype == (sums or compute) and len(one) == n and not one.any()
                drawn = generator.standard_normal(one.shape) * np.exp(generator.standard_normal(one.shape) * 2)
                drawn[0] = 0  # a gradient of zero
                one[...] = np.rint(drawn / inverse_scale) if sums else drawn
        # a fixed-point sum is rounded to the compute type
        exact = [
            None if one is None else Rounded(one * inverse_scale, np.abs(one * inverse_scale) * unit * bool(sums), unit)
            for one in arrays
        ]
        gradients = [gradient_of(exact, c, weighted, before[key], scalars, unit) for c, key in enumerate(distinct)]
        check_norms(table, shard, arrays, gradients, inverse_scale)
        table.update([shard], step, clip, inverse_scale)

        assert not any(one.any() for one in arrays if one is not None)  # zero for the next batch
        after = by_key(table)
        for key in before.keys() - set(distinct):  # Adam's moments too: lazy
            assert np.array_equal(after[key], before[key])
        for key, of_parts in zip(distinct, gradients, strict=True):
            counts[key] += 1
            steps[key] = step
            for (weights, planes), gradient in zip(parts, of_parts, strict=True):
                w, state = Rounded(before[key][weights]), [Rounded(before[key][plane]) for plane in planes]
                g = Rounded.constant(clip, unit) * gradient
                if config.name != "ftrl":
                    g = g + Rounded.constant(l2, unit) * w
                new, new_state = formula(config, step, unit, w, g, state, config.l1, l2)
                assert new.stored(UNIT[storage]).holds(after[key][weights])
                for plane, expected in zip(planes, new_state, strict=True):
                    assert expected.stored(UNIT[storage]).holds(after[key][plane])
                if config.name == "ftrl":
                    zeros += exact_zeros(config, new_state[0], after[key][weights])
    assert (zeros > 20) == (config.name == "ftrl")
    rows = table.export()
    assert rows.numbers.shape[1] == width
    assert rows.counts.tolist() == [counts[key] for key in rows.keys.tolist()]
    assert rows.steps.tolist() == [steps[key] for key in rows.keys.tolist()]
    assert rows.fields.tolist() == [key >> 32 & 0xFFFF for key in rows.keys.tolist()]  # an update leaves the rest alone


def gradient_of(sums, c, weighted, row, scalars, unit):
    """Gradients of the parts of row c: of the linear weight, of the embedding."""
    at = lambda one: Rounded(one.value[c], one.error[c], unit)  # noqa: E731
    scalar, vector, own = sums
    if not weighted:
        own = scalar  # every value is 1: the sums of g x and of g x^2 are the same
    parts = [] if scalar is None else [Rounded([scalar.value[c]], [scalar.error[c]], unit)]
    if vector is not None:
        v = Rounded(row[scalars : scalars + vector.value.shape[1]])
        parts.append(at(vector) if own is None else at(vector) - at(own) * v)
    return parts


def check_norms(table, shard, arrays, gradients, inverse_scale):
    """Of all rows, and of each, when the others have no gradient."""
    present = [one for one in arrays if one is not None]
    before, norms = [one.copy() for one in present], []
    of_all = total(table.square_norm([shard], inverse_scale)())
    for one, held in zip(present, before, strict=True):
        assert np.array_equal(one, held)
    for c, parts in enumerate(gradients):
        for one, held in zip(present, before, strict=True):
            one[...] = 0
            one[c] = held[c]
        norms.append(total(table.square_norm([shard], inverse_scale)()))
        expected = sum((g.value**2).sum() for g in parts)
        error = sum((2 * np.abs(g.value) * g.error + g.error**2).sum() for g in parts)  # squared and added in float64
        assert abs(norms[-1] - expected) <= error + 1e-14 * expected
    assert of_all == math.fsum(norms)
    for one, held in zip(present, before, strict=True):
        one[...] = held


@pytest.mark.thorough(20)
@rules
@pytest.mark.parametrize("clip, l2", [PLAIN, REGULARISED], ids=["plain", "clip and l2"])
@pytest.mark.parametrize("weighted", [False, True], ids=["ones", "values"])
@pytest.mark.parametrize(
    ("storage", "compute"), [("float32", "float32"), ("float32", "float64"), ("float64", "float64")]
)
def test_rows_with_linear_weight_and_embedding(config, storage, compute, weighted, clip, l2):
    check_updates(config, 1, 5, storage, compute, weighted, clip, l2)


@rules
@pytest.mark.parametrize("clip, l2", [PLAIN, REGULARISED], ids=["plain", "clip and l2"])
def test_rows_of_one_linear_weight(config, clip, l2):
    check_updates(config, 1, 0, "float32", "float32", True, clip, l2)


@rules
@pytest.mark.parametrize("clip, l2", [PLAIN, REGULARISED], ids=["plain", "clip and l2"])
def test_rows_of_an_embedding_alone(config, clip, l2):
    check_updates(config, 0, 5, "float32", "float32", False, clip, l2)


@pytest.mark.thorough(3)
@rules
@pytest.mark.parametrize("compute", ["float32", "float64"])
def test_sums_in_fixed_point(config, compute):
    check_updates(config, 1, 5, "float32", compute, True, *REGULARISED, sums="int64")


@pytest.mark.parametrize("dim", [4, 16, 33])
def test_one_accumulator_for_an_embedding(dim):
    check_updates(CONFIGS["rowwise_adagrad"], 1, dim, "float32", "float32", True, *PLAIN)


@pytest.mark.parametrize("scalars, dim", [(1, 5), (0, 5), (1, 0)])
@rules
def test_first_state_of_rows(config, scalars, dim):
    config = replace(config, l2=0.25)
    table, keys = new_table(config, scalars, dim, "float32", "float32"), np.arange(1, 60, dtype=np.uint64)
    look_up(table, keys, 4)
    parts, width = parts_of(config, scalars, dim)
    numbers = table.export().numbers
    assert numbers.shape[1] == width
    for weights, planes in parts:
        w = numbers[:, weights].astype(np.float64)
        assert w.any() == (weights.start == scalars)  # linear weights start at zero
        starts = {"adagrad": [0.1], "rowwise_adagrad": [0.2], "adam": [0, 0], "sgd": []}.get(config.name)
        if config.name == "ftrl":
            # z for which -(z - sign(z) l1) / ((beta + sqrt(n)) / alpha + l2) is w
            starts = [-w * ((0.5 + np.sqrt(0.3)) / 0.1 + 0.25) - np.sign(w) * 1.5, 0.3]
        for plane, start in zip(planes, starts, strict=True):
            assert np.abs(numbers[:, plane] - start).max() <= 2.0**-24 * np.abs(start).max()


@pytest.mark.parametrize("storage", ["float32", "float64"])
@pytest.mark.parametrize("l1, l2, beta, start", [(0.0, 0.0, 1.0, 0.0), (3.0, 0.5, 0.5, 0.3), (0.1, 0.0, 0.0, 4.0)])
def test_ftrl_keeps_the_random_start_of_embeddings(l1, l2, beta, start, storage):
    config = OptimizerConfig(name="ftrl", learning_rate=0.1, l1=l1, l2=l2, beta=beta, initial_accumulator=start)
    table, keys = new_table(config, 1, 5, storage, storage), np.arange(1, 2000, dtype=np.uint64)
    shard = look_up(table, keys, 0)
    before = table.export().numbers[:, :6]
    assert (before[:, 1:] != 0).all() and not before[:, 0].any()
    table.update([shard], 0)  # every gradient is zero
    after = table.export().numbers[:, :6]
    # z is up to l1 + |w| denominator and rounded twice, then the difference to l1 is divided
    denominator = (beta + np.sqrt(start)) / 0.1 + l2
    assert np.abs(after - before).max() <= UNIT[storage] * (3 * l1 / denominator + 8 * np.abs(before).max())
    assert not after[:, 0].any() and not np.signbit(after[:, 0]).any()


@rules
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dense_parameters(config, dtype):
    """The same formulas without l1 and l2, and with one accumulator per weight."""
    generator, unit, clip = np.random.default_rng(4), UNIT[dtype], 0.5
    shapes = {"bias": (), "weights": (3,), "none": (0,), "factors": (3, 5)}
    parameters = Parameters(open_backend("cpu", 1), shapes, dtype, open_optimizer(replace(config, l2=0.5)))
    assert parameters.names() == list(shapes.items())
    planes = PLANES[config.name]
    assert not parameters.values.any() and parameters.state.shape == (19 * planes,) and parameters.state.dtype == dtype
    parameters["factors"][...] = first = generator.standard_normal((3, 5)).astype(dtype)
    parameters.begin_state()
    config = replace(config, name="adagrad") if config.name == "rowwise_adagrad" else config
    for step in (0, 1, 7):
        before = {name: array.copy() for name, array in parameters.arrays().items()}
        gradients = {name: generator.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}
        if step == 0:
            gradients = {name: np.zeros(shape, dtype) for name, shape in shapes.items()}
        for name, gradient in gradients.items():
            parameters.gradient_of(name)[...] = gradient
        flat = np.concatenate([gradient.ravel() for gradient in gradients.values()]).astype(np.float64)
        assert parameters.square_norm() == pytest.approx(flat @ flat, rel=1e-14)
        parameters.update(step, clip)
        state = [Rounded(plane) for plane in before["state"].reshape(planes, 19)]
        g = Rounded.constant(clip, unit) * Rounded(flat)
        new, new_state = formula(config, step, unit, Rounded(before["values"]), g, state, 0.0, 0.0)
        assert new.holds(parameters.values)
        for plane, expected in zip(parameters.state.reshape(planes, 19), new_state, strict=True):
            assert expected.holds(plane)
        if step == 0:  # a state that does not know the first values would undo them
            assert np.abs(parameters["factors"] - first).max() <= 8 * unit * np.abs(first).max()
        joined = np.concatenate([parameters[name].ravel() for name in shapes])
        assert np.array_equal(joined, parameters.values) and np.shares_memory(parameters["factors"], parameters.values)
        assert [parameters[name].shape for name in shapes] == list(shapes.values())


def test_reduction():
    auto = {name: open_optimizer(config).reduction for name, config in CONFIGS.items()}
    assert auto == {"sgd": "mean", "adam": "mean", "adagrad": "sum", "rowwise_adagrad": "sum", "ftrl": "sum"}
    for config in CONFIGS.values():
        for reduction in ("sum", "mean"):
            assert open_optimizer(replace(config, reduction=reduction)).reduction == reduction


@pytest.mark.parametrize("number", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["sgd", "adagrad", "rowwise_adagrad", "adam"])
def test_the_rate_follows_the_schedule(name, number):
    config = replace(CONFIGS[name], warmup_steps=4, decay="linear")
    optimizer = open_optimizer(config, total_steps=14)
    for step, part in ((0, 0.25), (2, 0.75), (3, 1.0), (4, 1.0), (9, 0.5), (13, 0.1), (20, 0.0)):
        for rule in (optimizer.rule(step, number), optimizer.dense_rule(step, number)):
            assert rule.rate == pytest.approx(config.learning_rate * part, rel=1e-7) and type(rule.rate) is number


def test_clipping_to_a_norm():
    optimizer = open_optimizer(OptimizerConfig(clip_norm=2.0))
    assert [optimizer.clip(norm**2) for norm in (0.0, 0.5, 2.0, 4.0, 8.0)] == [1.0, 1.0, 1.0, 0.5, 0.25]
    assert open_optimizer(OptimizerConfig()).clip(1e12) == 1.0
