"""Deep models: N ranks compute what one computes, whatever the exchange, the routing, the update rule and the layers.

Each rank also trains alone (COMM_SELF) on the same awkward global batches, some of them of several blocks.  In float64 keys,
fields, counts and last steps are equal after twenty steps, losses, rows, dense parameters and logits of later batches close:
max|delta| / max|reference| of each array; all ranks hold the same bits of the dense parameters.  In float32 one step from equal
weights is close, and what is learnt in three epochs ranks samples as well.  In fixed point everything has the same bits.

What is combined is in WAYS and OPTIONS: a new way to share the work out is a line of WAYS.
"""

from functools import cache
from itertools import product
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from deep_training import (
    ACTIVATIONS,
    MODELS,
    NORMALISATIONS,
    all_pairs,
    deep_config,
    joined,
    named,
    pairs_of,
    pairwise,
    randomise,
)
from mpi4py import MPI
from small_training import EXCHANGES, ROUTINGS, RULES, Trained, all_rows, all_samples, insert, reads, score, small_model
from synthetic_batches import FIELD_NAMES, N_FIELDS, awkward_batches, keys_of, plain_batch

from deshpc.comm.group import Group
from deshpc.errors import ConfigError
from deshpc.model.build import build_model
from deshpc.training.step import step

pytestmark = [pytest.mark.mpi, pytest.mark.in_turns]

FIRST_LAYER, BY_FIELD = ("wide_deep", "deepfm", "dcn"), tuple(kind for kind in MODELS if kind != "nfm")
BY_COLUMN = (*FIRST_LAYER, "dlrm", "xdeepfm")
PUSHED_DOWN = {"first_layer": "pushed_down"}


class Way(NamedTuple):
    """Options of [train] and [model] that say how ranks share the work, and the models that know this way."""

    train: dict
    model: dict = {}
    kinds: tuple = tuple(MODELS)


ALONE = Way({})
WAYS = {f"{exchange}, {routing}": Way({"exchange": exchange, "routing": routing}) for exchange, routing in product(EXCHANGES, ROUTINGS)} | {
    "pushed down, allreduce": Way({"exchange": "allreduce", "routing": "routed"}, PUSHED_DOWN, FIRST_LAYER),
    "pushed down, reduce_scatter": Way({"exchange": "reduce_scatter", "routing": "broadcast"}, PUSHED_DOWN, FIRST_LAYER),
    "by field, pooled, routed": Way({"split": "field", "exchange": "pooled", "routing": "routed"}, {}, BY_FIELD),
    "by field, pooled, broadcast": Way({"split": "field", "exchange": "pooled", "routing": "broadcast"}, {}, BY_FIELD),
    "by field, rows": Way({"split": "field", "exchange": "rows", "routing": "routed"}),
    "by field, allreduce": Way({"split": "field", "exchange": "allreduce", "routing": "broadcast"}, {}, ("nfm",)),
    "by field, pushed down": Way({"split": "field", "exchange": "reduce_scatter", "routing": "routed"}, PUSHED_DOWN, FIRST_LAYER),
    "by field, pushed down, allreduce": Way({"split": "field", "exchange": "allreduce", "routing": "broadcast"}, PUSHED_DOWN, FIRST_LAYER),
    "by column": Way({"split": "column", "exchange": "reduce_scatter", "routing": "broadcast"}, {}, BY_COLUMN),
    "by column, allreduce": Way({"split": "column", "exchange": "allreduce", "routing": "broadcast"}, {}, BY_COLUMN),
}  # fmt: skip
FEW_WAYS = ("allreduce, broadcast", "reduce_scatter, routed", "rows, routed", "by field, pooled, routed", "pushed down, allreduce", "by column")


def goes(one):
    """Whether a part of a combination is one that exists."""
    if "way" not in one:
        return True
    by_column = one["way"].startswith("by column")
    batch_of_dlrm = one.get("kind") == "dlrm" and one.get("normalisation") == "batch"
    return one.get("kind", WAYS[one["way"]].kinds[0]) in WAYS[one["way"]].kinds and not (
        by_column and (one.get("rule") == "rowwise_adagrad" or batch_of_dlrm)
    )


OF_RULES = {**RULES, "sgd": {"name": "sgd", "learning_rate": 0.05}}  # products of products diverge at RULES' rate
LAYERS = {"normalisation": NORMALISATIONS, "activation": ACTIVATIONS, "dropout": (0.0, 0.3)}
OPTIONS = {
    "kind": tuple(MODELS), "way": tuple(WAYS), "rule": ("sgd", "adagrad", "adagrad, clipped", "rowwise_adagrad", "adam", "ftrl"),
    **LAYERS, "weighted": (0, 1, 2), "threads": (1, 2), "n_dense": (2, 0),
}  # fmt: skip

