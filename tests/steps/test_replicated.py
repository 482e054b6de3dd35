"""Replicated fields: N ranks compute what one rank computes that replicates nothing, and all copies of a row have the same bits.

In float64, on the same awkward global batches: batches without keys, ranks without samples, keys that one rank alone has met,
replicated and others.  Keys, fields, counts and last steps are equal after twenty steps; losses, rows, dense parameters and logits
of later batches are close: max|delta| / max|reference| of each array.
"""

from functools import cache

import numpy as np
import pytest
from deep_training import MODELS, deep_config, joined, named, pairwise, some_of
from mpi4py import MPI
from saved_models import assert_same_rows, manifest_of, some_ranks
from saved_models import joined as joined_rows
from small_training import DIM, RULES, Trained, all_rows, all_samples, reads, score
from synthetic_batches import N_FIELDS, awkward_batches, plain_batch

from deshpc.backend.open import open_backend
from deshpc.checkpoint.load import load_model, row_blocks, verify
from deshpc.checkpoint.save import save_model
from deshpc.comm.group import Group
from deshpc.errors import ConfigError
from deshpc.model.build import build_model
from deshpc.table.replicated import PartlyReplicated
from deshpc.training.step import steps

pytestmark = [pytest.mark.mpi, pytest.mark.in_turns]

NAMES = [f"field {f}" for f in range(N_FIELDS)]
REPLICATED = {"one": (2,), "first and last": (0, 5), "four": (0, 1, 3, 4), "all": tuple(range(N_FIELDS))}
WAYS = {
    "allreduce, broadcast": {"exchange": "allreduce", "routing": "broadcast"},
    "reduce_scatter, broadcast": {"exchange": "reduce_scatter", "routing": "broadcast"},
    "reduce_scatter, routed": {"exchange": "reduce_scatter", "routing": "routed"},
    "rows, broadcast": {"exchange": "rows", "routing": "broadcast"},
    "rows, routed": {"exchange": "rows", "routing": "routed"},
    "field, rows, routed": {"split": "field", "exchange": "rows", "routing": "routed"},
    "field, pooled, broadcast": {"split": "field", "exchange": "pooled", "routing": "broadcast"},
    "field, pooled, routed": {"split": "field", "exchange": "pooled", "routing": "routed"},
}
KINDS = tuple(kind for kind in MODELS if kind != "nfm")
OF_RULES = {**RULES, "sgd": {"name": "sgd", "learning_rate": 0.05}}  # products of products diverge at RULES' rate
OPTIONS = {
    "kind": KINDS, "way": tuple(WAYS), "rule": ("sgd", "adagrad", "adagrad, clipped", "rowwise_adagrad", "adam", "ftrl"),
    "replicated": tuple(REPLICATED), "weighted": (0, 1, 2), "threads": (1, 2), "n_dense": (2, 0), "overlap": ("on", "off"),
}  # fmt: skip
TOLERANCE = 1e-11  # of each array's largest number


def model_of(comm, config, threads, n_dense):
    """(model, function that gives its resources back).  Collective."""
    group, backend = Group(comm), open_backend("cpu", threads)
    model = build_model(config, backend, group, N_FIELDS, n_dense, field_names=NAMES)

    def close():
        backend.close()
        group.free()

    return model, close


def config_of(kind, replicated=(), rule="adagrad", model=(), **train):
    fields = [{"name": NAMES[f], "replicated": True} for f in replicated]
    return deep_config(kind, "float64", OF_RULES[rule], {"fields": fields, **dict(model)}, **train)


@cache
def batches_of(weighted, n_dense=2):
    """(batches to learn from, some of them of 3 and 5 blocks, batches to evaluate)."""
    *batches, last = awkward_batches(41, 21, weighted, n_dense)
    batches[1] = joined(batches[:2], step=1)
    batches[15] = joined(batches[12:16], step=15)
    return batches, [last, batches[3], batches[15]]


def train(comm, config, batches, later, threads=1):
    """(Trained, [logits of `later`], Rows of the replicated fields at this rank or None) of a new model.  Collective."""
    model, close = model_of(comm, config, threads, batches[0].dense.shape[1])
    losses = np.array([one.loss for one in steps(model, (reads(model, batch) for batch in batches))])
    held = model.table.replicated.export() if isinstance(model.table, PartlyReplicated) else None
    logits = [all_samples(model, score(model, reads(model, batch))) for batch in later]
    if held is not None:
        assert_same_rows(model.table.replicated.export(), held)  # evaluation inserts nothing
    found = Trained(losses, all_rows(model), model.parameters.arrays()["values"], model.group.ledger.entries())
    close()
    return found, logits, held


