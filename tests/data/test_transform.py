"""Fitted transforms and the step from columns to samples: against plain NumPy, exact sums and loops."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deshpc.config import DataConfig, FieldConfig
from deshpc.data import fitting
from deshpc.data.dataset import concatenate
from deshpc.data.fitting import Fitting
from deshpc.data.samples import samples_of, unfinished
from deshpc.data.transform import Transforms, signed_log
from deshpc.formats.columns import Bucket, Categorical, Columns, Entries, Multi
from deshpc.formats.schema import Schema
from deshpc.hashing.key import key

NAN = float("nan")


def schema(*fields):
    return Schema.from_config(DataConfig(fields=fields))


def columns_of(key_fields, dense_fields, rows):
    return Columns(key_fields, dense_fields, np.zeros(rows, np.float32), np.arange(rows))


def dense_only(*numbers):
    return columns_of((), tuple(np.array(some, np.float64) for some in numbers), len(numbers[0]))


def bucket_only(numbers):
    return columns_of((Bucket(np.array(numbers, np.float64)),), (), len(numbers))


def dense_schema(count):
    return schema(*(FieldConfig(f"x{i}", "dense") for i in range(count)))


def fit(of, *blocks):
    found = Fitting(of)
    for columns in blocks:
        found.add(columns, unfinished(columns, of).dense)
    return found.finish()


def fitted_boundaries(field, *blocks):
    return fit(schema(field), *map(bucket_only, blocks)).buckets[0].boundaries


def test_the_schema_numbers_key_fields_and_dense_fields_separately():
    a, b, c = FieldConfig("a", "dense"), FieldConfig("b", "multi"), FieldConfig("c", "bucket")
    d, e = FieldConfig("d", "dense"), FieldConfig("e", "categorical")
    found = Schema.from_config(DataConfig(label="y", fields=(a, b, c, d, e)))
    assert (found.key_fields, found.dense_fields, found.label) == ((b, c, e), (a, d), "y")


def test_a_schema_survives_json():
    fields = (FieldConfig("ä", "multi", ";", ":", "mean", "sum"), FieldConfig("b", "bucket", boundaries=(0.1, 2.0)))
    for one in (schema(*fields, FieldConfig("c", "dense")), Schema.of_fields((), None)):
        assert Schema.from_json(json.loads(json.dumps(one.to_json()))) == one


@pytest.mark.parametrize("edges", [[0, 1000], [0, 1, 17, 17, 500, 1000]])
def test_dense_features_are_standardised_over_the_present_training_rows(edges):
    rng = np.random.default_rng(2)
    x = rng.normal(size=1000) * 10 ** rng.uniform(-2, 5, 1000)
    missing = rng.random(1000) < 0.3
    rows = np.where(missing, NAN, x)
    of = dense_schema(1)
    transforms = fit(of, *(dense_only(rows[begin:end]) for begin, end in zip(edges, edges[1:], strict=False)))
    z = np.sign(x) * np.log(1 + np.abs(x))
    mean = math.fsum(z[~missing]) / (~missing).sum()
    std = math.sqrt(math.fsum((z[~missing] - mean) ** 2) / (~missing).sum())
    dense = samples_of(dense_only(rows), of, transforms).dense
    assert dense.dtype == np.float32 and dense.shape == (1000, 1)
    assert dense[:, 0].tobytes() == transforms.dense[0].standardise(signed_log(rows)).tobytes()  # a saved model's, without a kernel
    np.testing.assert_allclose(dense[:, 0], np.where(missing, 0, (z - mean) / std), rtol=1e-6, atol=1e-6)
    # other rows: the training rows' mean and deviation
    np.testing.assert_allclose(
        samples_of(dense_only([0.0, -7.0, NAN]), of, transforms).dense[:, 0],
        [-mean / std, (-math.log(8) - mean) / std, 0],
        rtol=1e-6,
    )


def test_a_large_mean_costs_no_digits_of_the_deviation():
    """Blocks of different means around 1e300, whose logarithms are near 690.8 and differ by 1e-2."""
    logs = 690.8 + np.random.default_rng(0).normal(size=4000) * 0.01 + np.repeat(np.arange(4) * 0.05, 1000)
    x = np.expm1(logs)
    (found,) = fit(dense_schema(1), *(dense_only(block) for block in np.split(x, 40))).dense
    exact = logs.astype(np.float32).astype(np.float64)
    assert abs(found.mean - math.fsum(exact) / 4000) < 1e-10
    assert abs(found.std - math.sqrt(math.fsum((exact - math.fsum(exact) / 4000) ** 2) / 4000)) < 1e-10


def test_dense_features_that_do_not_vary():
    of = dense_schema(3)
    transforms = fit(of, dense_only([0.1] * 7 + [NAN], [NAN] * 8, [1e-45, *[0.0] * 7]), dense_only([0.1], [NAN], [0.0]))
    constant, empty, nearly = transforms.dense
    assert (constant.mean, constant.std) == (float(np.float32(np.log1p(0.1))), 1.0)
    assert (empty.mean, empty.std) == (0.0, 1.0)
    assert nearly.std == 1.0
    dense = samples_of(dense_only([0.1, NAN, 2.0], [NAN, 0.0, 3.0], [0.0, 1.0, 1e308]), of, transforms).dense
    np.testing.assert_allclose(dense[:, 0], [0, 0, math.log(3) - math.log(1.1)], rtol=1e-6)
    np.testing.assert_allclose(dense[:, 1], [0, 0, math.log(4)], rtol=1e-6)
    assert np.isfinite(dense).all()


@settings(deadline=None)
@given(
    st.lists(st.lists(st.integers(-5, 20).map(float), max_size=20), min_size=1, max_size=4).filter(any),
    st.integers(2, 12),
)
def test_fitted_boundaries_are_quantiles(blocks, buckets):
    numbers = [x for block in blocks for x in block]
    expected = set()
    for i in range(1, buckets):
        at_most = {x: sum(y <= x for y in numbers) for x in numbers}
        expected.add(min(x for x in numbers if at_most[x] * buckets >= i * len(numbers)))
    found = fitted_boundaries(FieldConfig("x", "bucket", buckets=buckets), *([NAN, *block, NAN] for block in blocks))
    assert found == tuple(sorted(expected))


def test_quantiles_of_many_numbers_come_from_a_sample_that_no_block_boundary_changes(monkeypatch):
    x = np.arange(200_000.0)
    x[::3] = NAN
    field = FieldConfig("x", "bucket", buckets=10)
    exact = fitted_boundaries(field, x)
    monkeypatch.setattr(fitting, "SAMPLED_ROWS", 4096)
    found = fitted_boundaries(field, x)
    assert found != exact and len(found) == 9
    # of 4096 draws, the rank of a quantile has a standard deviation of at most 200,000 / 2 / sqrt(4096)
    assert np.abs(np.subtract(found, exact)).max() < 5 * 200_000 / 2 / 4096**0.5
    assert found == fitted_boundaries(field, *np.split(x, [1, 5000, 5000, 70_001, 199_999]))


def test_distinct_numbers_fill_their_buckets_evenly():
    x = np.random.default_rng(1).permutation(np.arange(320.0))
    of = schema(FieldConfig("x", "bucket", buckets=32))
    samples = samples_of(bucket_only(x), of, fit(of, bucket_only(x)))
    _, counts = np.unique(samples.keys, return_counts=True)
    assert len(counts) == 32 and counts.min() >= 9 and counts.max() <= 11


def test_a_bucket_is_the_number_of_boundaries_not_above():
    of = schema(FieldConfig("größe", "bucket", boundaries=(-1.0, 0.0, 2.5)))
    numbers = [-5.0, -1.0, -0.5, 0.0, 2.4999, 2.5, 1e300, NAN]
    transforms = fit(of, bucket_only([1.0, 2.0]))
    samples = samples_of(bucket_only(numbers), of, transforms)
    expected = [key(0, "größe", bucket) for bucket in (b"0", b"1", b"1", b"2", b"2", b"3", b"3", b"")]
    assert samples.keys.tolist() == expected and samples.values is None
    assert transforms.buckets[0].keys(0, np.array(numbers)).tolist() == expected
    assert not Fitting(of).needs_rows and Fitting(of).finish() == transforms


def test_bucket_fields_of_different_lengths_keep_apart():
    of = schema(
        FieldConfig("x", "bucket", boundaries=(5.0,)),
        FieldConfig("y"),
        FieldConfig("z", "bucket", boundaries=(1.0, 2.0, 3.0)),
    )
    x, z = np.array([4.0, 6.0, NAN]), np.array([3.5, NAN, 0.0])
    columns = columns_of((Bucket(x), Categorical(np.array([7, 8, 9], np.uint64)), Bucket(z)), (), 3)
    found = samples_of(columns, of, fit(of, columns)).keys.tolist()
    assert found == [key(0, "x", "0"), 7, key(2, "z", "3"), key(0, "x", "1"), 8, key(2, "z", ""), key(0, "x", ""), 9, key(2, "z", "0")]


def test_a_bucket_field_without_training_values_has_one_bucket():
    of = schema(FieldConfig("x", "bucket"))
    samples = samples_of(bucket_only([3.0, NAN]), of, fit(of, bucket_only([NAN])))
    assert samples.keys.tolist() == [key(0, "x", b"0"), key(0, "x", b"")]


def test_more_than_ten_buckets_have_decimal_numbers():
    of = schema(FieldConfig("x", "bucket", boundaries=tuple(map(float, range(12)))))
    samples = samples_of(bucket_only([9.5, 11.0]), of, fit(of))
    assert samples.keys.tolist() == [key(0, "x", b"10"), key(0, "x", b"12")]


def test_json_keeps_every_float():
    x = np.random.default_rng(4).normal(size=(3, 500))
    columns = columns_of((Bucket(x[0]),), (x[1], x[2]), 500)
    fitted = fit(schema(FieldConfig("a", "bucket"), FieldConfig("b", "dense"), FieldConfig("c", "dense")), columns)
    assert len(fitted.buckets[0].boundaries) == 31
    assert Transforms.from_json(json.loads(json.dumps(fitted.to_json()))) == fitted


def mixed(n, pooling, linear_pooling, weighted, seed=0):
    """Random columns of every kind, with their schema."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 4, n)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    fields = (
        FieldConfig("a"),
        FieldConfig(
            "b", "multi", weight_separator=":" if weighted else "", pooling=pooling, linear_pooling=linear_pooling
        ),
        FieldConfig("c", "dense"),
        FieldConfig("d", "bucket", boundaries=(0.5,)),
        FieldConfig("e", "multi"),
    )
    columns = Columns(
        key_fields=(
            Categorical(rng.integers(1, 2**64, n, dtype=np.uint64)),
            Multi(
                offsets,
                rng.integers(1, 2**64, offsets[-1], dtype=np.uint64),
                rng.normal(size=offsets[-1]).astype(np.float32) if weighted else None,
            ),
            Bucket(rng.random(n)),
            Multi(np.arange(n + 1), rng.integers(1, 2**64, n, dtype=np.uint64)),
        ),
        dense_fields=(rng.random(n),),
        labels=rng.integers(0, 2, n).astype(np.float32),
        rows=np.arange(n),
    )
    return columns, schema(*fields)


