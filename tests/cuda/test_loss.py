"""Log-loss, sums over parts of the samples, and largest values, against closed forms in NumPy float64 and Python's integers."""

import numpy as np
import pytest
from device_rows import (
    DOUBLE,
    EPS,
    FIXED,
    SINGLE,
    assert_same_bits,
    assert_within,
    devices,
    fixed_sum,
    small_batch,
)

from deshpc.backend.arguments import Parts
from deshpc.backend.cpu import loss as on_cpu
from deshpc.backend.cuda.backend import CudaBackend
from deshpc.backend.exact_sum import joined, terms_of, total
from deshpc.backend.losses import LOSSES, LogLoss

LARGE = [0.0, -0.0, 1e-30, -1e-30, 17.0, -17.0, 40.0, -40.0, 88.0, -88.0, 110.0, -110.0, 800.0, -800.0, 1e30, -1e30]


def edges_of(samples, parts):
    return samples * np.arange(parts + 1) // parts


def loss_of(z, y):
    """log(1 + exp(z)) - y z, of any z."""
    return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))) - y * z


def run(backend, logit, labels, scale, parts):
    """(gradient, sums of the losses of the parts)"""
    zero = logit.dtype.type(0)
    gradient, sums, beyond = (backend.array(one) for one in (np.full_like(logit, 7), np.full((parts, 2), 7), np.full(parts, 7.0)))
    on_device = backend.array(logit), backend.array(labels)
    backend.loss.slopes(
        LogLoss(zero), zero, *on_device, None, logit.dtype.type(scale), gradient, sums, beyond, Parts(edges_of(len(logit), parts), 0, parts)
    )  # fmt: skip
    for one, host in zip(on_device, (logit, labels), strict=True):
        assert_same_bits(backend.host(one), host)
    found = zip(backend.host(sums), backend.host(beyond).tolist(), strict=True)
    return backend.host(gradient), np.array([total(joined(*integers, rest)[None]) for integers, rest in found])


def error_of_losses(z, y, eps):
    """exp is within 2 eps, so log(1 + e) within 3 eps e and, by the sum 1 + e in float64, 2^-52; (1 - y) z or y z is rounded, unless
    y is 0 or 1; the loss is rounded to a multiple of 2^-50."""
    return 3 * eps * np.exp(-np.abs(z)) + 2.0**-52 * (2 + np.abs(z)) + eps * np.abs(z) * ((y != 0) & (y != 1))


@pytest.mark.parametrize("compute", ["float32", "float64"])
def test_log_loss(few, compute):
    backend = CudaBackend(few)
    for scale in (1.0, 1 / 37):
        check_log_loss(backend, compute, scale)


def check_log_loss(backend, compute, scale):
    """Each sample is a part, so that the losses are seen one by one."""
    rng, eps = np.random.default_rng(1), EPS[compute]
    logit = np.concatenate([LARGE, LARGE, rng.standard_normal(60) * 5]).astype(compute)
    labels = np.concatenate([np.zeros(16), np.ones(16), rng.integers(0, 2, 40), rng.random(20)]).astype(np.float32)
    gradient, losses = run(backend, logit, labels, scale, len(logit))
    z, y, s = logit.astype(np.float64), labels.astype(np.float64), float(logit.dtype.type(scale))
    assert np.isfinite(losses).all() and np.isfinite(gradient).all() and (losses >= 0).all()
    assert_within(losses, loss_of(z, y), error_of_losses(z, y, eps))
    e = np.exp(-np.abs(z))
    p = np.where(z >= 0, 1, e) / (1 + e)
    # exp within 2 eps, a sum, a quotient, the difference and its scaling; below the smallest normal number steps are absolute
    bound = (4 * eps * p + 2 * eps * np.abs(p - y) + 4 * np.finfo(compute).smallest_subnormal) * s
    assert_within(gradient, (p - y) * s, bound)
    certain = logit <= -800
    assert (gradient[certain & (labels == 0)] == 0).all() and (losses[certain & (labels == 0)] == 0).all()
    assert (losses[(logit == 1e30) & (labels == 0)] == logit.dtype.type(1e30)).all()