def difference(actual, expected):
    """max|delta| / max|reference|."""
    assert actual.shape == expected.shape and actual.dtype == expected.dtype
    return np.abs(actual - expected).max(initial=0) / max(np.abs(expected).max(initial=0), 1e-300)


def assert_close(trained, logits, expected, expected_logits):
    for part in ("keys", "fields", "counts", "steps"):
        assert np.array_equal(getattr(trained.rows, part), getattr(expected.rows, part)), part
    columns = range(expected.rows.numbers.shape[1])
    arrays = {
        "losses": (trained.losses, expected.losses), "dense parameters": (trained.parameters, expected.parameters),
        "logits": (np.concatenate(logits), np.concatenate(expected_logits)),
        **{f"column {c}": (trained.rows.numbers[:, c], expected.rows.numbers[:, c]) for c in columns},
    }  # fmt: skip
    for name, (found, wanted) in arrays.items():
        error = difference(found, wanted)
        assert error <= TOLERANCE, f"{name}: {error:.1e}"


@cache
def alone(kind, rule, weighted, n_dense):
    """What one rank without replicated fields computes."""
    return train(MPI.COMM_SELF, config_of(kind, rule=rule), *batches_of(weighted, n_dense))[:2]


@pytest.mark.thorough(8)
@pytest.mark.parametrize("one", pairwise(OPTIONS), ids=named)
def test_twenty_steps_are_those_of_one_rank_that_replicates_nothing(world, one):
    fields = REPLICATED[one["replicated"]]
    config = config_of(one["kind"], fields, one["rule"], overlap=one["overlap"], **WAYS[one["way"]])
    trained, logits, held = train(world, config, *batches_of(one["weighted"], one["n_dense"]), one["threads"])
    expected, expected_logits = alone(one["kind"], one["rule"], one["weighted"], one["n_dense"])
    assert_close(trained, logits, expected, expected_logits)
    assert_same_rows(held, some_of(trained.rows, np.isin(trained.rows.fields, fields)))
    for losses, parameters, copies in world.allgather((trained.losses, trained.parameters, held)):
        assert losses.tobytes() == trained.losses.tobytes() and parameters.tobytes() == trained.parameters.tobytes()
        assert_same_rows(copies, held)


CUT = 10
SAVED = {  # fields that are replicated where the model is saved, and where it is loaded
    "same": ("four", "four"), "from none": (None, "all"), "to none": ("all", None), "others": ("one", "first and last"),
}  # fmt: skip


def continued(comm, config, batches, folder, threads, loads):
    """Load a model, or make one; train it; save it if it was made.  Collective on `comm`.

    All rows as loaded or None, all rows in the end, dense parameters, replicated rows, [(rows, first rows) of every rank]
    """
    model, close = model_of(comm, config, threads, 2)
    loaded = None
    if loads:
        load_model(model, folder)
        loaded = all_rows(model)
    for _ in steps(model, (reads(model, batch) for batch in batches)):
        pass
    if not loads:
        save_model(model, folder, manifest_of(model, config, CUT))
    held = model.table.replicated.export() if isinstance(model.table, PartlyReplicated) else None
    counts = model.group.gather((len(model.table), model.table.first_rows))
    result = loaded, all_rows(model), model.parameters.arrays()["values"], held, counts
    close()
    return result


@pytest.mark.parametrize("way", ["rows, routed", "field, pooled, broadcast"])
@pytest.mark.parametrize("which", SAVED)
def test_saved_on_n_ranks_loaded_on_m(world, tmp_path, which, way):
    batches, base = batches_of(2)[0], world.bcast(tmp_path)
    expected = alone("deepfm", "adam", 2, 2)[0]
    before, after = SAVED[which]
    configs = [config_of("deepfm", REPLICATED.get(one, ()), "adam", **WAYS[way]) for one in (before, after)]
    for saving, loading in sorted({(world.size, 1), (1, world.size), (world.size, max(1, world.size - 1))}):
        folder, saved, result = base / f"{saving} {loading}" / "model", None, None
        with some_ranks(world, saving) as comm:
            if comm:
                saved = continued(comm, configs[0], batches[:CUT], folder, 1, loads=False)
        with some_ranks(world, loading) as comm:
            if comm:
                result = continued(comm, configs[1], batches[CUT:], folder, 2, loads=True)
        _, rows, _, _, counts = world.bcast(saved)
        manifest = verify(folder)
        assert manifest["rows"] == [count for count, _ in counts] and sum(manifest["rows"]) == len(rows)
        assert sum(first for _, first in counts) == len(rows)
        assert_same_rows(joined_rows(row_blocks(folder, manifest)), rows)
        if result is None:
            continue
        loaded, trained, parameters, held, counts = result
        assert_same_rows(loaded, rows)
        assert sum(count for count, _ in counts) == len(trained)
        for part in ("keys", "fields", "counts", "steps"):
            assert np.array_equal(getattr(trained, part), getattr(expected.rows, part)), part
        assert difference(trained.numbers, expected.rows.numbers) <= TOLERANCE
        assert difference(parameters, expected.parameters) <= TOLERANCE
        if after:
            assert_same_rows(held, some_of(trained, np.isin(trained.fields, REPLICATED[after])))


