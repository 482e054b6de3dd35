"""Fields with embedding dimensions of their own: logits, gradients and updates are those of definitions, whatever N.

Logits and slopes come from `plain_deep`, updates from their formulas in NumPy, bytes from counting keys; N ranks compute what one
computes and read what other numbers of ranks have saved.  What has no use for several dimensions is refused with the reason.
"""

from dataclasses import asdict
from itertools import combinations, product

import numpy as np
import pytest
from deep_training import deep_config, dense_parameters, joined, named, pairwise, randomise
from mpi4py import MPI
from plain_deep import PlainDeep, log_loss
from plain_model import first_weights
from saved_models import assert_same_rows, manifest_of, some_ranks
from small_training import (
    DIM,
    EXCHANGES,
    INIT_STD,
    ROUTINGS,
    RULES,
    Trained,
    all_rows,
    all_samples,
    insert,
    reads,
    score,
    small_model,
    train_on,
)
from synthetic_batches import FIELD_NAMES, N_FIELDS, awkward_batches, share_of

from deshpc.checkpoint.load import load_model, row_blocks, verify
from deshpc.checkpoint.save import save_model
from deshpc.comm.group import Group
from deshpc.errors import ConfigError
from deshpc.model.build import build_model
from deshpc.planner.shape import run_of
from deshpc.training.step import step

pytestmark = [pytest.mark.mpi, pytest.mark.in_turns]

FIELDS = [{"name": "delta", "dim": 9}, {"name": "beta", "dim": 1}, {"name": "gamma"}, {"name": "epsilon", "dim": 1}]
DIMS = [5, 1, 5, 9, 1, 5]  # of every field: FIELDS, and DIM for the others
WIDEST = 9
KINDS = ("wide_deep", "dcn", "dcnv2", "dcnv2 of low rank")  # those that take all embeddings as one vector
LINEAR = ("wide_deep",)  # whose rows have a linear weight
WAYS = {
    f"{exchange}, {routing}": {"exchange": exchange, "routing": routing} for exchange, routing in product(EXCHANGES, ROUTINGS)
}
OF_RULES = {**RULES, "sgd": {"name": "sgd", "learning_rate": 0.05}}  # products of products diverge at RULES' rate
OPTIONS = {
    "kind": KINDS, "way": tuple(WAYS), "rule": ("sgd", "adagrad, clipped", "rowwise_adagrad", "adam", "ftrl"),
    "normalisation": ("none", "layer"), "weighted": (0, 1, 2), "threads": (1, 2), "n_dense": (2, 0),
}  # fmt: skip
TOLERANCE = 1e-11  # of each array's largest number, float64, twenty steps: measured 1.8e-13 at most, on 3 ranks


def config_of(kind, rule=(), precision="float64", model=(), **train):
    """A Config; rule, model : options of [optimizer] and [model]; others are those of [train]."""
    return deep_config(kind, precision, rule, {"fields": FIELDS, **dict(model)}, **train)


def numbers_of(rows, scalars, planes=0):
    """[(w (n), v (n, WIDEST), [state of w (n)], [state of v (n, WIDEST)])] of Rows, one pair of states a plane."""
    parts = np.split(rows.numbers, np.cumsum([scalars, WIDEST, planes * scalars] + [WIDEST] * planes)[:-1], axis=1)
    return parts[0], parts[1], parts[2], parts[3:]


def own_columns(rows):
    """(n, WIDEST) bool: the columns that a row has."""
    return np.arange(WIDEST) < np.array(DIMS)[rows.fields][:, None]


