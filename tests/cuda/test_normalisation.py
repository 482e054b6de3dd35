"""Layer and batch normalisation on a device, against NumPy float64 and, where its bits are promised, the CPU backend."""

import numpy as np
import pytest
from device_rows import EPS, assert_same_bits, assert_within, devices
from rows_apart import RowsApart

from deshpc.backend.cpu import normalisation as on_cpu
from deshpc.backend.cuda.backend import CudaBackend

TYPES = pytest.mark.parametrize("compute", ["float32", "float64"])
SHAPES = (67, 35), (130, 1), (3, 100), (0, 3)
EPSILON = 1e-5


def numbers_of(rng, compute, *shapes):
    return [rng.standard_normal(shape).astype(compute) for shape in shapes]


@TYPES
def test_layers(few, compute):
    backend, rng, eps = CudaBackend(few), np.random.default_rng(1), EPS[compute]
    for n, h in SHAPES:
        x, (gain, shift) = RowsApart(rng, n, h, compute), numbers_of(rng, compute, h, h)
        given = backend.array(gain), backend.array(shift)
        inverse, normal, y = (backend.zeros(shape, compute) for shape in ((n, 1), (n, h), (n, h)))
        backend.normalisation.layer(x.on(backend)[1], *given, EPSILON, inverse, normal, y)
        numbers = x.numbers.astype(np.float64)
        centred = numbers - numbers.mean(axis=1, keepdims=True)
        exact = 1 / np.sqrt((centred**2).mean(axis=1, keepdims=True) + EPSILON)
        # the mean is a tree and a quotient, of numbers of the row's size; the variance as many roundings of twice that; by a
        # single unit, which is its own mean, nothing is centred
        size = np.abs(numbers).max(axis=1, keepdims=True, initial=0)
        off = (h + 4) * eps * size
        assert_within(backend.host(inverse), exact, exact * (off * exact + (h + 8) * eps))
        bound = off * exact + np.abs(centred) * exact * (off * exact + (h + 10) * eps)
        assert_within(backend.host(normal), centred * exact, bound)
        assert_same_bits(backend.host(y), backend.host(normal) * gain + shift)

        gradient = RowsApart(rng, n, h, compute)
        whole, of_x = gradient.on(backend)
        backend.normalisation.layer_adjoint(of_x, normal, inverse, given[0])
        result = backend.host(whole)[1 : n + 1, 3 : 3 + h]
        assert_same_bits(backend.host(whole), gradient.with_numbers(result))
        d, at = gradient.numbers.astype(np.float64) * gain, backend.host(normal).astype(np.float64)
        factor = backend.host(inverse).astype(np.float64)
        means = [one.mean(axis=1, keepdims=True) for one in (d, d * at)]
        sizes = [np.abs(one).mean(axis=1, keepdims=True) for one in (d, d * at)]
        bound = (h + 8) * eps * factor * (np.abs(d) + sizes[0] + np.abs(at) * sizes[1])
        assert_within(result, (d - means[0] - at * means[1]) * factor, bound)


@TYPES
def test_statistics_of_batches(few, compute):
    """Sums of moments are float64, in a fixed order; what becomes of them has the CPU's bits."""
    rng = np.random.default_rng(2)
    backends = [CudaBackend(one) for one in devices(few)]
    for n, h in (*SHAPES, (2, 3), (1, 2)):
        x, kept, found = RowsApart(rng, n, h, compute), numbers_of(rng, compute, h, h), []
        for backend in backends:
            sums, mean, variance = (backend.array(np.full(size, 7.0)) for size in (2 * h + 1, h, h))
            of_kept = [backend.array(one) for one in kept]
            backend.normalisation.moments(x.on(backend)[1], sums)
            backend.normalisation.statistics(sums, mean, variance)
            backend.normalisation.keep(sums, mean, variance, 0.1, *of_kept)
            found.append([backend.host(one) for one in (sums, mean, variance, *of_kept)])
            for one, same in zip(found[-1], found[0], strict=True):
                assert_same_bits(one, same)  # whatever the schedule
        sums = found[0][0]
        numbers = x.numbers.astype(np.float64)
        assert sums[0] == n
        for begin, terms in ((1, numbers), (1 + h, numbers**2)):
            assert_within(sums[begin : begin + h], terms.sum(axis=0), 2 * (n + 1) * 2.0**-53 * np.abs(terms).sum(axis=0))
        of_cpu = np.empty(h), np.empty(h), *(one.copy() for one in kept)
        on_cpu.statistics(sums, *of_cpu[:2])
        on_cpu.keep(sums, *of_cpu[:2], 0.1, *of_cpu[2:])
        for one, expected in zip(found[0][1:], of_cpu, strict=True):
            assert_same_bits(one, expected)


