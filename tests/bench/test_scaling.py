"""What the benches for quality and scaling compute beside timing: against closed forms, NumPy sums and hand calculations."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

BENCH = Path(__file__).parents[2] / "scripts" / "bench"


def module(name):
    specification = importlib.util.spec_from_file_location(name, BENCH / f"{name}.py")
    loaded = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(loaded)
    return loaded


def test_line_through_points_on_a_line():
    fit = module("scaling").line_through([1, 2, 4, 8], [5, 7, 11, 19])
    assert fit["a"] == pytest.approx(3) and fit["b"] == pytest.approx(2) and fit["r2"] == pytest.approx(1)
    assert abs(fit["largest_deviation"]) < 1e-9


def test_line_names_the_point_that_is_off():
    fit = module("scaling").line_through([1, 2, 3, 4, 100], [1, 2, 3, 8, 100])
    assert fit["at"] == 4 and fit["largest_deviation"] < -0.3


def test_samples_until_a_level():
    samples_until = module("quality").samples_until
    curve = [(100, 0.6), (200, 0.7), (300, 0.69), (400, 0.75)]
    assert samples_until(curve, 0.6) == 100
    assert samples_until(curve, 0.55) == 50  # from 0.5 at no samples
    assert samples_until(curve, 0.65) == 150
    assert samples_until(curve, 0.72) == 350
    assert samples_until(curve, 0.76) is None


def test_keys_are_distinct_and_zipf_numbers_have_their_distribution():
    worker, most = module("rows_worker"), 1000
    keys = worker.key_of(np.arange(100_000, dtype=np.uint64))
    assert len(np.unique(keys)) == 100_000
    uniform = (np.arange(200_000) + 0.5) / 200_000  # every quantile once
    numbers = worker.zipf(uniform, most)
    edges = np.arange(most + 1) + 1.0
    cdf = (edges**-0.05 - 1.0) / ((most + 1.0) ** -0.05 - 1.0)  # of the density (1 + x)^-1.05 on [0, most]
    share = np.bincount(numbers.astype(np.int64), minlength=most) / len(uniform)
    np.testing.assert_allclose(share, np.diff(cdf), atol=1e-5)
