"""The asynchronous parameter server: its gradients against finite differences of a plain loop, its updates against a dictionary."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

BENCH = Path(__file__).parents[2] / "scripts" / "bench"
DIM, FIELDS = 3, 2
OFFSETS, KEYS, PLACES = [0, 3, 5, 6], [10, 30, 40, 20, 40, 10], [0, 1, 1, 0, 1, 0]  # the last sample has no key of field 1
VALUES = np.array([[0.5, 1], [2, 1], [1, 3], [1, 1], [0.25, 1], [1, 2]])
LABELS = np.array([1.0, 0.0, 1.0])


@pytest.fixture
def modules(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import async_model
    import async_training

    yield async_model, async_training
    for name in ("async_model", "async_training"):
        sys.modules.pop(name)


def samples_of(async_model):
    dataset = SimpleNamespace(labels=LABELS, offsets=np.array(OFFSETS), keys=np.array(KEYS), fields=np.array(PLACES), values=VALUES)
    return async_model.Samples(dataset, np.array([10, 20, 30, 40]), FIELDS)


def loss_of(linear, embeddings, dense, hidden):
    """Summed log-loss, sample by sample and pair by pair."""
    total = 0.0
    for sample, label in enumerate(LABELS):
        own = range(OFFSETS[sample], OFFSETS[sample + 1])
        rows = [KEYS[i] // 10 - 1 for i in own]
        x, y = VALUES[list(own)].T
        logit = dense[0][0] + sum(y[i] * linear[row] for i, row in enumerate(rows))
        logit += sum(x[i] * x[j] * embeddings[rows[i]] @ embeddings[rows[j]] for i in range(len(rows)) for j in range(i))
        if hidden:
            inputs = np.zeros((FIELDS, DIM))
            for i, row in zip(own, rows, strict=True):
                inputs[PLACES[i]] += VALUES[i, 0] * embeddings[row]
            inner = np.maximum(inputs.reshape(-1) @ dense[1] + dense[2], 0)
            logit += (inner @ dense[3] + dense[4])[0]
        total += np.log1p(np.exp(-logit)) if label else np.log1p(np.exp(logit))
    return total


@pytest.mark.parametrize("hidden", [(), (4,)])
def test_gradients_are_slopes_of_the_loss(modules, hidden):
    async_model, _ = modules
    rng = np.random.default_rng(3)
    model = async_model.Model(FIELDS, DIM, hidden)
    first = model.first_weights(4, 0.5, 0.1, rng)
    arrays = [rng.normal(size=4), first.embeddings.astype(np.float64), *(one.astype(np.float64) for one in first.dense)]
    weights = async_model.Weights(arrays[0], arrays[1], arrays[2:])
    gradients = model.gradients(samples_of(async_model).batch(np.arange(3)), weights)
    for array, gradient in zip(arrays, [gradients.linear, gradients.embeddings, *gradients.dense], strict=True):
        slopes = np.empty_like(array)
        for place in np.ndindex(array.shape):
            kept, ends = array[place], []
            for step in (1e-6, -1e-6):
                array[place] = kept + step
                ends.append(loss_of(arrays[0], arrays[1], arrays[2:], hidden))
            array[place], slopes[place] = kept, (ends[0] - ends[1]) / 2e-6
        assert gradient == pytest.approx(slopes, abs=1e-7)


def test_a_push_is_one_update_of_its_rows(modules):
    async_model, async_training = modules
    rule = async_training.Rule(0.1, 1.0, 0.5)
    server = async_training.Server(async_model.Weights(np.full(3, 2.0), np.ones((3, DIM)), [np.zeros(1)]), rule)
    for _ in range(2):
        server.push(np.array([2]), async_model.Weights(np.array([3.0]), np.zeros((1, DIM)), [np.ones(1)]))
    weight, squares = 2.0, 1.0
    for _ in range(2):
        squares += (3 + 0.5 * weight) ** 2
        weight -= 0.1 * (3 + 0.5 * weight) / np.sqrt(squares)
    assert server.pull(np.array([0, 2])).linear == pytest.approx([2.0, weight])
    assert server.pushes == 2


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked")
def test_one_worker_is_never_late_and_four_are(modules):
    async_model, async_training = modules
    samples, model = samples_of(async_model), async_model.Model(FIELDS, DIM)
    found = {}
    for workers in (1, 4):
        server = async_training.Server(model.first_weights(4, 0.1, 0.0, np.random.default_rng(1)), async_training.Rule(0.1, 1.0, 0.0))
        points, found[workers] = async_training.train(model, server, samples, samples, [np.arange(3)] * 40, [2.0] * workers, 60)
        assert server.pushes == len(found[workers]) == 40
        assert [count for count, _ in points] == [60, 120]
    assert found[1].max() == 0 and 0 < found[4].mean() <= 3
