"""Equal samples have one score, to the bit: wherever they lie in a batch, whichever rank and thread is their home, in batches of any size.

A few samples have many copies, and others one.  In evaluation a sample's score is the same in every batch; in training it is one in a
batch.  So ties are ties: the AUC counts them as half a pair on any number of ranks.
"""

import numpy as np
import pytest
from deep_training import MODELS, deep_config, randomise
from every_combination import COMBINATIONS, combined
from small_training import all_samples, insert, learn, reads, score, small_config, small_model
from synthetic_batches import N_FIELDS, awkward_batches, keys_of, plain_batch

from deshpc.data.dataset import Dataset
from deshpc.training.evaluation import evaluate_model
from deshpc.training.step import step

pytestmark = pytest.mark.mpi

FREQUENT, COPIES, RARE = 7, 34, 60
"""RARE samples lie at the batch's end: the last rank's fields do not repeat as the others' do."""


def some_samples(seed=5):
    """(counts, keys, fields, values, dense) of FREQUENT + RARE different samples, and which of them each of the batch's samples is."""
    rng, n = np.random.default_rng(seed), FREQUENT + RARE
    counts = rng.integers(1, 2 * N_FIELDS, n)
    counts[3] = 0
    fields, total = rng.integers(0, N_FIELDS, counts.sum()), int(counts.sum())
    numbers = np.where(np.repeat(np.arange(n), counts) < FREQUENT, rng.integers(0, 4, total), np.arange(10, 10 + total))
    values, dense = rng.standard_normal(total), rng.standard_normal((n, 3))
    which = np.concatenate([rng.permutation(np.repeat(np.arange(FREQUENT), COPIES)), FREQUENT + np.arange(RARE), [0, 1, 2]])
    return (counts, keys_of(fields, numbers), fields, values, dense), which


def batch_of(samples, which, step=0):
    """A global batch of the samples of these numbers."""
    counts, keys, fields, values, dense = samples
    begins = np.cumsum(counts) - counts
    places = np.concatenate([np.arange(begins[i], begins[i] + counts[i]) for i in which]).astype(np.int64)
    return plain_batch(step, counts[which], keys[places], fields[places], values[places], dense[which], which % 2)


def assert_one_score_each(scores, which, known=None):
    """scores of the samples `which`;  known : {sample: score} that they must have, too."""
    known = {} if known is None else known
    for sample in np.unique(which):
        found = set(scores[which == sample].tolist()) | ({known[sample]} if sample in known else set())
        assert len(found) == 1, (sample, sorted(found))
        known[sample] = found.pop()
    return known


def check(world, config, threads):
    samples, which = some_samples()
    with small_model(world, config, threads, 3) as model:
        insert(model, reads(model, batch_of(samples, np.arange(FREQUENT + RARE))))
        randomise(model)
        known, order = None, np.random.default_rng(6).permutation(which)
        for chosen in (which, order, order[:131], order[:5], order[5:6], order[6:7]):
            scores = all_samples(model, score(model, reads(model, batch_of(samples, chosen))))
            known = assert_one_score_each(scores, chosen, known)
        assert len(set(known.values())) > FREQUENT
        for chosen in (which, order):
            assert_one_score_each(all_samples(model, learn(model, reads(model, batch_of(samples, chosen))).logit), chosen)


@pytest.mark.thorough(16)
@pytest.mark.in_turns
@pytest.mark.parametrize("one", COMBINATIONS, ids="-".join)
def test_every_combination(world, one):
    check(world, combined(one, {"name": "sgd"}, precision="float32"), 1)


@pytest.mark.in_turns
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("exchange", ["allreduce", "reduce_scatter", "rows"])
@pytest.mark.parametrize("kind", MODELS)
def test_wide_layers_on_two_threads(world, kind, exchange, precision):
    """Layers of more units than fit registers, and of few."""
    model = {"hidden": [131, 65, 3], "activation": "tanh", "normalisation": "layer", "dim": 5}
    if kind == "dlrm":
        model["bottom_hidden"] = [33]
    if kind == "xdeepfm":
        model["cin_layers"] = [17, 3]
    check(world, deep_config(kind, precision, model=model, exchange=exchange), 2)


@pytest.mark.parametrize("exchange", ["allreduce", "rows"])
def test_metrics_do_not_depend_on_batches_or_ranks(world, exchange):
    """AUC by counting pairs of scores that one rank alone gives; the log-loss has the same bits for every size of batches."""
    from mpi4py import MPI

    samples, which = some_samples()
    which = which[: FREQUENT * COPIES]
    batch = batch_of(samples, which)
    labels = (np.random.default_rng(7).random(len(which)) < 0.3 + 0.06 * which).astype(np.float32)
    offsets = np.append(batch.begins, batch.ends[-1:])
    dataset = Dataset(offsets, batch.keys, batch.fields, batch.values, batch.dense, labels)
    config = deep_config("deepfm", "float32", model={"hidden": [65, 33]}, exchange=exchange)
    found = []
    for comm, sizes in ((MPI.COMM_SELF, (len(which),)), (world, (len(which), 64, 37, 5))):
        with small_model(comm, config, 1, 3) as model:
            insert(model, reads(model, batch))
            randomise(model)
            found += [evaluate_model(model, dataset, size) for size in sizes]
            scores = all_samples(model, score(model, reads(model, batch)))
    positive, negative = scores[labels == 1], scores[labels == 0]
    wins = (positive[:, None] > negative).sum() + 0.5 * (positive[:, None] == negative).sum()
    assert {one.auc for one in found} == {wins / (len(positive) * len(negative))}
    assert len({(one.log_loss, one.calibration) for one in found[1:]}) == 1
    assert found[0].log_loss == pytest.approx(found[1].log_loss, rel=1e-5)


@pytest.mark.parametrize("exchange, threads", [("allreduce", 1), ("reduce_scatter", 2), ("rows", 3)])
@pytest.mark.parametrize("name", ["lr", "fm"])
def test_fixed_point_has_one_rank_s_losses(world, name, exchange, threads):
    """Those of training and all metrics of a data set, to the bit, whatever the size of the batches that are evaluated."""
    from mpi4py import MPI

    *batches, last = awkward_batches(11, 6)
    offsets = np.append(last.begins, last.ends[-1:])
    dataset = Dataset(offsets, last.keys, last.fields, last.values, last.dense, last.labels)
    found = []
    for comm, of_rank, size in ((MPI.COMM_SELF, 1, len(last)), (world, threads, 7)):
        with small_model(comm, small_config(name, exchange=exchange, accumulate="int64"), of_rank) as model:
            losses = [step(model, reads(model, batch)) for batch in batches]
            found.append((losses, evaluate_model(model, dataset, size)))
    assert found[0] == found[1]
