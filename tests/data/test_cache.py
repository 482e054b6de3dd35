"""Caches: what is written against what is read back and against samples in memory; every damage is found."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deshpc.config import DataConfig, FieldConfig
from deshpc.data import cache
from deshpc.data.cache import CacheWriter
from deshpc.data.cache_file import Cache
from deshpc.data.cached_input import CacheInput
from deshpc.data.dataset import ARRAYS
from deshpc.data.fitting import Fitting
from deshpc.data.samples import samples_of, unfinished
from deshpc.errors import DataError
from deshpc.formats.bad_rows import BadRows
from deshpc.formats.columns import Bucket, Categorical, Columns, Multi
from deshpc.formats.schema import Schema
from deshpc.storage.container import Container, ContainerWriter

PLAIN = Schema.of_fields((FieldConfig("a"), FieldConfig("x", "dense")), "y")


def schema(pooling="mean", linear_pooling="sum"):
    return Schema.of_fields(
        (
            FieldConfig("a"), FieldConfig("b", "multi", weight_separator=":", pooling=pooling, linear_pooling=linear_pooling),
            FieldConfig("c", "bucket", buckets=3), FieldConfig("x", "dense"), FieldConfig("z", "dense"),
        ),
        "y",
    )  # fmt: skip


def keys_of(rng, count, field):
    """Random keys of a field."""
    return rng.integers(1, 2**64, count, dtype=np.uint64) & ~np.uint64(0xFFFF << 32) | np.uint64(field << 32)


def columns_of(rows, seed):
    """Random columns of `schema`, of which some numbers are missing."""
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 4, rows))])
    numbers = np.where(rng.random((3, rows)) < 0.3, np.nan, rng.normal(size=(3, rows)) * 100)
    return Columns(
        (
            Categorical(keys_of(rng, rows, 0)),
            Multi(
                offsets,
                keys_of(rng, offsets[-1], 1),
                rng.random(offsets[-1]).astype(np.float32),
            ),
            Bucket(numbers[0]),
        ),
        (numbers[1], numbers[2]),
        rng.integers(0, 2, rows).astype(np.float32),
        np.arange(rows),
    )


def write(path, of, blocks, transforms=None):
    """Blocks of Columns as a cache; transforms that are not given are fitted on the way.  Returns the Transforms."""
    fitting = Fitting(of)
    with CacheWriter(path, of) as writer:
        for columns in blocks:
            if transforms is None:
                block = unfinished(columns, of)
                fitting.add(columns, block.dense)
                writer.add(block)
            else:
                writer.add(samples_of(columns, of, transforms))
        unknown = transforms is None
        transforms = fitting.finish() if unknown else transforms
        writer.finish(transforms, unknown, BadRows("error"), {})
    return transforms


def plain_columns(rows):
    return Columns(
        (Categorical(np.arange(1, rows + 1, dtype=np.uint64)),), (np.arange(rows) * 1.5,),
        (np.arange(rows) % 2).astype(np.float32), np.arange(rows),
    )  # fmt: skip


def rows_of(dataset):
    """Every sample as bytes: the bits count."""
    found = []
    for i in range(len(dataset)):
        own = slice(dataset.offsets[i], dataset.offsets[i + 1])
        values = b"" if dataset.values is None else dataset.values[own].tobytes()
        found.append(
            (
                dataset.keys[own].tobytes(),
                dataset.fields[own].tobytes(),
                values,
                dataset.dense[i].tobytes(),
                dataset.labels[i],
            )
        )
    return found


def all_rows(path):
    """The samples of a cache, which touches everything."""
    held = Cache(path)
    return [row for number in range(len(held.counts)) for row in rows_of(held.piece(number))]


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 30), min_size=1, max_size=6).filter(any),
    piece_rows=st.sampled_from([1, 7, 16, 100]),
    poolings=st.sampled_from([("mean", "sum"), ("sum", ""), ("mean", "")]),
    known=st.booleans(),
)
def test_a_cache_gives_the_samples_that_memory_has_to_the_bit(sizes, piece_rows, poolings, known):
    of = schema(*poolings)
    blocks = [columns_of(rows, seed) for seed, rows in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(cache, "PIECE_ROWS", piece_rows)
        path = Path(folder) / "a.cache"
        transforms = write(path, of, blocks)
        if known:
            write(path, of, blocks, transforms)
        held = Cache(path)
        assert (held.rows, held.schema, held.transforms) == (sum(sizes), of, transforms)
        assert [*held.counts[:-1], piece_rows] == [piece_rows] * len(held.counts) and sum(held.counts) == held.rows
        expected = [row for columns in blocks for row in rows_of(samples_of(columns, of, transforms))]
        assert all_rows(path) == expected
        assert [one.name for one in Path(folder).iterdir()] == ["a.cache"]


def test_arrays_of_a_cache_have_the_types_of_arrays_in_memory(tmp_path):
    """Kernels are compiled for types: contiguous, aligned, and not read-only to Numba's eyes."""
    write(tmp_path / "a.cache", PLAIN, [plain_columns(5)])
    piece, memory = Cache(tmp_path / "a.cache").piece(0), unfinished(plain_columns(5), PLAIN)
    for name in ARRAYS:
        mapped, held = getattr(piece, name), getattr(memory, name)
        assert (mapped is None) == (held is None)
        if held is not None:
            assert (mapped.dtype, mapped.shape) == (held.dtype, held.shape)
            assert mapped.flags.c_contiguous and mapped.flags.aligned and mapped.flags.writeable


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "PIECE_ROWS", 4)
    path = tmp_path / "small.cache"
    write(path, schema(), [columns_of(9, 1)])
    return path


