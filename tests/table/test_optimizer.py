"""SGD and Adagrad of rows and of dense parameters against a float64 loop over a dictionary of rows.

Each step starts from the stored rows, so its error is that of a few roundings:  u, us : unit roundoff of the compute
and of the storage type.  A gradient S - q v is rounded once in the kernel, while the float64 reference rounds each of
its terms.  The tolerances add up the roundings of the rule that follows.
"""

from types import SimpleNamespace

import numpy as np
import pytest

from deshpc.backend.open import open_backend
from deshpc.config import OptimizerConfig
from deshpc.hashing.partition import KeyPartition
from deshpc.nn.parameters import Parameters
from deshpc.table.optimizer import Adagrad, Sgd, open_optimizer
from deshpc.table.routing import OwnedKeys
from deshpc.table.table import Table

ADAGRAD, SGD = Adagrad(rate=0.05, state_start=0.1, epsilon=1e-3), Sgd(rate=0.3)
UNIT = {"float32": 2.0**-24, "float64": 2.0**-53}


def expected(rule, weight, state, terms, compute, storage):
    """((weight, its tolerance), (state, its tolerance)) after one update by the gradient sum(terms), in float64."""
    u, us = UNIT[compute], UNIT[storage]
    rounded = np.dtype(compute).type  # the rule's numbers are those of the compute type
    rate = float(rounded(rule.rate))
    g = sum(terms)
    g_error = u * abs(g) + 2 * UNIT["float64"] * sum(map(abs, terms))
    if isinstance(rule, Sgd):
        new = weight - rate * g
        return (new, (us + 2 * u) * abs(new) + rate * (g_error + 2 * u * abs(g))), None
    total = state + g * g
    root = np.sqrt(total) + float(rounded(rule.epsilon))
    new = weight - rate * g / root
    # g^2, its sum; then rate g, the root of a sum with an error, + epsilon, the quotient, the difference
    total_error = (us + 4 * u) * total + 2 * abs(g) * g_error
    move_error = rate / root * (g_error + 8 * u * abs(g))
    return (new, (us + 2 * u) * abs(new) + 2 * move_error), (total, total_error)


def check_update(rule, scalars, dim, storage, compute, weighted):
    generator = np.random.default_rng(3)
    backend = open_backend("cpu", 1)
    table = Table(
        backend, SimpleNamespace(rank=0, size=1), KeyPartition(1, 1), scalars, dim, storage, compute, rule,
        seed=5, init_std=0.5,
    )  # fmt: skip
    pool = generator.integers(1, 2**64, 211, dtype=np.uint64)
    counts, steps = dict.fromkeys(pool.tolist(), 0), {}
    for step in (3, 4, 9):
        keys = generator.choice(pool, 101)
        _, first = np.unique(keys, return_index=True)
        distinct = keys[np.sort(first)].tolist()  # places are numbered by first appearance
        values = generator.random(len(keys)).astype(np.float32) if weighted else None
        owned = OwnedKeys(np.array([0, len(keys)]), keys, (keys % 65_521).astype(np.uint16), None, values)
        (shard,) = table.lookup(SimpleNamespace(shards=[owned], step=step), insert=True)
        n, before = len(distinct), by_key(table)

        def draw(*shape):
            sums = generator.standard_normal(shape) * np.exp(generator.standard_normal(shape) * 2)
            sums[0] = 0  # a gradient of zero moves nothing
            return sums.astype(compute)

        sums = [shard.scalar_sums, shard.vector_sums, shard.self_sums]
        assert [one is not None for one in sums] == [bool(scalars), bool(dim), bool(dim and weighted)]
        for one in sums:
            if one is not None:
                assert one.dtype == compute and len(one) == n and not one.any()
                one[...] = draw(*one.shape)
        scalar, vector, own = (None if one is None else one.astype(np.float64) for one in sums)
        if own is None and dim and scalars:
            own = scalar  # every value is 1: the sums of g x and of g x^2 are the same
        table.update([shard], step)

        assert not any(one.any() for one in sums if one is not None)  # zero for the next batch
        after = by_key(table)
        for key in before.keys() - set(distinct):
            assert np.array_equal(after[key], before[key])
        for c, key in enumerate(distinct):
            counts[key] += 1
            steps[key] = step
            row = before[key].astype(np.float64)
            weights, state = row[: scalars + dim], row[scalars + dim :]
            for i, weight in enumerate(weights):
                embedding = i - scalars
                if embedding < 0:
                    terms = [scalar[c]]
                else:
                    terms = [vector[c, embedding]] + ([] if own is None else [-own[c] * weight])
                results = expected(rule, weight, state[i] if len(state) else None, terms, compute, storage)
                for place, result in zip((i, scalars + dim + i), results, strict=True):
                    if result is not None:
                        assert abs(float(after[key][place]) - result[0]) <= result[1]
    rows = table.export()
    assert rows.numbers.shape[1] == (scalars + dim) * (2 if rule is ADAGRAD else 1)
    assert rows.counts.tolist() == [counts[key] for key in rows.keys.tolist()]
    assert rows.steps.tolist() == [steps[key] for key in rows.keys.tolist()]
    assert rows.fields.tolist() == [key % 65_521 for key in rows.keys.tolist()]  # an update leaves the rest alone


