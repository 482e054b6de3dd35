"""DIN and AutoInt, and fields that share rows: by definition, by differences, and alike on any number of ranks by every valid way.

Batches have two sequences, of up to four values: one of the keys of another field, with weights, and one of its own.
"""

from dataclasses import asdict
from functools import cache
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from deep_training import ATTENTION, deep_config, dense_parameters, joined, plain_rows, randomise
from models.test_gradients import TOLERANCE as OF_SLOPES
from models.test_gradients import Losses
from mpi4py import MPI
from plain_deep import PlainDeep
from small_training import EXCHANGES, ROUTINGS, all_rows, all_samples, insert, reads, score, small_model
from synthetic_batches import FIELD_NAMES, N_FIELDS, awkward_batches, plain_batch

from deshpc.config.load import build
from deshpc.config.schema import FieldConfig
from deshpc.errors import ConfigError
from deshpc.model.combinations import exchange_name, require_valid
from deshpc.training.step import step

LENGTH, BETA, ZETA = 4, FIELD_NAMES.index("beta"), FIELD_NAMES.index("zeta")
KEY_FIELDS = tuple(
    FieldConfig(
        name, kind="sequence" if number in (BETA, ZETA) else "categorical", share="alpha" if number == ZETA else "",
        length=LENGTH if number in (BETA, ZETA) else FieldConfig.length,
    )
    for number, name in enumerate(FIELD_NAMES)
)  # fmt: skip
KINDS = (*ATTENTION, "wide_deep")  # this one pools sequences, by the same keys
ATTENDED = {"din": [(BETA, FIELD_NAMES.index("gamma")), (ZETA, 0)], "din, softmax": [(BETA, FIELD_NAMES.index("gamma"))]}


def shared(batch):
    """The same batch, in which zeta has keys of alpha, and sequences end after LENGTH values."""
    keep, seen = [], []
    for begin, end in zip(batch.begins, batch.ends, strict=True):
        own = range(int(begin), int(end))
        places = {field: [j for j in own if batch.fields[j] == field][:LENGTH] for field in (BETA, ZETA)}
        taken = [j for j in own if j in places.get(int(batch.fields[j]), own)]
        keep += taken
        seen.append(len(taken))
    keys, fields = batch.keys[keep], batch.fields[keep]
    keys = np.where(fields == ZETA, keys & ~np.uint64(0xFFFF << 32), keys)
    values = None if batch.values is None else batch.values[keep]
    return plain_batch(batch.step, np.array(seen, np.int64), keys, fields, values, batch.dense, batch.labels)


def batches_of(seed, steps, weighted=1):
    return [shared(batch) for batch in awkward_batches(seed, steps, weighted)]


def plain_of(model, config, kind):
    """PlainDeep of a model as it stands.  Collective."""
    options = {**asdict(config.model), "attended": ATTENDED.get(kind, [])}
    return PlainDeep(options, N_FIELDS, plain_rows(model, all_rows(model)), dense_parameters(model))


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_the_definition(kind):
    config, batches = deep_config(kind, model={"activation": "tanh"}), batches_of(61, 6)
    with small_model(MPI.COMM_SELF, config, 2, key_fields=KEY_FIELDS) as model:
        for batch in batches[:4]:
            insert(model, reads(model, batch))
        randomise(model)
        plain = plain_of(model, config, kind)
        for batch in [*batches, joined(batches[:2], step=6)]:
            found, expected = score(model, reads(model, batch)), plain.logits(batch, train=False)
            assert np.abs(found - expected).max() <= 1e-12 * np.abs(expected).max()


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_the_slopes_of_the_loss(kind):
    rule = {"name": "sgd", "learning_rate": 1.0, "reduction": "sum"}
    batch = joined(batches_of(62, 2))
    with small_model(MPI.COMM_SELF, deep_config(kind, rule=rule, model={"activation": "tanh"}), key_fields=KEY_FIELDS) as model:
        insert(model, reads(model, batch))
        randomise(model)
        losses, rng = Losses(model, batch), np.random.default_rng(13)
        gradients = losses.gradients()
        size = np.sqrt(sum((one**2).sum() for one in gradients.values()))
        for names in (list(gradients), *([name] for name in gradients if gradients[name].size)):
            direction = {name: rng.standard_normal(gradients[name].shape) for name in names}
            length = np.sqrt(sum((one**2).sum() for one in direction.values()))
            slope = losses.slope({name: one / length for name, one in direction.items()})
            predicted = sum((gradients[name] * one).sum() for name, one in direction.items()) / length
            assert abs(slope - predicted) <= OF_SLOPES * size, names
            assert abs(slope - 1.001 * predicted) > OF_SLOPES * size or not predicted, f"a wrong gradient of {names} would pass"