@pytest.mark.parametrize("compute", ["float32", "float64"])
def test_sums_of_losses(few, compute):
    backends = [CudaBackend(one) for one in devices(few)]
    for samples, parts in ((2000, 3), (37, 16), (5, 16), (0, 16), (1, 16)):
        check_sums_of_losses(backends, compute, samples, parts)


def check_sums_of_losses(backends, compute, samples, parts):
    rng = np.random.default_rng(samples)
    logit, labels = (rng.standard_normal(samples) * 3).astype(compute), rng.integers(0, 2, samples).astype(np.float32)
    found = [run(backend, logit, labels, 1.0, parts) for backend in backends]
    for gradient, sums in found:
        assert_same_bits(gradient, found[0][0])
        assert_same_bits(sums, found[0][1])  # whatever the schedule
    z, y, edges = logit.astype(np.float64), labels.astype(np.float64), edges_of(samples, parts)
    exact, error = loss_of(z, y), error_of_losses(z, y, EPS[compute])
    for p in range(parts):
        own = slice(edges[p], edges[p + 1])
        size = exact[own].sum()
        assert_within(sums[p], size, error[own].sum() + (edges[p + 1] - edges[p]) * 2.0**-52 * size)


@pytest.mark.parametrize(
    "kind, samples, parts",
    [(SINGLE, 2001, 3), (DOUBLE, 37, 16), (FIXED, 2001, 3), (FIXED, 5, 16), (SINGLE, 1, 16), (FIXED, 0, 4), (SINGLE, 0, 4)],
    ids=str,
)  # fmt: skip
def test_sum_of_gradients(few, kind, samples, parts):
    scale, gradient = 2.0**40, np.random.default_rng(2).standard_normal(samples).astype(kind.compute)
    edges, found = edges_of(samples, parts), []
    for one in devices(few):
        backend = CudaBackend(one)
        sums = backend.array(np.full(parts, 7, kind.sums))
        backend.loss.sum_gradient(backend.array(gradient), scale, sums, Parts(edges, 0, parts))
        found.append(backend.host(sums))
        assert_same_bits(found[-1], found[0])
    for p in range(parts):
        own = gradient[edges[p] : edges[p + 1]].astype(np.float64)
        if kind.fixed:
            assert found[0][p] == fixed_sum(own, scale)
        else:
            assert_within(found[0][p], own.sum(), len(own) * kind.eps * np.abs(own).sum())
    if kind.fixed:
        of_cpu = np.zeros(parts, np.int64)
        on_cpu.sum_gradient(gradient, scale, of_cpu, Parts(edges, 0, parts))
        assert_same_bits(found[0], of_cpu)


def test_terms_are_rounded_to_even(few):
    gradient = np.arange(-20, 21) / 8
    backend = CudaBackend(few)
    sums = backend.zeros(2, np.int64)
    backend.loss.sum_gradient(backend.array(gradient), 4.0, sums, Parts(edges_of(41, 2), 0, 2))
    assert backend.host(sums).tolist() == [fixed_sum(gradient[:20], 4.0), fixed_sum(gradient[20:], 4.0)]


@pytest.mark.parametrize("compute", ["float32", "float64"])
def test_begin_logit(few, compute):
    backend = CudaBackend(few)
    for samples in (0, 1, 300):
        logit, bias = backend.array(np.full(samples + 1, 7, compute)), backend.array(np.array(0.3, compute))
        backend.loss.begin_logit(logit[:samples], bias)
        assert_same_bits(backend.host(logit), np.append(np.full(samples, 0.3, compute), np.array(7, compute)))