def by_key(table):
    rows = table.export()
    return dict(zip(rows.keys.tolist(), rows.numbers, strict=True))


rules = pytest.mark.parametrize("rule", [SGD, ADAGRAD], ids=["sgd", "adagrad"])


@rules
@pytest.mark.parametrize("weighted", [False, True], ids=["ones", "values"])
@pytest.mark.parametrize(
    ("storage", "compute"), [("float32", "float32"), ("float32", "float64"), ("float64", "float64")]
)
def test_rows_with_linear_weight_and_embedding(rule, storage, compute, weighted):
    check_update(rule, 1, 5, storage, compute, weighted)


@rules
def test_rows_of_one_linear_weight(rule):
    check_update(rule, 1, 0, "float32", "float32", weighted=True)


@rules
def test_rows_of_an_embedding_alone(rule):
    check_update(rule, 0, 5, "float32", "float32", weighted=False)


@rules
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dense_parameters(rule, dtype):
    generator = np.random.default_rng(4)
    shapes = {"bias": (), "weights": (3,), "none": (0,), "factors": (3, 5)}
    parameters = Parameters(shapes, dtype, rule)
    assert parameters.names() == list(shapes.items())
    assert not parameters.values.any() and (parameters.state == np.dtype(dtype).type(rule.state_start)).all()
    assert len(parameters.state) == (19 if rule is ADAGRAD else 0)
    parameters["factors"][...] = generator.standard_normal((3, 5))
    for _ in range(3):
        before = {name: array.copy() for name, array in parameters.arrays().items()}
        gradients = {name: generator.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}
        for name, gradient in gradients.items():
            parameters.gradient_of(name)[...] = gradient
        flat = np.concatenate([gradient.ravel() for gradient in gradients.values()])
        parameters.update()
        for i, g in enumerate(flat.astype(np.float64)):
            state = float(before["state"][i]) if rule is ADAGRAD else None
            results = expected(rule, float(before["values"][i]), state, [g], dtype, dtype)
            for array, result in zip((parameters.values, parameters.state), results, strict=True):
                if result is not None:
                    assert abs(float(array[i]) - result[0]) <= result[1]
        joined = np.concatenate([parameters[name].ravel() for name in shapes])
        assert np.array_equal(joined, parameters.values) and np.shares_memory(parameters["factors"], parameters.values)
        assert [parameters[name].shape for name in shapes] == list(shapes.values())


def test_the_rule_that_a_configuration_names():
    assert open_optimizer(OptimizerConfig(name="sgd", learning_rate=0.5)) == Sgd(0.5, "mean")
    assert open_optimizer(OptimizerConfig(name="sgd", reduction="sum")).reduction == "sum"
    config = OptimizerConfig(name="adagrad", learning_rate=0.5, initial_accumulator=0.25, epsilon=0.125)
    assert open_optimizer(config) == Adagrad(0.5, 0.25, 0.125, "sum")
    assert open_optimizer(OptimizerConfig(name="adagrad", reduction="mean")).reduction == "mean"