@TYPES
def test_a_batch_of_one_number(few, compute):
    """A variance that rounding makes negative is 0, and one that is no number stays none."""
    backend, mean, variance = CudaBackend(few), np.empty(2), np.empty(2)
    sums = np.array([3, 0.3, 1, 0.03 - 1e-16, np.nan])
    on_device = backend.zeros(2, np.float64), backend.zeros(2, np.float64)
    backend.normalisation.statistics(backend.array(sums), *on_device)
    on_cpu.statistics(sums, mean, variance)
    assert_same_bits(backend.host(on_device[0]), mean)
    assert variance[0] == backend.host(on_device[1])[0] == 0 and np.isnan([variance[1], backend.host(on_device[1])[1]]).all()


@TYPES
@pytest.mark.parametrize("kept", [False, True])
def test_batches(few, compute, kept):
    """With statistics of a batch, in float64, and with those that are kept, in the compute type."""
    backend, rng = CudaBackend(few), np.random.default_rng(3)
    for n, h in SHAPES:
        x, (gain, shift) = RowsApart(rng, n, h, compute), numbers_of(rng, compute, h, h)
        mean, variance = rng.standard_normal(h), rng.random(h) + 0.1
        if kept:
            mean, variance = mean.astype(compute), variance.astype(compute)
        given = [backend.array(one) for one in (mean, variance, gain, shift)]
        results = [backend.zeros(shape, compute) for shape in (h, (n, h), (n, h))]
        backend.normalisation.standardise(x.on(backend)[1], *given[:2], EPSILON, *given[2:], *results)
        of_cpu = [np.empty(shape, compute) for shape in (h, (n, h), (n, h))]
        on_cpu.standardise(x.numbers, mean, variance, EPSILON, gain, shift, *of_cpu)
        for one, expected in zip(results, of_cpu, strict=True):
            assert_same_bits(backend.host(one), expected)
        exact = (x.numbers.astype(np.float64) - mean) / np.sqrt(variance.astype(np.float64) + EPSILON)
        size = np.abs(exact) + (np.abs(x.numbers) + np.abs(mean)) / np.sqrt(variance)
        assert_within(of_cpu[1], exact, 4 * EPS[compute] * size)

        inverse, normal, _ = results
        gradient = RowsApart(rng, n, h, compute)
        whole, of_x = gradient.on(backend)
        of_shift, of_gain, sums = backend.zeros(h, compute), backend.zeros(h, compute), backend.zeros(2 * h + 1, np.float64)
        backend.normalisation.adjoint_sums(of_x, normal, of_shift, of_gain, sums)
        backend.normalisation.batch_adjoint(of_x, normal, inverse, given[2], sums)
        g, at = gradient.numbers.astype(np.float64), of_cpu[1].astype(np.float64)
        for one, terms in ((of_shift, g), (of_gain, g * at)):
            assert_within(backend.host(one), terms.sum(axis=0), (n + 1) * EPS[compute] * np.abs(terms).sum(axis=0))
        totals = backend.host(sums)
        assert totals.tolist() == [n, *backend.host(of_shift).tolist(), *backend.host(of_gain).tolist()]
        expected = gradient.numbers.copy()
        on_cpu.batch_adjoint(expected, of_cpu[1], of_cpu[0], gain, totals)
        assert_same_bits(backend.host(whole), gradient.with_numbers(expected))
