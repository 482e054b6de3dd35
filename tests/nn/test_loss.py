"""The gradient of the log-loss by logits, of all samples and of some, in closed form."""

import numpy as np
import pytest

from deshpc.backend.open import open_backend
from deshpc.nn.loss import log_loss, loss_slopes


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_slopes(kind, reduction):
    backend, rng, zero = open_backend("cpu", 2), np.random.default_rng(1), np.dtype(kind).type(0)
    logit = (10 * rng.standard_normal(101)).astype(kind)
    labels = rng.integers(0, 2, 101).astype(np.float32)
    exact = 1 / (1 + np.exp(-logit.astype(np.float64))) - labels
    exact /= 500 if reduction == "mean" else 1
    whole, parts = np.empty(101, kind), np.empty(101, kind)
    loss = log_loss(backend, zero, logit, labels, whole, 500, reduction)()
    for begin, end in ((0, 1), (1, 70), (70, 70), (70, 101)):
        loss_slopes(backend, zero, logit[begin:end], labels[begin:end], parts[begin:end], 500, reduction)
    assert np.abs(whole - exact).max() <= (1e-6 if kind == "float32" else 1e-15) * np.abs(exact).max()
    assert np.array_equal(parts, whole)
    assert np.isclose(loss, np.logaddexp(0, np.where(labels, -logit, logit).astype(np.float64)).sum(), rtol=1e-6)
    backend.close()
