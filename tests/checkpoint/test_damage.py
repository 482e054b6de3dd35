"""Damage is found, whatever it is: each byte that is cut off, each bit that flips, each file that belongs elsewhere.

The expectation is the undamaged copy: a damaged folder is an error that names one of its files, never another model.
"""

import json
import shutil

import numpy as np
import pytest
from saved_models import files_of, joined, random_rows, write_model

from deshpc.checkpoint.load import row_blocks, verify
from deshpc.checkpoint.manifest import NAME, read_manifest, write_manifest
from deshpc.errors import DataError

FLIPS = 1_000


@pytest.fixture
def folder(tmp_path):
    """A checkpoint of two ranks that has a best model inside."""
    progress = {"best_step": 3, "stopping": None}
    whole = write_model(tmp_path / "whole", [random_rows(1, 7, high=2**63), random_rows(2, 1, low=2**63)], progress=progress)
    write_model(whole / "best", [random_rows(3, 1)], steps=3)
    assert verify(whole)["steps"] == 7
    return whole


def refused(folder):
    with pytest.raises(DataError) as caught:
        verify(folder)
    return str(caught.value)


def test_every_truncation_of_every_file_is_found(folder):
    shutil.rmtree(folder / "best")  # files of the same kinds
    for name, content in files_of(folder).items():
        for length in range(len(content)):
            (folder / name).write_bytes(content[:length])
            assert str(folder / name) in refused(folder)
        (folder / name).write_bytes(content)
    assert "best" in refused(folder)


def test_random_bit_flips_over_all_files_are_found(folder):
    rng, files = np.random.default_rng(4), files_of(folder)
    sizes = np.array([len(content) for content in files.values()])
    for _ in range(FLIPS):
        name = list(files)[rng.choice(len(files), p=sizes / sizes.sum())]
        content = bytearray(files[name])
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        (folder / name).write_bytes(content)
        assert str(folder) in refused(folder)
        (folder / name).write_bytes(files[name])
    verify(folder)


def test_every_byte_of_the_manifest_counts(folder):
    """Another bit of each, and the one between 1e-08 and 1E-08, which JSON does not tell apart."""
    content = (folder / NAME).read_bytes()
    for place in range(len(content)):
        for bit in (place % 8, 5):
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            (folder / NAME).write_bytes(changed)
            with pytest.raises(DataError, match=NAME):
                read_manifest(folder)


def test_a_file_of_another_checkpoint_is_found(folder, tmp_path):
    """Whole, of the same name and size, but written at another step."""
    progress = {"best_step": 3, "stopping": None}
    other = write_model(
        tmp_path / "other", [random_rows(1, 7, high=2**63), random_rows(2, 1, low=2**63)], steps=8, progress=progress
    )
    for name in ("dense", "rank-00001-of-00002.rows"):
        content = (folder / name).read_bytes()
        shutil.copyfile(other / name, folder / name)
        assert name in refused(folder) and "another model" in refused(folder)
        (folder / name).write_bytes(content)
    shutil.copyfile(other / NAME, folder / NAME)
    assert "dense" in refused(folder)


def test_a_missing_file_is_found(folder):
    for name in files_of(folder):
        (folder / name).rename(folder / "aside")
        assert str(folder) in refused(folder) and "no such file" in refused(folder)
        (folder / "aside").rename(folder / name)
    verify(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 1}, "format 1; this version reads format 3"),
        ({"hash": "md5"}, "keys were hashed by 'md5', this version hashes by 'xxh64"),
        ({"ranks": "2"}, "'ranks' is '2'"),
        ({"ranks": 3}, "rank-00002-of-00003"),
        ({"files": {}}, "names no file 'dense'"),
        ({"rows": [7, 7]}, "rows"),
    ],
)
def test_a_manifest_that_lies_is_refused(folder, change, words):
    """Its checksum is right, as if another program had written it."""
    manifest = json.loads((folder / NAME).read_text())
    content = {name: value for name, value in {**manifest, **change}.items() if name != "crc32"}
    write_manifest(folder, content)
    text = refused(folder)
    for word in words.split("|"):
        assert word in text or word == "rank-00002-of-00003" and "of-00003" in text


def test_what_is_not_a_manifest(folder):
    for text in ("", "[]", "{}", "3", '{"format": 2}', "[" * 100_000, "\x00", '{"format": 2, "crc32": 0}\n'):
        (folder / NAME).write_text(text)
        assert NAME in refused(folder)
    (folder / NAME).unlink()
    (folder / NAME).mkdir()
    assert "cannot be read" in refused(folder)


def test_reading_rows_meets_the_damage_of_what_it_reads(folder):
    """Only the sections that are read have to be sound."""
    manifest = read_manifest(folder)
    path = folder / "rank-00000-of-00002.rows"
    whole = joined(row_blocks(folder, manifest))
    content = bytearray(path.read_bytes())
    content[64] ^= 1  # the first key of the first block
    path.write_bytes(content)
    later = joined(row_blocks(folder, manifest, first=int(whole.keys[5])))  # blocks have five rows
    assert later.keys.tolist() == whole.keys[5:].tolist()
    with pytest.raises(DataError, match="rank-00000-of-00002.rows, section 'keys/0': damaged"):
        list(row_blocks(folder, manifest))