WAYS = [
    (kind, *way)
    for kind in KINDS
    for way in product(("key", "field", "column"), ("pooled", "pushed_down"), (*EXCHANGES, "pooled"), ROUTINGS)
]


def config_of(kind, split="key", first_layer="pooled", exchange="auto", routing="broadcast", **train):
    rule = {"name": "adagrad", "learning_rate": 0.05}
    return deep_config(kind, rule=rule, model={"first_layer": first_layer}, split=split, exchange=exchange, routing=routing, **train)


def is_valid(way, ranks=4):
    try:
        require_valid(config_of(*way), SimpleNamespace(name="cpu"), ranks, FIELD_NAMES, KEY_FIELDS)
    except ConfigError:
        return False
    return True


VALID = list(filter(is_valid, WAYS))


def test_what_goes_together():
    """By rows, all; sums where every rank reads the whole batch, but not of values that stay apart; never a field's complete embeddings."""
    assert {way[2:] for way in VALID if way[0] == "din"} == {("pooled", "rows", routing) for routing in ROUTINGS}
    assert {way[1] for way in VALID if way[0] == "din"} == {"key", "field"}
    assert {way[1:] for way in VALID if way[0] == "autoint"} == {
        *(("key", "pooled", exchange, "broadcast") for exchange in EXCHANGES), ("key", "pooled", "rows", "routed"),
        *(("field", "pooled", "rows", routing) for routing in ROUTINGS),
    }  # fmt: skip
    assert {(way[1], way[2]) for way in VALID if way[0] == "wide_deep"} == {
        ("key", "pooled"), ("key", "pushed_down"), ("field", "pooled"), ("column", "pooled"), ("column", "pushed_down")
    }  # fmt: skip
    assert not [way for way in VALID if way[3] == "pooled"]


@pytest.mark.parametrize("split, routing, exchange", [("key", "routed", "rows"), ("field", "routed", "rows"), ("field", "broadcast", "rows"), ("key", "broadcast", "allreduce")])
def test_auto_is_an_exchange_that_goes_with_shared_rows(split, routing, exchange):
    """In fixed point, too, where it is allreduce or pooled for others."""
    tree = {"data": {"train": ["x"], "fields": [{"name": "item"}, {"name": "history", "kind": "sequence", "share": "item"}]}, "model": {"name": "wide_deep"}}
    config = build({**tree, "train": {"split": split, "routing": routing, "accumulate": "int64"}})
    require_valid(config, SimpleNamespace(name="cpu"), 2, ["item", "history"], config.data.fields)
    assert exchange_name(config) == exchange


def trained(comm, config, batches, later, threads):
    """({what: array} after all steps, bits of the same).  Collective."""
    with small_model(comm, config, threads, key_fields=KEY_FIELDS) as model:
        losses = np.array([step(model, reads(model, batch)) for batch in batches])
        rows, dense = all_rows(model), model.dense_sums.whole_arrays()["values"]
        logits = np.concatenate([all_samples(model, score(model, reads(model, batch))) for batch in later])
        return {"losses": losses, "rows": rows.numbers, "dense": dense, "logits": logits, "keys": rows.keys, "counts": rows.counts}


TRAINED = [  # of each kind every split, and of every way of computing one
    ("din", "key", "pooled", "rows", "routed"), ("din", "field", "pooled", "rows", "broadcast"), ("din, softmax", "key", "pooled", "rows", "broadcast"),
    ("autoint", "key", "pooled", "allreduce", "broadcast"), ("autoint", "field", "pooled", "rows", "routed"),
    ("wide_deep", "key", "pooled", "rows", "routed"), ("wide_deep", "key", "pushed_down", "reduce_scatter", "broadcast"),
    ("wide_deep", "column", "pooled", "reduce_scatter", "broadcast"),
]  # fmt: skip