@pytest.mark.parametrize("n", [0, 1, 7, 4096, 9000])  # the rows are put together in blocks of 4096
@pytest.mark.parametrize(
    ("pooling", "linear_pooling", "weighted", "width"),
    [("sum", "", False, 0), ("sum", "sum", False, 0), ("mean", "", False, 1), ("sum", "", True, 1), ("mean", "mean", True, 1),
     ("mean", "sum", False, 2), ("sum", "mean", True, 2)],
)  # fmt: skip
def test_each_sample_has_its_keys_in_field_order(n, pooling, linear_pooling, weighted, width):
    columns, of = mixed(n, pooling, linear_pooling, weighted)
    assert of.value_width == width
    samples = samples_of(columns, of, fit(of, columns))
    a, b, d, e = columns.key_fields
    keys, fields, values, offsets = [], [], [], [0]
    bucket_keys = [key(2, "d", b"0"), key(2, "d", b"1")]
    for i in range(n):
        own = b.keys[b.offsets[i] : b.offsets[i + 1]].tolist()
        keys += [int(a.keys[i]), *own, bucket_keys[int(d.numbers[i] >= 0.5)], int(e.keys[i])]
        fields += [0, *[1] * len(own), 2, 3]
        weights = b.weights[b.offsets[i] : b.offsets[i + 1]].tolist() if weighted else [1.0] * len(own)
        x, linear = (
            [w / len(own) if how == "mean" else w for w in weights] for how in (pooling, linear_pooling or pooling)
        )
        values += [(1, 1), *zip(x, linear, strict=True), (1, 1), (1, 1)]
        offsets.append(len(keys))
    assert samples.keys.dtype == np.uint64 and samples.keys.tolist() == keys
    assert samples.fields.dtype == np.uint16 and samples.fields.tolist() == fields
    assert samples.offsets.dtype == np.int64 and samples.offsets.tolist() == offsets
    assert samples.value_width == width
    if width:
        assert samples.values.dtype == np.float32
        expected = np.array(values, np.float32).reshape(-1, 2)
        np.testing.assert_array_equal(samples.values, expected if width == 2 else expected[:, 0])
    assert samples.labels is columns.labels and len(samples) == n
    assert samples.dense.shape == (n, 1) and samples.truth is None