# Of each array's largest number, on 4 ranks.
TOLERANCE = 1e-11  # float64, twenty steps: measured 3.5e-12 at most, of logits; 5e-13 of what is learnt
ONE_STEP = {"loss": 1e-6, "rows": 5e-5, "dense parameters": 1e-5}
"""float32: measured 1.3e-8, 1.2e-5 (layer normalisation of a few units amplifies rounding, by column) and 2.3e-7."""
SAME_AUC = {"float64": 1e-6, "float32": 5e-4}  # measured 0 and 2.9e-4; one pair in the other order is 4e-6
RESOLUTION = 1e-8  # of fixed point, in five steps: 2^-33 a term of a partial: measured 8e-10 at most


def batches_of(weighted, n_dense=2, seed=21, steps=20):
    """(batches to learn from, some of them of 3 and 5 blocks, batches to evaluate)."""
    *batches, last = awkward_batches(seed, steps + 1, weighted, n_dense)
    batches[1] = joined(batches[:2], step=1)
    batches[15] = joined(batches[12:16], step=15)
    return batches, [last, batches[3], batches[15]]


def train(comm, config, batches, later, threads=1):
    """(Trained, [logits of `later`]) of a new model.  Collective."""
    with small_model(comm, config, threads, batches[0].dense.shape[1]) as model:
        losses = np.array([step(model, reads(model, batch)) for batch in batches])
        logits = [all_samples(model, score(model, reads(model, batch))) for batch in later]
        return Trained(losses, all_rows(model), model.dense_sums.whole_arrays()["values"], model.group.ledger.entries()), logits


def config_of(one, rule=(), precision="float64", way=ALONE, **options):
    """The Config of a combination, for `rule`, a Way and further options of [train]."""
    layers = {name: one[name] for name in LAYERS if name in one}
    return deep_config(one["kind"], precision, rule, layers | way.model, **way.train, **options)


def difference(actual, expected):
    """max|delta| / max|reference|."""
    assert actual.shape == expected.shape and actual.dtype == expected.dtype
    return np.abs(actual.astype(np.float64) - expected).max(initial=0) / max(np.abs(expected).max(initial=0), 1e-300)


def numbers_of(trained, logits, config):
    """{name: array} of what is compared, each by its own largest number: weights, and state by columns."""
    rows = trained.rows.numbers
    weights = config.model.dim + (config.model.name not in ("dcn", "dcnv2", "dlrm"))
    first = weights - config.model.dim
    state = {f"state {column}": rows[:, column] for column in range(weights, rows.shape[1])}
    return {
        "losses": trained.losses, "linear weights": rows[:, :first], "embeddings": rows[:, first:weights],
        "dense parameters": trained.parameters, "logits": np.concatenate(logits), **state,
    }  # fmt: skip


def test_all_pairs_of_options_meet():
    combined = pairwise(OPTIONS, goes)
    assert set().union(*map(pairs_of, combined)) == {pair for pair in all_pairs(OPTIONS) if goes(dict(pair))}
    assert all(map(goes, combined))


@pytest.mark.thorough(16)
@pytest.mark.parametrize("one", pairwise(OPTIONS, goes), ids=named)
def test_twenty_steps_in_float64(world, one):
    batches, later = batches_of(one["weighted"], one["n_dense"])
    expected, expected_logits = train(MPI.COMM_SELF, config_of(one, OF_RULES[one["rule"]]), batches, later)
    config = config_of(one, OF_RULES[one["rule"]], way=WAYS[one["way"]])
    trained, logits = train(world, config, batches, later, one["threads"])
    for part in ("keys", "fields", "counts", "steps"):
        assert np.array_equal(getattr(trained.rows, part), getattr(expected.rows, part)), part
    reference = numbers_of(expected, expected_logits, config)
    for name, array in numbers_of(trained, logits, config).items():
        error = difference(array, reference[name])
        assert error <= TOLERANCE, f"{name}: {error:.1e}"
    for losses, parameters in world.allgather((trained.losses, trained.parameters)):
        assert np.array_equal(losses, trained.losses) and np.array_equal(parameters, trained.parameters)