def plain_model(config, rows, parameters):
    """The PlainDeep of Rows and dense parameters."""
    scalars = int(config.model.name in LINEAR)
    w, v, _, _ = numbers_of(rows, scalars, (rows.numbers.shape[1] - scalars) // (WIDEST + scalars) - 1)
    known = {
        int(key): (one[0] if scalars else 0.0, numbers[: DIMS[field]])
        for key, field, one, numbers in zip(rows.keys, rows.fields, w, v, strict=True)
    }
    return PlainDeep({**asdict(config.model), "dims": DIMS}, N_FIELDS, known, parameters)


def difference(actual, expected):
    """max|delta| / max|reference|."""
    assert actual.shape == expected.shape and actual.dtype == expected.dtype
    return np.abs(actual - expected).max(initial=0) / max(np.abs(expected).max(initial=0), 1e-300)


FORWARD = {"kind": KINDS, "way": tuple(WAYS), "normalisation": ("none", "batch"), "weighted": (0, 1, 2), "threads": (1, 2)}


@pytest.mark.thorough(2)
@pytest.mark.parametrize("one", pairwise(FORWARD), ids=named)
def test_logits_are_those_of_the_definition(world, one):
    """Of batches of many and of no keys; in evaluation with keys that have no row."""
    config = config_of(one["kind"], model={"normalisation": one["normalisation"]}, **WAYS[one["way"]])
    batches = awkward_batches(41, 6, one["weighted"])
    with small_model(world, config, one["threads"]) as model:
        for batch in (batches[0], *batches[2:]):
            insert(model, reads(model, batch))
        randomise(model)
        rows = all_rows(model)
        assert len(set(rows.fields)) == N_FIELDS
        for batch in batches:
            expected = plain_model(config, rows, dense_parameters(model)).logits(batch, train=False)
            found = all_samples(model, score(model, reads(model, batch)))
            assert difference(found, expected) <= 1e-12
        assert not np.isin(batches[1].keys, rows.keys).all()
        assert_same_rows(all_rows(model), rows)


STEP = 1e-5


@pytest.mark.thorough(2)
@pytest.mark.parametrize("one", pairwise({"kind": KINDS, "way": tuple(WAYS), "weighted": (0, 2), "threads": (1, 2)}), ids=named)
def test_gradients_are_slopes_of_the_definition(world, one):
    """A step of rate 1 by the summed loss moves every number by minus its gradient, and none that a row does not have."""
    rule = {"name": "sgd", "learning_rate": 1.0, "reduction": "sum"}
    config = config_of(one["kind"], rule, model={"activation": "tanh"}, **WAYS[one["way"]])
    batch, rng = joined(awkward_batches(43, 2, one["weighted"])), np.random.default_rng(7)
    with small_model(world, config, one["threads"]) as model:
        insert(model, reads(model, batch))
        randomise(model)
        before, dense = all_rows(model), dense_parameters(model)
        loss = step(model, reads(model, batch))
        after, moved = all_rows(model), dense_parameters(model)
    assert abs(loss - log_loss(plain_model(config, before, dense).logits(batch, True), batch.labels)) <= 1e-11 * loss
    gradient, scalars = before.numbers - after.numbers, before.numbers.shape[1] - WIDEST
    of_rows = np.hstack([np.ones((len(before), scalars), bool), own_columns(before)])
    assert not gradient[~of_rows].any() and not before.numbers[~of_rows].any()

    def at(row_step, dense_step):
        rows = type(before)(before.keys, before.fields, before.counts, before.steps, before.numbers + row_step)
        parameters = {name: dense[name] + dense_step[name] for name in dense}
        return log_loss(plain_model(config, rows, parameters).logits(batch, True), batch.labels)

    row_way = np.where(of_rows, rng.standard_normal(gradient.shape), 0)
    row_way /= np.linalg.norm(row_way)
    dense_way = {name: rng.standard_normal(array.shape) for name, array in dense.items()}
    still = {name: np.zeros_like(array) for name, array in dense.items()}
    slope = (at(STEP * row_way, still) - at(-STEP * row_way, still)) / (2 * STEP)
    assert abs(slope - (gradient * row_way).sum()) <= 1e-7 * np.linalg.norm(gradient)  # measured 6e-9 at most
    forth, back = ({name: sign * STEP * way for name, way in dense_way.items()} for sign in (1, -1))
    slope = (at(0.0, forth) - at(0.0, back)) / (2 * STEP)
    of_dense = {name: dense[name] - moved[name] for name in dense}
    size = np.sqrt(sum(np.square(one).sum() for one in of_dense.values()) * sum(np.square(way).sum() for way in dense_way.values()))
    assert abs(slope - sum((of_dense[name] * dense_way[name]).sum() for name in dense)) <= 1e-7 * size


@pytest.mark.parametrize("kind", ["wide_deep", "dcnv2"])
@pytest.mark.parametrize("name", ["sgd", "adagrad", "rowwise_adagrad", "adam"])
def test_one_update_by_hand(world, name, kind):
    """New rows begin with the columns that they have, and every rule keeps its state for these; a row-wise mean is over these."""
    batch, rate, scalars = awkward_batches(44, 1)[0], 0.1, int(kind in LINEAR)
    found = []
    for rule in ({"name": "sgd", "learning_rate": 1.0}, {"name": name, "learning_rate": rate, "epsilon": 0.01, "initial_accumulator": 0.2}):
        with small_model(world, config_of(kind, {**rule, "reduction": "sum"}, exchange="rows")) as model:
            step(model, reads(model, batch))
            found.append(all_rows(model))
    by_sgd, rows = found
    own = own_columns(rows)
    first = np.array([first_weights(1, key, WIDEST, INIT_STD) for key in rows.keys.tolist()])
    v = np.where(own, first[:, 1:], 0)
    w, after, _, _ = numbers_of(by_sgd, scalars)
    g, gw = v - after, -w
    dims, epsilon = np.array(DIMS)[rows.fields][:, None], 0.01
    if name == "sgd":
        expected = [-rate * gw, v - rate * g]
    elif name == "adam":
        expected = [-rate * gw / (np.abs(gw) + epsilon), v - rate * g / (np.abs(g) + epsilon)]
        expected += [0.1 * gw, 0.001 * gw**2, 0.1 * g, 0.001 * g**2]
    else:
        of_w, of_v = 0.2 + gw**2, np.where(own, 0.2 + g**2, 0)
        if name == "rowwise_adagrad":
            of_v = 0.2 + (g**2).sum(axis=1, keepdims=True) / dims
        expected = [-rate * gw / (np.sqrt(of_w) + epsilon), v - rate * g / (np.sqrt(of_v) + epsilon), of_w, of_v]
    expected = np.hstack(expected)
    assert rows.numbers.shape == expected.shape
    np.testing.assert_allclose(rows.numbers, expected, rtol=1e-9, atol=1e-13)
    assert np.array_equal(rows.counts, np.ones(len(rows))) and set(DIMS) == set(dims.ravel().tolist())


def test_all_pairs_of_options_meet():
    for (one, values), (other, others) in combinations(OPTIONS.items(), 2):
        assert {(way[one], way[other]) for way in pairwise(OPTIONS)} == set(product(values, others))


def train(comm, config, batches, later, threads=1):
    """(Trained, [logits of `later`]) of a new model.  Collective."""
    with small_model(comm, config, threads, batches[0].dense.shape[1]) as model:
        losses = np.array([step(model, reads(model, batch)) for batch in batches])
        logits = [all_samples(model, score(model, reads(model, batch))) for batch in later]
        return Trained(losses, all_rows(model), model.parameters.arrays()["values"], model.group.ledger.entries()), logits


@pytest.mark.thorough(4)
@pytest.mark.parametrize("one", pairwise(OPTIONS), ids=named)
def test_any_number_of_ranks(world, one):
    *batches, last = awkward_batches(47, 21, one["weighted"], one["n_dense"])
    rule, layers = OF_RULES[one["rule"]], {"normalisation": one["normalisation"], "dropout": 0.2}
    expected, expected_logits = train(MPI.COMM_SELF, config_of(one["kind"], rule, model=layers), batches, [last, batches[3]])
    config = config_of(one["kind"], rule, model=layers, **WAYS[one["way"]])
    trained, logits = train(world, config, batches, [last, batches[3]], one["threads"])
    for part in ("keys", "fields", "counts", "steps"):
        assert np.array_equal(getattr(trained.rows, part), getattr(expected.rows, part)), part
    pairs = {
        "losses": (trained.losses, expected.losses), "dense parameters": (trained.parameters, expected.parameters),
        "logits": (np.concatenate(logits), np.concatenate(expected_logits)),
        **{f"column {c}": (trained.rows.numbers[:, c], expected.rows.numbers[:, c]) for c in range(expected.rows.numbers.shape[1])},
    }  # fmt: skip
    for name, (found, reference) in pairs.items():
        error = difference(found, reference)
        assert error <= TOLERANCE, f"{name}: {error:.1e}"


def test_one_dimension_is_a_table_as_any(world):
    """The same bits as model.dim = 9 gives, from a set of one table."""
    batches = awkward_batches(46, 8)
    fields = [{"name": name, "dim": 9} for name in FIELD_NAMES]
    plain = train_on(world, batches, config_of("dcnv2", model={"fields": [], "dim": 9}), 2)
    assert train_on(world, batches, config_of("dcnv2", model={"fields": fields}), 2).digest() == plain.digest()
    same = [{"name": name, "dim": dim} for name, dim in zip(FIELD_NAMES, (9, 0, 9, 0, 9, 0), strict=True)]
    assert train_on(world, batches, config_of("dcnv2", model={"fields": same, "dim": 9}), 2).digest() == plain.digest()


@pytest.mark.parametrize("kind", ["wide_deep", "dcn"])
def test_a_row_travels_with_its_own_columns_alone(world, kind):
    """Rows and gradients of distinct keys of other ranks: 8 bytes a number; of control the loss's four numbers, as `plan.cost` has it."""
    batches, sent = awkward_batches(47, 6), 0
    for batch in batches:
        home = share_of(batch, world.rank, world.size)
        fields = {int(home.keys[j]): int(home.fields[j]) for i in range(len(home)) for j in range(home.begins[i], home.ends[i])}
        away = [field for key, field in fields.items() if (key >> 32) * world.size >> 32 != world.rank]
        sent += sum(8 * (DIMS[field] + (kind in LINEAR)) for field in away)
    config = config_of(kind, exchange="rows")
    ledger = train_on(world, batches, config, 1).ledger
    with small_model(world, config) as model:
        assert not run_of(model, config, (), len(DIMS), 2, 0).repeats
    control = sum(one["sent_bytes"] for one in world.allreduce(ledger) if one["kind"] == "control" and one["direction"] == "forward")
    assert control == 4 * 8 * world.size * (world.size - 1) * len(batches)
    found = {what: sum(one["sent_bytes"] for one in world.allreduce(ledger) if one["kind"] == what) for what in ("rows", "gradients")}
    assert found == dict.fromkeys(found, world.allreduce(sent))


@pytest.mark.parametrize(("kind", "rule"), [("wide_deep", "adagrad, clipped"), ("dcnv2", "adam"), ("dcn", "rowwise_adagrad"), ("wide_deep", "rowwise_adagrad")])
def test_saved_on_n_loaded_on_m(world, tmp_path, kind, rule):
    """Rows are in key order, the widest there is; what is loaded has the same bits, and goes on as if nothing had been."""
    batches, base = awkward_batches(48, 12), world.bcast(tmp_path)
    config = config_of(kind, RULES[rule])
    expected = train_on(MPI.COMM_SELF, batches, config)
    for saving, loading in [(n, m) for n in range(1, world.size + 1) for m in range(1, world.size + 1) if max(n, m) == world.size]:
        folder, saved, result = base / f"{saving} {loading}" / "model", None, None
        with some_ranks(world, saving) as comm:
            if comm:
                with small_model(comm, config, 1 + loading % 2) as model:
                    for batch in batches[:6]:
                        step(model, reads(model, batch))
                    save_model(model, folder, manifest_of(model, config, 6))
                    blocks = list(model.table.blocks(7))
                    copied = model.table.copied_blocks()
                    saved = all_rows(model)
                    assert_same_rows(type(saved).concatenate(blocks), model.table.export())
                    assert_same_rows(type(saved).concatenate(copied), model.table.export())
                    assert all((np.diff(np.concatenate([one.keys for one in some])) > 0).all() for some in (blocks, copied) if some)
        rows = world.bcast(saved)
        with some_ranks(world, loading) as comm:
            if comm:
                with small_model(comm, config, 1 + saving % 2) as model:
                    load_model(model, folder)
                    assert_same_rows(all_rows(model), rows)
                    for batch in batches[6:]:
                        step(model, reads(model, batch))
                    result = all_rows(model), model.parameters.arrays()["values"]
        manifest = verify(folder)
        on_disk = list(row_blocks(folder, manifest))
        assert (np.diff(np.concatenate([one.keys for one in on_disk])) > 0).all()
        assert_same_rows(type(rows).concatenate(on_disk), rows)
        assert manifest["model"]["dim"] == WIDEST and manifest["model"]["dims"] == DIMS
        if result is not None:
            assert np.array_equal(result[0].keys, expected.rows.keys)
            assert difference(result[0].numbers, expected.rows.numbers) <= TOLERANCE
            assert difference(result[1], expected.parameters) <= TOLERANCE


def test_a_model_of_other_dimensions_does_not_fit(world, tmp_path):
    """Dense parameters have the same shapes, and rows the same width."""
    folder, other = world.bcast(tmp_path) / "model", [{"name": "alpha", "dim": 9}, {"name": "beta", "dim": 1}, {"name": "zeta", "dim": 1}]
    with small_model(world, config_of("dcn")) as model:
        step(model, reads(model, awkward_batches(49, 1)[0]))
        save_model(model, folder, manifest_of(model, config_of("dcn"), 1))
    with (
        pytest.raises(ConfigError, match=r"model.fields: .*\[5, 1, 5, 9, 1, 5\].*\[9, 1, 5, 5, 5, 1\]"),
        small_model(world, config_of("dcn", model={"fields": other})) as model,
    ):
        load_model(model, folder)


@pytest.mark.thorough
def test_memory_is_set_aside_and_rows_are_forgotten(world):
    batches = awkward_batches(50, 4)
    with small_model(world, config_of("wide_deep"), 2) as model:
        model.table.reserve(100_000)
        empty = model.table.nbytes
        for batch in batches:
            step(model, reads(model, batch))
        keys = np.unique(np.concatenate([batch.keys for batch in batches]))
        assert sum(model.group.gather(len(model.table))) == sum(model.group.gather(model.table.first_rows)) == len(keys)
        assert model.table.nbytes - empty < 200 * len(keys)  # rows, and no index that has grown
        model.table.clear()
        assert len(model.table) == 0 and len(model.table.export()) == 0


REFUSED = [
    *(({"kind": kind}, f"'{kind}'.*of one dimension.*choose 'wide_deep', 'dcn' or 'dcnv2'") for kind in ("deepfm", "nfm", "dlrm", "xdeepfm")),
    *(({"kind": "wide_deep", "model": {"name": name}}, f"'{name}' has no use for them") for name in ("lr", "fm")),
    ({"kind": "wide_deep", "split": "field"}, "'field' does not know their tables"),
    ({"kind": "wide_deep", "split": "column", "routing": "broadcast"}, "'column' does not know their tables"),
    ({"kind": "dcn", "model": {"first_layer": "pushed_down"}}, "choose model.first_layer = 'pooled'"),
    ({"kind": "dcn", "model": {"fields": [{"name": "gama", "dim": 9}]}}, "'gama' is no field .*did you mean 'gamma'"),
    ({"kind": "deepfm", "model": {"fields": [{"name": "gama"}]}}, "'gama' is no field .*did you mean 'gamma'"),
]


@pytest.mark.parametrize(("options", "reason"), REFUSED)
def test_what_is_refused(world, options, reason):
    with pytest.raises(ConfigError, match=f"model.fields.*{reason}"), small_model(world, config_of(**options)):
        raise AssertionError("was built")


def test_fields_without_dimensions_of_their_own_change_nothing(world):
    """Whatever the model."""
    batches, fields = awkward_batches(51, 3), [{"name": "beta"}, {"name": "zeta", "dim": DIM}]
    found = [train_on(world, batches, config_of("deepfm", model={"fields": one})).digest() for one in ([], fields)]
    assert found[0] == found[1]


def test_data_whose_fields_have_no_names(world):
    group = Group(world)
    with pytest.raises(ConfigError, match="'delta' is no field of the data"):
        build_model(config_of("dcn"), type("Cpu", (), {"name": "cpu", "threads": 1})(), group, N_FIELDS, 2)
    group.free()
