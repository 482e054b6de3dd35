"""The logits of every deep model are those of its definition (`plain_deep`).

In training and in evaluation; with no value, one or two at a key; with samples and batches of no keys, unseen keys, one sample,
none, several blocks; without dense features; on one thread and on two.
"""

from dataclasses import asdict, replace

import numpy as np
import pytest
from deep_training import (
    ACTIVATIONS,
    MODELS,
    NORMALISATIONS,
    all_pairs,
    deep_config,
    dense_parameters,
    joined,
    named,
    pairs_of,
    pairwise,
    plain_rows,
    randomise,
    some_of,
)
from mpi4py import MPI
from plain_deep import PlainDeep
from small_training import all_rows, insert, learn, reads, score, small_model
from synthetic_batches import N_FIELDS, awkward_batches, plain_batch

# Of the largest |logit| of a batch: rounding to 1.1e-16 and 6e-8 in sums of terms that are larger than what they add up to.
TOLERANCE = {"float64": 1e-12, "float32": 3e-5}  # measured 1.4e-14 and 7.4e-6


def batches_of(weighted, n_dense):
    """Of 37, 64 (two blocks), 2, 31 (without keys), 29 (of one key), 1, 101 (three blocks) and no samples."""
    batches = awkward_batches(31, steps=6, weighted=weighted, n_dense=n_dense)
    return [*batches, joined(batches[:2], step=6), replace(joined(batches[:1], step=7).share(0, 0), global_samples=0)]


OPTIONS = {
    "kind": tuple(MODELS), "normalisation": NORMALISATIONS, "activation": ACTIVATIONS, "weighted": (0, 1, 2), "n_dense": (2, 0),
    "threads": (1, 2), "precision": ("float64", "float32"),
}  # fmt: skip
WAYS = pairwise(OPTIONS)


def test_all_pairs_of_options_meet():
    assert set().union(*map(pairs_of, WAYS)) == set(all_pairs(OPTIONS))


@pytest.mark.parametrize("way", WAYS, ids=named)
def test_logits_are_those_of_the_definition(way):
    precision, options = way["precision"], {name: way[name] for name in ("activation", "normalisation")}
    config = deep_config(way["kind"], precision, model=options)
    batches = batches_of(way["weighted"], way["n_dense"])
    with small_model(MPI.COMM_SELF, config, way["threads"], way["n_dense"]) as model:
        for batch in batches[:4]:
            insert(model, reads(model, batch))  # inserts the keys of some batches
        randomise(model)
        seen = all_rows(model)
        known = plain_rows(model, seen)
        for batch in batches:
            plain = PlainDeep(asdict(config.model), N_FIELDS, known, dense_parameters(model))
            check(score(model, reads(model, batch)), plain.logits(batch, train=False), precision)
        assert len(all_rows(model)) == len(seen)  # evaluation inserts nothing
        assert not np.isin(batches[5].keys, seen.keys).all()
        for batch in batches:
            logits = learn(model, reads(model, batch)).logit
            plain = PlainDeep(asdict(config.model), N_FIELDS, plain_rows(model, all_rows(model)), dense_parameters(model))
            check(logits, plain.logits(batch, train=True), precision)


def check(logits, expected, precision):
    assert logits.shape == expected.shape and logits.dtype == precision
    if len(expected):
        error = np.abs(logits - expected).max() / np.abs(expected).max()
        assert error <= TOLERANCE[precision], error


@pytest.mark.parametrize("kind", MODELS)
def test_without_hidden_layers(kind):
    """What is left of the net is its output."""
    config = deep_config(kind, model={"hidden": [], "bottom_hidden": []})
    batch = awkward_batches(32, steps=1)[0]
    with small_model(MPI.COMM_SELF, config) as model:
        insert(model, reads(model, batch))
        randomise(model)
        plain = PlainDeep(asdict(config.model), N_FIELDS, plain_rows(model, all_rows(model)), dense_parameters(model))
        check(learn(model, reads(model, batch)).logit, plain.logits(batch, train=True), "float64")


@pytest.mark.parametrize("kind", MODELS)
def test_an_empty_table_is_read_as_zeros(kind):
    """Before the first step: every model is a function of the dense features alone."""
    config, (batch,) = deep_config(kind), awkward_batches(33, steps=1)
    with small_model(MPI.COMM_SELF, config, threads=2) as model:
        randomise(model)
        plain = PlainDeep(asdict(config.model), N_FIELDS, {}, dense_parameters(model))
        check(score(model, reads(model, batch)), plain.logits(batch, train=False), "float64")
        assert len(model.table) == 0


@pytest.mark.parametrize("kind", MODELS)
def test_rows_may_be_of_any_part_of_the_keys(kind):
    """Of a sample's keys some have rows and some do not, in every sample."""
    config, batches = deep_config(kind), awkward_batches(34, steps=3)
    with small_model(MPI.COMM_SELF, config) as model:
        for batch in batches:
            insert(model, reads(model, batch))
        randomise(model)
        rows = some_of(all_rows(model), np.s_[::2])
        model.table.clear()
        model.table.load(rows)
        plain = PlainDeep(asdict(config.model), N_FIELDS, plain_rows(model, rows), dense_parameters(model))
        for batch in batches:
            check(score(model, reads(model, batch)), plain.logits(batch, train=False), "float64")


@pytest.mark.parametrize("kind", MODELS)
def test_the_order_of_a_samples_keys_does_not_matter(kind):
    batch = awkward_batches(35, steps=1)[0]
    order = np.concatenate([np.arange(b, e)[::-1] for b, e in zip(batch.begins, batch.ends, strict=True)])
    turned = plain_batch(
        0, batch.ends - batch.begins, batch.keys[order], batch.fields[order], batch.values[order], batch.dense, batch.labels
    )
    with small_model(MPI.COMM_SELF, deep_config(kind)) as model:
        insert(model, reads(model, batch))
        randomise(model)
        one, other = (score(model, reads(model, each)).copy() for each in (batch, turned))
        assert np.abs(one - other).max() <= 1e-12 * np.abs(one).max()