def one_step(comm, config, threads, batch):
    """{what: loss, gradients of rows and of dense parameters} of a batch, from weights that are a function of the keys, by a step
    of plain gradient descent.  Collective."""
    with small_model(comm, config, threads) as model:
        insert(model, reads(model, batch))  # inserts the keys
        randomise(model)
        before = all_rows(model).numbers, model.dense_sums.whole_arrays()["values"]
        loss = step(model, reads(model, batch))
        rows, dense = all_rows(model).numbers, model.dense_sums.whole_arrays()["values"]
        return {"loss": np.array([loss]), "rows": before[0] - rows, "dense parameters": before[1] - dense}


@pytest.mark.thorough(4)
@pytest.mark.parametrize("one", pairwise({"kind": tuple(MODELS), "way": FEW_WAYS, **LAYERS, "threads": (1, 2)}, goes), ids=named)
def test_one_step_in_float32(world, one):
    batch, rule = joined(awkward_batches(23, steps=2)), {"name": "sgd", "learning_rate": 1.0, "reduction": "sum"}
    expected = one_step(MPI.COMM_SELF, config_of(one, rule, "float32"), 1, batch)
    found = one_step(world, config_of(one, rule, "float32", WAYS[one["way"]]), one["threads"], batch)
    for name, array in found.items():
        error = difference(array, expected[name])
        assert error <= ONE_STEP[name], f"{name}: {error:.1e}"


VALUES = 30  # of each field


def learnable(seed, steps, samples):
    """Batches of one key a field, whose labels follow weights of single values and of pairs of them."""
    hidden, rng = np.random.default_rng(5), np.random.default_rng(seed)
    single, vectors = hidden.standard_normal((N_FIELDS, VALUES)), hidden.standard_normal((N_FIELDS, VALUES, 2))
    batches, fields = [], np.tile(np.arange(N_FIELDS), samples)
    for number in range(steps):
        chosen = (VALUES * rng.random((samples, N_FIELDS)) ** 1.5).astype(np.int64)
        of_fields = np.arange(N_FIELDS), chosen
        v = vectors[of_fields]
        logits = 0.6 * single[of_fields].sum(axis=1) + 0.25 * ((v.sum(axis=1) ** 2).sum(axis=1) - (v**2).sum(axis=(1, 2)))
        labels = rng.random(samples) < 1 / (1 + np.exp(-logits))
        dense = np.column_stack([logits + 3 * rng.standard_normal(samples), rng.standard_normal(samples)])
        batches.append(
            plain_batch(number, np.full(samples, N_FIELDS), keys_of(fields, chosen.ravel()), fields, None, dense, labels)
        )
    return batches


@cache
def epochs():
    """(three epochs of batches to learn from, batches to evaluate)."""
    once = learnable(1, 6, 250)
    three = [joined([batch], step=6 * epoch + i) for epoch in range(3) for i, batch in enumerate(once)]
    return three, learnable(2, 2, 500)


def area(logits, batches):
    """AUC by its definition: pairs of a positive and a negative in the right order, equal ones one half."""
    scores, labels = np.concatenate(logits), np.concatenate([batch.labels for batch in batches])
    positives, negatives = scores[labels == 1], scores[labels == 0]
    above = (positives[:, None] > negatives).mean() + 0.5 * (positives[:, None] == negatives).mean()
    return float(above)


@pytest.mark.thorough(4)
@pytest.mark.parametrize(
    "one", pairwise({"kind": tuple(MODELS), "way": FEW_WAYS[:3], "precision": tuple(SAME_AUC), **LAYERS}), ids=named
)
def test_what_is_learnt_ranks_as_well(world, one):
    """Element by element, float32 drifts apart in many steps; what it has learnt does not."""
    batches, test = epochs()
    rule = {"name": "adagrad", "learning_rate": 0.1}
    areas = []
    for comm, way, threads in ((MPI.COMM_SELF, ALONE, 1), (world, WAYS[one["way"]], 2)):
        trained, logits = train(comm, config_of(one, rule, one["precision"], way), batches, test, threads)
        areas.append(area(logits, test))
        assert trained.losses[-6:].sum() < 0.97 * trained.losses[:6].sum()
    assert areas[0] > 0.62, areas
    assert abs(areas[0] - areas[1]) <= SAME_AUC[one["precision"]], areas


FIXED = {
    "kind": tuple(MODELS), "way": tuple(way for way in WAYS if "pushed down" not in way and "by column" not in way), **LAYERS,
    "weighted": (0, 1, 2), "precision": ("float32", "float64"), "threads": (1, 2),
}  # fmt: skip


