"""Corrections of steps that are alike, against closed forms of kriging."""

import math

import numpy as np
import pytest

from deshpc.planner.likeness import Measured, factor

NOISE = 0.1


def kernel(shares, seconds, others, other_seconds):
    apart = [(shares.get(unit, 0) - others.get(unit, 0)) / 0.15 for unit in {*shares, *others}]
    return math.exp(-0.5 * (sum(x * x for x in apart) + math.log(seconds / other_seconds) ** 2))


def test_one_measured_step_corrects_those_like_it():
    one = Measured({"found": 0.5, "crossed": 0.5}, 0.01, 2.0)
    assert factor([one], one.shares, 0.01) == pytest.approx(2 ** (1 / (1 + NOISE)))
    near = {"found": 0.6, "crossed": 0.4}
    assert factor([one], near, 0.02) == pytest.approx(2 ** (kernel(one.shares, 0.01, near, 0.02) / (1 + NOISE)))


def test_far_from_all_nothing_is_corrected():
    one = Measured({"found": 1.0}, 0.01, 5.0)
    assert factor([one], {"crossed": 1.0}, 0.01) == pytest.approx(1.0)
    assert factor([], {"crossed": 1.0}, 0.01) == factor([one], {}, 0.0) == 1.0


def test_several_count_by_the_inverse_of_what_they_have_in_common():
    steps = [Measured({"a": 0.5, "b": 0.5}, 0.01, 1.5), Measured({"a": 0.55, "b": 0.45}, 0.012, 0.8), Measured({"b": 1.0}, 0.03, 1.1)]
    at = {"a": 0.52, "b": 0.4, "c": 0.08}
    common = np.array([[kernel(x.shares, x.explained_s, y.shares, y.explained_s) for y in steps] for x in steps])
    to = np.array([kernel(at, 0.011, x.shares, x.explained_s) for x in steps])
    expected = np.exp(to @ np.linalg.inv(common + NOISE * np.eye(3)) @ np.log([x.ratio for x in steps]))
    assert factor(steps, at, 0.011) == pytest.approx(expected)