@pytest.mark.parametrize("weighted", [False, True])
def test_entries_are_taken_as_they_are(weighted):
    offsets, keys = np.array([0, 2, 2, 3]), np.array([5, 6, 7], np.uint64)
    entries = Entries(
        offsets, keys, np.array([1, 0, 1], np.uint16), np.array([0.5, 2, -1], np.float32) if weighted else None
    )
    of = Schema.from_config(DataConfig(format="libffm", libffm_fields=2))
    samples = samples_of(columns_of(entries, (), 3), of, fit(of))
    assert (samples.offsets.tolist(), samples.keys.tolist(), samples.fields.tolist()) == (
        [0, 2, 2, 3],
        [5, 6, 7],
        [1, 0, 1],
    )
    assert samples.values.tolist() == ([0.5, 2, -1] if weighted else [1, 1, 1])  # of the format, not of the block


def test_samples_without_key_fields():
    of = dense_schema(1)
    samples = samples_of(dense_only([1.0, 2.0]), of, fit(of, dense_only([1.0, 2.0])))
    assert samples.offsets.tolist() == [0, 0, 0] and len(samples.keys) == 0 and samples.values is None


@pytest.mark.parametrize("sizes", [(5,), (3, 0, 4), (0, 1)])
@pytest.mark.parametrize("linear_pooling", ["", "sum"])
def test_blocks_of_samples_join_to_the_samples_of_all_rows(sizes, linear_pooling):
    parts, rows = [], []
    for seed, n in enumerate(sizes):
        columns, of = mixed(n, "mean", linear_pooling, True, seed)
        part = unfinished(columns, of)
        parts.append(part)
        for i in range(n):
            own = slice(part.offsets[i], part.offsets[i + 1])
            rows.append((part.keys[own].tolist(), part.values[own].tolist(), part.dense[i].tolist(), part.labels[i]))
    joined = concatenate(parts)
    assert parts == [] and len(joined) == sum(sizes)
    for begin, end in ((0, len(joined)), (len(joined) // 2, len(joined)), (0, 1), (0, 0)):
        part = joined.slice(begin, end)
        assert len(part) == end - begin
        for i in range(len(part)):
            own = slice(part.offsets[i], part.offsets[i + 1])
            found = (part.keys[own].tolist(), part.values[own].tolist(), part.dense[i].tolist(), part.labels[i])
            assert found == rows[begin + i]