def test_every_truncation_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "PIECE_ROWS", 1)
    whole, cut = tmp_path / "whole.cache", tmp_path / "cut.cache"
    write(whole, PLAIN, [plain_columns(2)])
    cut.write_bytes(whole.read_bytes())
    for length in reversed(range(whole.stat().st_size)):
        os.truncate(cut, length)
        with pytest.raises(DataError, match=str(cut)):
            all_rows(cut)
    assert len(all_rows(whole)) == 2


def test_a_thousand_flipped_bits_are_found(small, tmp_path):
    content, bad = small.read_bytes(), tmp_path / "bad.cache"
    rng = np.random.default_rng(7)
    for bit in rng.choice(8 * len(content), 1000, replace=False).tolist():
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        bad.write_bytes(damaged)
        with pytest.raises(DataError, match=str(bad)):
            all_rows(bad)
    assert len(all_rows(small)) == 9


def test_damage_is_found_when_its_rows_are_first_touched(small):
    section = next(s for s in Container(small, "samples")._sections.values() if s["name"] == "keys/1")
    content = bytearray(small.read_bytes())
    content[section["offset"]] ^= 1
    small.write_bytes(content)
    held = Cache(small)
    assert len(held.piece(0)) == 4 and len(held.piece(2)) == 1
    with pytest.raises(DataError, match=f"{small}, section 'keys/1': damaged.*rows 4 to 7"):
        held.piece(1)


