"""Fitted transforms and the step from columns to samples: against plain NumPy and loops."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deshpc.config import DataConfig, FieldConfig
from deshpc.data.columns import Bucket, Categorical, Columns, Multi
from deshpc.data.schema import Schema
from deshpc.data.transform import Buckets, Transforms
from deshpc.hashing.key import key

NAN = float("nan")


def schema(*fields):
    return Schema.from_config(DataConfig(fields=fields))


def dense_only(*numbers):
    columns = tuple(np.array(some, np.float64) for some in numbers)
    return Columns((), columns, np.zeros(len(columns[0]), np.float32))


def bucket_only(numbers):
    return Columns((Bucket(np.array(numbers, np.float64)),), (), np.zeros(len(numbers), np.float32))


def fit_dense(*numbers):
    return Transforms.fit(dense_only(*numbers), schema(*(FieldConfig(f"x{i}", "dense") for i in range(len(numbers)))))


def test_the_schema_numbers_key_fields_and_dense_fields_separately():
    a, b, c = FieldConfig("a", "dense"), FieldConfig("b", "multi"), FieldConfig("c", "bucket")
    d, e = FieldConfig("d", "dense"), FieldConfig("e", "categorical")
    found = Schema.from_config(DataConfig(label="y", fields=(a, b, c, d, e)))
    assert (found.key_fields, found.dense_fields, found.label) == ((b, c, e), (a, d), "y")


def test_dense_features_are_standardised_over_the_present_training_rows():
    rng = np.random.default_rng(2)
    x = rng.normal(size=1000) * 10 ** rng.uniform(-2, 5, 1000)
    missing = rng.random(1000) < 0.3
    transforms = fit_dense(np.where(missing, NAN, x))
    z = np.sign(x) * np.log(1 + np.abs(x))
    mean = math.fsum(z[~missing]) / (~missing).sum()
    std = math.sqrt(math.fsum((z[~missing] - mean) ** 2) / (~missing).sum())
    dense = transforms.apply(dense_only(np.where(missing, NAN, x))).dense
    assert dense.dtype == np.float32 and dense.shape == (1000, 1)
    np.testing.assert_allclose(dense[:, 0], np.where(missing, 0, (z - mean) / std), rtol=1e-6, atol=1e-6)
    # other rows: the training rows' mean and deviation
    np.testing.assert_allclose(
        transforms.apply(dense_only([0.0, -7.0, NAN])).dense[:, 0],
        [-mean / std, (-math.log(8) - mean) / std, 0],
        rtol=1e-6,
    )


def test_dense_features_that_do_not_vary():
    transforms = fit_dense([0.1] * 7 + [NAN], [NAN] * 8)
    constant, empty = transforms.dense
    assert (constant.mean, constant.std) == (np.log1p(0.1), 1.0)
    assert (empty.mean, empty.std) == (0.0, 1.0)
    dense = transforms.apply(dense_only([0.1, NAN, 2.0], [NAN, 0.0, 3.0])).dense
    np.testing.assert_allclose(dense[:, 0], [0, 0, math.log(3) - math.log(1.1)], rtol=1e-6)
    np.testing.assert_allclose(dense[:, 1], [0, 0, math.log(4)], rtol=1e-6)


@settings(deadline=None)
@given(st.lists(st.integers(-5, 20).map(float), min_size=1, max_size=40), st.integers(2, 12))
def test_fitted_boundaries_are_quantiles(numbers, buckets):
    expected = set()
    for i in range(1, buckets):
        at_most = {x: sum(y <= x for y in numbers) for x in numbers}
        expected.add(min(x for x in numbers if at_most[x] * buckets >= i * len(numbers)))
    shuffled = np.array([NAN, *numbers, NAN])
    assert Buckets.fit("x", shuffled, buckets).boundaries == tuple(sorted(expected))


def test_distinct_numbers_fill_their_buckets_evenly():
    x = np.random.default_rng(1).permutation(np.arange(320.0))
    field = FieldConfig("x", "bucket", buckets=32)
    samples = Transforms.fit(bucket_only(x), schema(field)).apply(bucket_only(x))
    _, counts = np.unique(samples.keys, return_counts=True)
    assert len(counts) == 32 and counts.min() >= 9 and counts.max() <= 11


def test_a_bucket_is_the_number_of_boundaries_not_above():
    field = FieldConfig("größe", "bucket", boundaries=(-1.0, 0.0, 2.5))
    numbers = [-5.0, -1.0, -0.5, 0.0, 2.4999, 2.5, 1e300, NAN]
    samples = Transforms.fit(bucket_only([1.0, 2.0]), schema(field)).apply(bucket_only(numbers))
    buckets = [b"0", b"1", b"1", b"2", b"2", b"3", b"3", b""]
    assert samples.keys.tolist() == [key("größe", bucket) for bucket in buckets]
    assert samples.values is None


def test_a_bucket_field_without_training_values_has_one_bucket():
    samples = Transforms.fit(bucket_only([NAN]), schema(FieldConfig("x", "bucket"))).apply(bucket_only([3.0, NAN]))
    assert samples.keys.tolist() == [key("x", b"0"), key("x", b"")]


def test_more_than_ten_buckets_have_decimal_numbers():
    field = FieldConfig("x", "bucket", boundaries=tuple(map(float, range(12))))
    samples = Transforms.fit(bucket_only([1.0]), schema(field)).apply(bucket_only([9.5, 11.0]))
    assert samples.keys.tolist() == [key("x", b"10"), key("x", b"12")]


def test_json_keeps_every_float():
    x = np.random.default_rng(4).normal(size=(3, 500))
    columns = Columns((Bucket(x[0]),), (x[1], x[2]), np.zeros(500, np.float32))
    fitted = Transforms.fit(
        columns, schema(FieldConfig("a", "bucket"), FieldConfig("b", "dense"), FieldConfig("c", "dense"))
    )
    assert len(fitted.buckets[0].boundaries) == 31
    assert Transforms.from_json(json.loads(json.dumps(fitted.to_json()))) == fitted


def mixed(n, pooling, seed=0):
    """Random columns of every kind, with their schema."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 4, n)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    fields = (
        FieldConfig("a"),
        FieldConfig("b", "multi", pooling=pooling),
        FieldConfig("c", "dense"),
        FieldConfig("d", "bucket", boundaries=(0.5,)),
        FieldConfig("e", "multi"),
    )
    columns = Columns(
        key_fields=(
            Categorical(rng.integers(1, 2**64, n, dtype=np.uint64)),
            Multi(offsets, rng.integers(1, 2**64, offsets[-1], dtype=np.uint64), pooling),
            Bucket(rng.random(n)),
            Multi(np.arange(n + 1), rng.integers(1, 2**64, n, dtype=np.uint64), "sum"),
        ),
        dense_fields=(rng.random(n),),
        labels=rng.integers(0, 2, n).astype(np.float32),
    )
    return columns, schema(*fields)