@cache
def alone(kind):
    """What one rank with one thread makes of 20 batches: those, a later one, and {what: array}."""
    *batches, later = batches_of(63, 21)
    return batches, later, trained(MPI.COMM_SELF, config_of(kind), batches, [later], 1)


@pytest.mark.mpi
@pytest.mark.in_turns
@pytest.mark.parametrize("number", range(len(TRAINED)), ids=["-".join(way) for way in TRAINED])
def test_twenty_steps_on_any_number_of_ranks(world, number):
    way = TRAINED[number]
    batches, later, expected = alone(way[0])
    found = trained(world, config_of(*way), batches, [later], 1 + number % 2)
    for what, array in found.items():
        if what in ("keys", "counts"):
            assert np.array_equal(array, expected[what]), what
        else:
            assert np.abs(array - expected[what]).max() <= 1e-11 * np.abs(expected[what]).max(), what
    assert is_valid(way) and not [key for key in found["keys"].tolist() if key >> 32 & 0xFFFF == ZETA]  # its rows are alpha's


@pytest.mark.mpi
@pytest.mark.parametrize("kind, exchange", [("din", "rows"), ("autoint", "allreduce")])
def test_fixed_point_has_the_same_bits(world, kind, exchange):
    if 16 % world.size and exchange == "rows":
        pytest.skip("ranks that do not divide the sixteen parts of a batch")
    *batches, later = batches_of(64, 9)
    found = [
        trained(comm, config_of(kind, exchange=way, accumulate="int64"), batches, [later], threads)
        for comm, way, threads in ((MPI.COMM_SELF, "auto", 1), (world, exchange, 2))
    ]
    assert all(np.array_equal(found[0][what], found[1][what]) for what in found[0])


@pytest.mark.parametrize("change, text", [
    ({"kind": "wide_deep", "model": {"fields": [{"name": "zeta", "target": "alpha"}]}}, "'wide_deep' has no use for a target; choose 'din'"),
    ({"kind": "din", "model": {"fields": []}}, "name both, as ..model.fields.. name = 'history', target = 'item'"),
    ({"kind": "din", "exchange": "reduce_scatter"}, "one by one: their rows have to come to the samples; choose 'rows'"),
    ({"kind": "din", "model": {"fields": [{"name": "zeta", "target": "alphas"}]}}, "'alphas' is no field.*did you mean 'alpha'"),
    ({"kind": "din", "model": {"fields": [{"name": "zeta", "target": "beta"}]}}, "'beta' is of kind = 'sequence'; it has to have one value"),
    ({"kind": "din", "model": {"fields": [{"name": "gamma", "target": "alpha"}]}}, "is of kind = 'categorical'; only a 'sequence' has values"),
    ({"kind": "din", "model": {"fields": [{"name": "zeta", "target": "alpha", "dim": 2}]}}, "'din' has no use for them, or multiplies"),
    ({"kind": "din", "model": {"fields": [{"name": "zeta", "target": "alpha"}, {"name": "gamma", "replicated": True}]}}, "do not go with a target"),
    ({"kind": "wide_deep", "model": {"fields": [{"name": "zeta", "dim": 2}]}}, "'zeta' shares the rows of 'alpha', so .* cannot give them 2 and 5"),
    ({"kind": "wide_deep", "model": {"fields": [{"name": "zeta", "replicated": True}]}}, "share rows do not go with replicated"),
    ({"kind": "wide_deep", "exchange": "allreduce"}, "'routed': what travels does not say in which of the fields a key stands; choose"),
    ({"kind": "dcn", "split": "field", "exchange": "pooled"}, "does not have rows that are another's; choose train.exchange = 'rows'"),
])  # fmt: skip
def test_what_is_refused(change, text):
    change = {"routing": "routed", **change}
    config = deep_config(change.pop("kind"), model=change.pop("model", {}), **change)
    with pytest.raises(ConfigError, match=text):
        require_valid(config, SimpleNamespace(name="cpu"), 2, FIELD_NAMES, KEY_FIELDS)
