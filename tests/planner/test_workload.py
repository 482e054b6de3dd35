"""Distinct keys, in expectation, against keys that are drawn; the busiest owner against keys that are dealt out."""

import numpy as np
import pytest

from deshpc.planner.workload import FieldWorkload, Workload


def drawn(field, samples, random):
    chances = np.arange(1, field.keys + 1, dtype=np.float64) ** -field.exponent
    return random.choice(field.keys, round(samples * field.keys_per_sample), p=chances / chances.sum())


@pytest.mark.parametrize("field", [FieldWorkload("a", 7, 1.0, 1.05), FieldWorkload("b", 5000, 3.0, 0.7), FieldWorkload("c", 200_000, 1.0, 1.3)])
def test_distinct_keys_of_a_batch(field):
    random = np.random.default_rng(3)
    for samples in (1, 64, 4096):
        found = np.mean([len(np.unique(drawn(field, samples, random))) for _ in range(20)])
        assert field.distinct(samples) == pytest.approx(found, rel=0.04, abs=0.3)


def test_what_was_counted_corrects_what_is_expected():
    field = FieldWorkload("a", 5000, 2.0, 1.0)
    half = field.distinct(512) / 512 / 2
    workload = Workload(10_000, (field,), 0, 0, {512: half, 2048: field.distinct(2048) / 2048})
    assert workload.distinct(512) == pytest.approx(512 * half)
    assert workload.distinct(8192) == pytest.approx(field.distinct(8192))  # beyond what was counted: as at the nearest
    assert field.distinct(1024) / 2 < workload.distinct(1024) < field.distinct(1024)


def test_the_busiest_owner_has_a_hot_key():
    """One key in every sample, and very many others: its owner has half of all occurrences, and its part of the rest."""
    hot, others = FieldWorkload("hot", 1, 1.0, 1.0), FieldWorkload("others", 10**6, 1.0, 0.01)
    workload = Workload(1000, (hot, others), 0, 0, {})
    assert workload.busiest(1) == 1.0
    assert workload.busiest(4) == pytest.approx((1 + 1 / 4) / (2 / 4), rel=0.01)


def test_of_a_profile():
    profile = {
        "rows": 100, "dense": [{}, {}], "distinct_per_sample": {"512": 1.5, "8192": None},
        "fields": [{"name": "site", "distinct_keys": 40, "keys_per_sample": 1.0, "zipf_exponent": None}],
    }  # fmt: skip
    workload = Workload.from_profile(profile, 1)
    assert (workload.rows, workload.n_dense, workload.value_width, workload.counted) == (100, 2, 1, {512: 1.5})
    assert workload.field_names == ("site",) and workload.keys_per_sample == 1.0