def sent(world, ledger):
    """{(kind, direction): bytes that all ranks together sent}.  Collective."""
    total = {}
    for entries in world.allgather(ledger):
        for entry in entries:
            what = entry["kind"], entry["direction"]
            total[what] = total.get(what, 0) + entry["sent_bytes"]
    return total


def without(batch, fields):
    """The batch without the occurrences of some fields, by NumPy."""
    at = [np.arange(a, b) for a, b in zip(batch.begins, batch.ends, strict=True)]
    at = [one[~np.isin(batch.fields[one], fields)] for one in at]
    chosen = np.concatenate([*at, np.zeros(0, np.int64)])
    return plain_batch(
        batch.step, [len(one) for one in at], batch.keys[chosen], batch.fields[chosen], batch.values[chosen], batch.dense, batch.labels
    )


@pytest.mark.parametrize("way", WAYS)
def test_bytes_of_replicated_fields(world, way):
    """Their gradients, by a formula, where the top works on own shares; all else is as if their keys were not there."""
    fields, threads, batches, expected = REPLICATED["four"], 2, awkward_batches(43, 6), 0
    config = config_of("deepfm", fields, **WAYS[way])
    found = sent(world, train(world, config, batches, [], threads)[0].ledger)
    for batch in batches:
        edges = [len(batch) * rank // world.size for rank in range(world.size + 1)]
        for first, end in zip(edges, edges[1:], strict=False):
            own = np.concatenate([np.arange(batch.begins[i], batch.ends[i]) for i in range(first, end)] or [np.zeros(0, np.int64)])
            rows = len(np.unique(batch.keys[own][np.isin(batch.fields[own], fields)]))
            sums = 8 * (1 + DIM + 1)  # of w, of v, and of g x^2, for deepfm's term - 1/2 |v|^2 x^2
            expected += (world.size - 1) * (8 * threads + -(-rows * (10 + sums) // 8) * 8)
    whole_top = "allreduce" in way or world.size == 1
    assert found.pop(("replicated", "backward"), 0) == (0 if whole_top else expected)
    if "reduce_scatter" in way:  # numbers of a sample's partial: c, and E_f of the two sharded fields
        samples = sum(len(batch) for batch in batches)
        assert found.get(("partials", "forward"), 0) == (world.size - 1) * samples * 8 * (1 + 2 * DIM)
    other = sent(world, train(world, config, [without(batch, fields) for batch in batches], [], threads)[0].ledger)
    other.pop(("replicated", "backward"), 0)
    assert found == other


@pytest.mark.parametrize(
    ("kind", "model", "options", "words"),
    [
        ("nfm", {}, {}, "'nfm' adds up all fields in one sum"),
        ("deepfm", {"name": "lr"}, {}, "'lr' adds up all fields in one sum"),
        ("deepfm", {"name": "fm"}, {}, "'fm' adds up all fields in one sum"),
        ("deepfm", {}, {"split": "column", "routing": "broadcast"}, "do not go with train.split = 'column'"),
        ("deepfm", {"first_layer": "pushed_down"}, {}, "do not go with model.first_layer = 'pushed_down'"),
        ("deepfm", {}, {"accumulate": "int64", "routing": "broadcast"}, "do not go with train.accumulate = 'int64'"),
        ("deepfm", {}, {"exchange": "allreduce", "routing": "routed"}, "need train.routing = 'broadcast'"),
    ],
)
def test_what_does_not_go_together_is_refused(world, kind, model, options, words):
    with pytest.raises(ConfigError, match=f"model.fields: .*{words}"):
        model_of(world, config_of(kind, (1,), model=model, **options), 1, 2)


def test_a_field_that_the_data_has_not_is_refused(world):
    config = deep_config("deepfm", model={"fields": [{"name": "feild 1", "replicated": True}]})
    with pytest.raises(ConfigError, match="'feild 1'.*did you mean 'field 1'"):
        model_of(world, config, 1, 2)


def test_fields_that_are_named_and_not_replicated_change_nothing(world):
    batches, digests = awkward_batches(44, 4), []
    for config in (deep_config("deepfm", model={"fields": [{"name": NAMES[1]}]}), deep_config("deepfm")):
        digests.append(train(world, config, batches, [])[0].digest())
    assert digests[0] == digests[1]
