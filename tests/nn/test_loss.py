"""The gradient of the log-loss by logits, of all samples and of some, in closed form; sums of losses, however they are divided."""

import math
from fractions import Fraction

import numpy as np
import pytest

from deshpc.backend.exact_sum import joined, terms_of, total
from deshpc.backend.open import open_backend
from deshpc.nn.loss import BlockLosses, log_loss


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
    losses = BlockLosses(backend, zero, 4, 500, reduction)
    for block, (begin, end) in enumerate([(0, 1), (1, 70), (70, 70), (70, 101)]):
        losses.slopes(block, logit[begin:end], labels[begin:end], parts[begin:end])
    assert total(losses.terms()[None]) == total(loss[None])
    assert np.abs(whole - exact).max() <= (1e-6 if kind == "float32" else 1e-15) * np.abs(exact).max()
    assert np.array_equal(parts, whole)
    assert np.isclose(total(loss[None]), np.logaddexp(0, np.where(labels, -logit, logit).astype(np.float64)).sum(), rtol=1e-6)
    backend.close()


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_the_sum_does_not_depend_on_how_samples_are_divided(kind):
    """Nor on their order; it is that of the losses, each of which is known to 2^-51 and float32's rounding of exp."""
    rng, zero = np.random.default_rng(2), np.dtype(kind).type(0)
    logit = np.concatenate([rng.standard_normal(700) * 10.0 ** rng.integers(-6, 4, 700), [0.0, 1e-30, -900.0, 1e6, -1e6]]).astype(kind)
    labels = rng.integers(0, 2, len(logit)).astype(np.float32)

    def summed(order, cuts, threads):
        backend, found = open_backend("cpu", threads), []
        for piece in np.split(order, cuts):
            found.append(log_loss(backend, zero, logit[piece], labels[piece], np.empty(len(piece), kind), 1, "sum")())
        backend.close()
        return total(np.array(found))

    whole = summed(np.arange(len(logit)), [], 1)
    for cuts, threads in (([], 3), ([1, 2, 300], 1), ([350], 2), ([0, 705], 1)):
        assert summed(rng.permutation(len(logit)), cuts, threads) == whole
    exact = math.fsum(np.logaddexp(0, np.where(labels, -logit, logit).astype(np.float64)))
    assert whole == pytest.approx(exact, rel=1e-15, abs=len(logit) * (2.0**-51 + (2.0**-24 if kind == "float32" else 2.0**-52)))


def test_an_infinite_logit_of_the_right_sign_costs_nothing():
    backend = open_backend("cpu", 1)
    for kind in ("float32", "float64"):
        gradient = np.empty(2, kind)
        right = log_loss(backend, gradient.dtype.type(0), np.array([np.inf, -np.inf], kind), np.array([1, 0], np.float32), gradient, 1, "sum")
        assert total(right()[None]) == 0 and (gradient == 0).all()
        for logit, label in ((np.inf, 0), (-np.inf, 1), (np.nan, 0), (np.nan, 1)):
            one = log_loss(
                backend, gradient.dtype.type(0), np.array([logit], kind), np.array([label], np.float32), gradient[:1], 1, "sum"
            )  # fmt: skip
            assert total(one()[None]) == np.inf if np.isinf(logit) else np.isnan(total(one()[None]))
    backend.close()


def test_exact_sums_are_those_of_fractions():
    """Every number is rounded to a multiple of 2^-50 and then nothing is; numbers from 2^20 on are added as they are."""
    rng = np.random.default_rng(3)
    numbers = np.abs(rng.standard_normal(999)) * 10.0 ** rng.integers(-20, 6, 999)
    numbers = np.append(numbers[numbers < 2**20], [0.0, 2.0**20 - 2.0**-33, 2.0**-51, 2.0**-52])
    exact = sum(Fraction(math.floor(Fraction(x) * 2**50 + Fraction(1, 2)), 2**50) for x in numbers.tolist())
    for cuts in ([], [3, 500], range(1, len(numbers))):
        terms = np.array([terms_of(piece) for piece in np.split(rng.permutation(numbers), cuts)])
        assert total(terms) == float(exact)
    assert total(np.array([terms_of(np.array([2.0**20, 0.25])), terms_of(np.array([2.0**40]))])) == 2.0**20 + 0.25 + 2.0**40
    assert total(joined(1, 1, np.nan)[None]) != total(joined(1, 1, np.nan)[None])