@pytest.mark.parametrize("n", [0, 1, 7, 4096, 9000])  # the rows are put together in blocks of 4096
@pytest.mark.parametrize("pooling", ["sum", "mean"])
def test_each_sample_has_its_keys_in_field_order(n, pooling):
    columns, of = mixed(n, pooling)
    samples = Transforms.fit(columns, of).apply(columns)
    a, b, d, e = columns.key_fields
    keys, fields, values, offsets = [], [], [], [0]
    bucket_keys = [key("d", b"0"), key("d", b"1")]
    for i in range(n):
        own = b.keys[b.offsets[i] : b.offsets[i + 1]].tolist()
        keys += [int(a.keys[i]), *own, bucket_keys[int(d.numbers[i] >= 0.5)], int(e.keys[i])]
        fields += [0, *[1] * len(own), 2, 3]
        values += [1, *[1 / len(own) if pooling == "mean" else 1 for _ in own], 1, 1]
        offsets.append(len(keys))
    assert samples.keys.dtype == np.uint64 and samples.keys.tolist() == keys
    assert samples.fields.dtype == np.uint16 and samples.fields.tolist() == fields
    assert samples.offsets.dtype == np.int64 and samples.offsets.tolist() == offsets
    if pooling == "sum":
        assert samples.values is None
    else:
        assert samples.values.dtype == np.float32
        np.testing.assert_array_equal(samples.values, np.array(values, np.float32))
    assert samples.labels is columns.labels and len(samples) == n
    assert samples.dense.shape == (n, 1) and samples.truth is None


def test_samples_without_key_fields():
    samples = fit_dense([1.0, 2.0]).apply(dense_only([1.0, 2.0]))
    assert samples.offsets.tolist() == [0, 0, 0] and len(samples.keys) == 0 and samples.values is None