@pytest.mark.thorough(8)
@pytest.mark.parametrize("one", pairwise(FIXED, goes), ids=named)
def test_fixed_point_has_the_same_bits(world, one):
    """Losses, rows, dense parameters and logits, of ranks that divide the sixteen parts of a batch; of all, where each does all."""
    batches, later = batches_of(one["weighted"], seed=25)
    found, rule = [], RULES["adagrad, clipped"]
    for comm, way, threads in ((MPI.COMM_SELF, ALONE, 1), (world, WAYS[one["way"]], one["threads"])):
        config = config_of(one, rule, one["precision"], way, accumulate="int64")
        if 16 % comm.size and config.train.exchange != "allreduce":
            with pytest.raises(ConfigError, match=f"{comm.size} ranks do not divide them; choose one of 1, 2, 4, 8, 16 ranks, or"):
                train(comm, config, batches, later, threads)
            return
        trained, logits = train(comm, config, batches, later, threads)
        found.append((trained.digest(), trained.losses.tobytes(), np.concatenate(logits).tobytes()))
        assert np.isfinite(trained.losses).all() and len(trained.rows) > 500
    assert found[0] == found[1]
    assert len(set(world.allgather(found[1]))) == 1


@pytest.mark.thorough
@pytest.mark.parametrize("exchange", EXCHANGES)
def test_fixed_point_of_several_tables_has_the_same_bits(world, exchange):
    """Fields with embedding dimensions of their own."""
    batches, found = awkward_batches(28, steps=8, weighted=1), []
    model = {"fields": [{"name": FIELD_NAMES[0], "dim": 2}, {"name": FIELD_NAMES[1], "dim": 9}], "normalisation": "batch"}
    for comm, threads in ((MPI.COMM_SELF, 1), (world, 2)):
        by = exchange if 16 % comm.size == 0 else "allreduce"
        config = deep_config(("wide_deep", "dcn", "dcnv2")[EXCHANGES.index(exchange)], "float32", (), model, accumulate="int64", exchange=by)
        trained, logits = train(comm, config, batches, batches[:2], threads)
        found.append((trained.digest(), trained.losses.tobytes(), np.concatenate(logits).tobytes()))
    assert found[0] == found[1]


@pytest.mark.parametrize("kind", MODELS)
def test_fixed_point_is_floating_point_to_the_resolution_of_the_sums(world, kind):
    batches, later = awkward_batches(26, steps=5), awkward_batches(26, steps=6)[5:]
    found = [train(world, deep_config(kind, exchange="allreduce", **kinds), batches, later) for kinds in ({}, {"accumulate": "int64"})]
    names = [numbers_of(*one, deep_config(kind)) for one in found]
    for name, array in names[0].items():
        assert difference(names[1][name], array) <= RESOLUTION, name
    assert found[0][0].digest() != found[1][0].digest()  # it is rounded indeed


@pytest.mark.parametrize("way", [way for way in WAYS if "pushed down" in way or "by column" in way])
def test_fixed_point_is_refused_where_owners_multiply(world, way):
    """Products of other sums would round otherwise: an error that says so, on every rank."""
    for kind in WAYS[way].kinds:
        config = deep_config(kind, model=WAYS[way].model, accumulate="int64", **WAYS[way].train)
        with (
            pytest.raises(ConfigError, match="'int64' does not go with .*other rows, so products round differently; choose"),
            small_model(world, config),
        ):
            raise AssertionError("was built")


DEVICE_LACKS = {
    "train.split = 'column'": {"split": "column", "routing": "broadcast"},
    "model.first_layer = 'pushed_down' with train.split = 'field'": {"split": "field", "model": PUSHED_DOWN},
    "model.fields: the occurrences of replicated fields": {"model": {"fields": [{"name": "alpha", "replicated": True}]}},
    "model.fields: a device has one table": {"model": {"fields": [{"name": "alpha", "dim": 2}]}},
}


@pytest.mark.parametrize("what", DEVICE_LACKS)
def test_what_a_device_lacks_is_refused_with_the_reason(world, what):
    group, backend = Group(world), SimpleNamespace(name="cuda", threads=1)
    with pytest.raises(ConfigError, match=f"^{what}.*compute.backend = 'cuda' cannot do it yet, choose 'cpu'"):
        build_model(deep_config("wide_deep", **DEVICE_LACKS[what]), backend, group, N_FIELDS, 2, field_names=FIELD_NAMES)
    group.free()


@pytest.mark.parametrize("ranks_exchange", [("float64", "rows"), ("int64", "allreduce")])
def test_what_auto_means(world, ranks_exchange):
    accumulate, exchange = ranks_exchange
    batches = awkward_batches(27, steps=3)
    ledgers = [
        train(world, deep_config("deepfm", accumulate=accumulate, exchange=one), batches, [])[0].ledger for one in ("auto", exchange)
    ]
    assert ledgers[0] == ledgers[1]