def rewrite(path, change):
    """The cache with `change(about, sections)` applied, under correct checksums."""
    held = Container(path, "samples")
    sections = {name: held.read(name).copy() for name in held.names}
    about = dict(held.about)
    change(about, sections)
    with ContainerWriter(path, "samples", about) as writer:
        for name, array in sections.items():
            writer.add(name, array)
        writer.finish()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda about, _: about.update(hash="md5"), "keys were hashed by 'md5'.*convert the rows again"),
        (lambda about, _: about.update(version=2), "version 2; expected 1: convert the rows again"),
        (lambda about, _: about.pop("schema"), "'schema'.* are missing"),
        (lambda about, _: about.update(rows="9"), "about.rows is '9'; expected an integer"),
        (lambda about, _: about.update(rows=13), "13 rows, 4 rows a piece.* do not go with 18 sections"),
        (lambda about, _: about.update(piece_rows=0), "0 rows a piece"),
        (lambda _, sections: sections.update({"keys/2": sections["keys/2"].astype(float)}), "'keys/2' is of float64"),
        (lambda about, _: about["schema"].update(fields=[{"nome": "a"}]), "schema: unknown option fields.nome"),
        (lambda about, _: about.update(transforms={"dense": [{}]}), "transforms.dense"),
        (lambda _, sections: sections.pop("labels/1"), "do not go with 17 sections"),
        (lambda _, sections: sections.update({"dense/1": sections["dense/1"][:, :1]}), r"with the shape \(4, 1\); expected float32 and \(4, 2\)"),
        (lambda _, sections: sections["offsets/1"].__setitem__(2, 10**6), "offsets are not those of its keys"),
        (lambda _, sections: sections["fields/1"].__setitem__(0, 3), "row 4.*field number 3; there are 3"),
    ],
)  # fmt: skip
def test_a_cache_whose_parts_do_not_fit_is_refused(small, change, message):
    rewrite(small, change)
    with pytest.raises(DataError, match=message) as caught:
        all_rows(small)
    assert str(small) in str(caught.value)


def test_files_that_are_no_caches_are_refused(tmp_path):
    text, other, empty = tmp_path / "a.csv", tmp_path / "other", tmp_path / "empty"
    text.write_text("label,a\n" + "1,2\n" * 100)
    empty.touch()
    with ContainerWriter(other, "checkpoint rows") as writer:
        writer.finish()
    for path, message in (
        (text, "not a deshpc container"), (empty, "the file is empty"), (other, "holds 'checkpoint rows'; expected 'samples'"),
        (tmp_path / "none", "no such file"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=f"{path}.*{message}"):
            CacheInput(DataConfig(format="cache", train=(str(path),)))


def test_several_caches_of_a_part_are_one_data_set(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "PIECE_ROWS", 4)
    blocks = [columns_of(rows, seed) for seed, rows in enumerate((9, 3, 8))]
    transforms = write(tmp_path / "day0", schema(), blocks[:1])
    for day in (1, 2):
        write(tmp_path / f"day{day}", schema(), [blocks[day]], transforms)
    source = CacheInput(DataConfig(format="cache", train=(str(tmp_path / "day*"),), test=(str(tmp_path / "day2"),)))
    data = source.load("train")
    assert len(data) == 20 and data.starts.tolist() == [0, 4, 8, 9, 12, 16, 20]
    found = [row for number in range(6) for row in rows_of(data.piece(number))]
    assert found == [row for columns in blocks for row in rows_of(samples_of(columns, schema(), transforms))]
    assert data.keys_per_sample == sum(len(row[0]) // 8 for row in found) / 20 and data.value_width == 2
    assert (source.n_fields, source.n_dense, len(source.load("test"))) == (3, 2, 8)


def test_caches_of_a_run_have_to_agree(tmp_path):
    paths = [str(tmp_path / name) for name in ("train", "other_numbers", "other_fields")]
    transforms = write(paths[0], schema(), [columns_of(9, 0)])
    write(paths[1], schema(), [columns_of(9, 1)])
    write(paths[2], PLAIN, [plain_columns(4)])
    for path, what in ((paths[1], "fit"), (paths[2], "schema")):
        source = CacheInput(DataConfig(format="cache", train=(paths[0],), test=(path,)))
        with pytest.raises(DataError, match=f"{path}: has another {what} than {paths[0]}"):
            source.load("test")
    source = CacheInput(DataConfig(format="cache", test=(paths[0],)))
    source.restore({**transforms.to_json(), "schema": schema().to_json()})
    for state in ({}, CacheInput(DataConfig(format="cache", test=(paths[1],))).state()):
        with pytest.raises(DataError, match=f"{paths[0]}: was made with other fields, .* or other fitted transforms"):
            source.restore(state)


def test_a_cache_without_rows_is_no_part(tmp_path):
    write(tmp_path / "none", PLAIN, [plain_columns(0)])
    with pytest.raises(DataError, match=f"data.train: no rows in {tmp_path}/none"):
        CacheInput(DataConfig(format="cache", train=(str(tmp_path / "none"),)))
