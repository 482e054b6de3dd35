"""The gradient of the log-loss by logits, of all samples and of some, in closed form; sums of losses, however they are divided."""

import math
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest

from deshpc.backend.exact_sum import joined, terms_of, total
from deshpc.backend.losses import LOSSES
from deshpc.backend.open import open_backend
from deshpc.nn.loss import BlockLosses, Objective, slopes

SUM = Objective("log", "sum")


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_slopes(kind, reduction):
    backend, rng, zero = open_backend("cpu", 2), np.random.default_rng(1), np.dtype(kind).type(0)
    logit = (10 * rng.standard_normal(101)).astype(kind)
    labels = rng.integers(0, 2, 101).astype(np.float32)
    objective = Objective("log", reduction)
    exact = 1 / (1 + np.exp(-logit.astype(np.float64))) - labels
    exact /= 500 if reduction == "mean" else 1
    whole, parts = np.empty(101, kind), np.empty(101, kind)
    loss = slopes(backend, objective, zero, logit, labels, None, whole, 500)()
    losses = BlockLosses(backend, objective, zero, 4, 500)
    for block, (begin, end) in enumerate([(0, 1), (1, 70), (70, 70), (70, 101)]):
        losses.slopes(block, logit[begin:end], labels[begin:end], None, parts[begin:end])
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
            found.append(slopes(backend, SUM, zero, logit[piece], labels[piece], None, np.empty(len(piece), kind), 1)())
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
        right = slopes(
            backend, SUM, gradient.dtype.type(0), np.array([np.inf, -np.inf], kind), np.array([1, 0], np.float32), None, gradient, 1
        )  # fmt: skip
        assert total(right()[None]) == 0 and (gradient == 0).all()
        for logit, label in ((np.inf, 0), (-np.inf, 1), (np.nan, 0), (np.nan, 1)):
            one = slopes(
                backend, SUM, gradient.dtype.type(0), np.array([logit], kind), np.array([label], np.float32), None, gradient[:1], 1
            )  # fmt: skip
            assert total(one()[None]) == np.inf if np.isinf(logit) else np.isnan(total(one()[None]))
    backend.close()


def losses_of(name, z, y):
    """The stated losses, in float64, and their slopes, by central differences in 60 digits."""

    def loss(z, y):
        if name == "log":
            return (1 + z.exp()).ln() - y * z
        if name == "squared":
            return (z - y) ** 2 / 2
        return z.exp() - y * z + (y * y.ln() - y if y else 0)

    found = []
    with localcontext() as context:
        context.prec, h = 60, Decimal("1e-20")
        for one, label in zip(map(Decimal, z.tolist()), map(Decimal, y.tolist()), strict=True):
            found.append((float(loss(one, label)), float((loss(one + h, label) - loss(one - h, label)) / (2 * h))))
    return np.array(found).T


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_with_weights_and_a_shift(name, kind, weighted):
    """Loss and slope are those of the shifted logit, times the weight; a mean is divided by the weights' mean."""
    rng, zero, n = np.random.default_rng(5), np.dtype(kind).type(0), 200
    logit, shift = (3 * rng.standard_normal(n)).astype(kind), 0.75
    labels = {"log": rng.random(n) < 0.4, "squared": 5 * rng.standard_normal(n), "poisson": rng.poisson(2, n) * rng.choice([1, 0.5], n)}
    y = labels[name].astype(np.float32)
    if name == "poisson":
        logit[:20] = np.log(np.maximum(y[:20], 0.5)) - shift  # next to the least loss
    weights = rng.choice([0.0, 0.25, 3.0], n).astype(np.float32) if weighted else None
    losses, exact_slopes = losses_of(name, logit.astype(np.float64) + shift, y)
    times = np.ones(n) if weights is None else weights.astype(np.float64)
    for objective, scale in ((Objective(name, "mean", shift, 2.5), 1 / (300 * 2.5)), (Objective(name, "sum", shift, 2.5), 1.0)):
        backend, gradient, parts = open_backend("cpu", 2), np.empty(n, kind), np.empty(n, kind)
        terms = slopes(backend, objective, zero, logit, y, weights, gradient, 300)()
        blocks = BlockLosses(backend, objective, zero, 2, 300)
        for block, own in enumerate((slice(0, 77), slice(77, n))):
            blocks.slopes(block, logit[own], y[own], None if weights is None else weights[own], parts[own])
        assert total(blocks.terms()[None]) == total(terms[None]) and np.array_equal(parts, gradient)
        eps = np.finfo(kind).eps
        size = times * (np.abs(exact_slopes) + np.abs(y) + np.abs(logit) + 1)
        assert (np.abs(gradient - exact_slopes * times * scale) <= 4 * eps * size * scale).all()
        bound = n * 2.0**-50 + 4 * eps * (times * (np.abs(exact_slopes) + 1) * (np.abs(logit) + np.abs(y) + 1)).sum()
        assert abs(total(terms[None]) - (losses * times).sum()) <= bound
        backend.close()


def test_a_poisson_loss_is_never_negative():
    """Next to its least, where the terms of the formula cancel, it keeps its digits."""
    backend, zero, y = open_backend("cpu", 1), np.float64(0), np.float32(1000)
    for off in (0.0, 1e-9, -1e-9, 1e-5, 1e-3):
        logit, gradient = np.array([math.log(1000) + off]), np.empty(1)
        found = total(slopes(backend, Objective("poisson", "sum"), zero, logit, np.array([y]), None, gradient, 1)()[None])
        (exact,), _ = losses_of("poisson", logit, np.array([y]))
        assert found >= 0 and found == pytest.approx(exact, rel=1e-6, abs=2e-11)
    backend.close()


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_what_overflows_is_no_finite_loss(kind):
    """Beyond the largest exponent the slope of a Poisson loss is infinite, and so a diverged model is seen."""
    backend, gradient = open_backend("cpu", 1), np.empty(1, kind)
    logit = np.array([800], kind)
    found = slopes(backend, Objective("poisson", "sum"), logit.dtype.type(0), logit, np.ones(1, np.float32), None, gradient, 1)()
    assert np.isinf(gradient[0]) and total(found[None]) == np.inf
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