@pytest.mark.parametrize("width, n_dense, samples", [(0, 0, 29), (0, 3, 29), (1, 0, 29), (1, 2, 300), (2, 1, 37), (2, 0, 1), (1, 1, 0)])
def test_largest_values(device, width, n_dense, samples):
    rng = np.random.default_rng(samples + width)
    occurrences = small_batch(rng, samples, 5, width)
    dense = rng.standard_normal((samples, n_dense)).astype(np.float32)
    values = occurrences.values
    if width and len(values):
        values.reshape(-1)[len(values) // 2] = -np.inf
    backend = CudaBackend(device)
    offsets = backend.array(occurrences.offsets)
    largest = backend.array(np.full(samples + 1, 7.0))
    backend.loss.largest_values(
        offsets[:samples], offsets[1:], None if values is None else backend.array(values), backend.array(dense), largest[:samples]
    )
    expected = np.full(samples, 0.0 if width else 1.0)
    if width:
        np.maximum.at(expected, occurrences.sample, np.maximum(np.abs(occurrences.x), np.abs(occurrences.linear_x)))
    if n_dense:
        expected = np.maximum(expected, np.abs(dense).max(axis=1).astype(np.float64))
    assert_same_bits(backend.host(largest), np.append(expected, 7.0))


def test_losses_are_added_as_on_the_cpu(few):
    """Infinite logits of either label, what lies beyond the integers' range, and a NaN."""
    backend = CudaBackend(few)
    for special in ([np.inf, -np.inf], [2.0**30, -(2.0**40)], [np.nan, 3.0]):
        logit = np.concatenate([np.random.default_rng(4).standard_normal(70) * 5, special, special])
        labels = np.concatenate([np.zeros(37), np.ones(37)]).astype(np.float32)
        labels[70:] = [1, 0, 1, 0] if special[0] == np.inf else [1, 0, 0, 1]
        _, (found,) = run(backend, logit, labels, 1.0, 1)
        e, slope = np.exp(-np.abs(logit)), np.where(logit > 0, 1 - labels, labels)
        losses = np.log1p(e) + np.where(slope == 0, 0, np.abs(logit))
        expected = total(terms_of(losses)[None])
        assert np.isnan(found) if np.isnan(expected) else np.isfinite(found) and abs(found - expected) <= 1e-13 * max(1, expected)


@pytest.mark.parametrize("compute", ["float32", "float64"])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_with_weights_and_a_shift(few, name, compute):
    """As on the CPU, whose formulas `tests/nn/test_loss.py` holds against the definition."""
    rng, n, zero = np.random.default_rng(6), 60, np.dtype(compute).type(0)
    logit, loss = (3 * rng.standard_normal(n)).astype(compute), LOSSES[name](zero.dtype.type(0.75))
    labels = (rng.poisson(2, n) if name == "poisson" else rng.random(n) < 0.5).astype(np.float32)
    if name == "squared":
        labels -= np.float32(3.5)
    eps = EPS[compute]
    for weights in (None, rng.choice([0.0, 0.25, 3.0], n).astype(np.float32)):
        backend, found = CudaBackend(few), []
        for one, slopes in ((backend, backend.loss.slopes), (None, on_cpu.slopes)):
            put = np.copy if one is None else one.array
            given = put(logit), put(labels), None if weights is None else put(weights)
            gradient, sums, beyond = put(np.zeros(n, compute)), put(np.zeros((n, 2), np.int64)), put(np.zeros(n))
            slopes(loss, zero, *given, zero.dtype.type(0.5), gradient, sums, beyond, Parts(edges_of(n, n), 0, n))
            gradient, sums = (array if one is None else one.host(array) for array in (gradient, sums))
            found.append((gradient, sums @ [2.0**-15, 2.0**-50]))
        size = (np.exp(logit.astype(np.float64) + 0.75) if name == "poisson" else np.abs(logit) + 1) + np.abs(labels) + 1
        size *= 1 if weights is None else weights
        assert_within(found[0][0], found[1][0], 4 * eps * size)
        assert_within(found[0][1], found[1][1], 8 * eps * size * (np.abs(logit) + 1) + 2.0**-49)
        assert (found[0][1] > 0).sum() >= n // 2
