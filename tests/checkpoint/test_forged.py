"""Checkpoints and caches that another program has changed, all checksums right: refused by name, or as sound as any other.

What a sound file is, is said here again in plain Python.
"""

import random
import shutil
from dataclasses import replace

import numpy as np
import pytest
from forgeries import Forgery, container_forgeries, forge, forge_manifest, manifest_forgeries
from saved_models import RUN, random_rows, write_model
from small_cache import small_cache

from deshpc.checkpoint.load import dense_parameters, row_blocks, verify, waiting_keys
from deshpc.checkpoint.manifest import read_manifest
from deshpc.checkpoint.rows_file import write_rows
from deshpc.data.cache_file import Cache
from deshpc.errors import DataError
from deshpc.table.sights import Sights

STEPS, ROWS = 7, "rank-00000-of-00002.rows"
PROGRESS = {"epoch": 1, "stopping": {"best": 0.5, "without_gain": 2}}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    rows = [random_rows(1, 12, high=2**63 - 1), random_rows(2, 3, low=2**63)]
    return write_model(tmp_path_factory.mktemp("model") / "step", rows, STEPS, progress=PROGRESS)


@pytest.fixture(scope="module")
def living(model, tmp_path_factory):
    """The same model, whose counts decay, with keys that wait for a row."""
    folder = shutil.copytree(model, tmp_path_factory.mktemp("living") / "step")
    rows, some = random_rows(1, 12, high=2**63 - 1), random_rows(3, 6, high=2**63 - 1)
    rows = replace(rows, decayed=rows.counts * 0.75)
    sights = Sights(some.keys, 1 + some.counts, some.steps)
    write_rows(folder / ROWS, RUN, 0, 2, STEPS, [rows.take(slice(0, 5)), rows.take(slice(5, None))], waiting=sights)
    forge_manifest(folder)
    return folder


@pytest.fixture(scope="module")
def cached(tmp_path_factory):
    return small_cache(tmp_path_factory.mktemp("cache") / "a.cache")


def some(forgeries, count):
    """All changes of arrays, and so many of those of what a file says."""
    every = list(forgeries)
    of_json = [one for one in every if one.how in ("set", "remove", "add")]
    return [one for one in every if one not in of_json] + random.Random(5).sample(of_json, count)


def outcome(task, path):
    """What a task gives; None where it is refused, by the name of the file."""
    try:
        return task()
    except DataError as error:
        assert str(path) in str(error) and "\n" not in str(error) and len(str(error)) < 2000
        return None


def sound_rows(rows):
    keys = rows.keys.tolist()
    assert all(a < b for a, b in zip([0, *keys], keys, strict=False)) and len({len(array) for array in rows.arrays.values()}) == 1
    assert rows.numbers.shape[1:] == (4,) and rows.numbers.dtype == np.float32 and np.isfinite(rows.numbers).all()
    assert max([0, *rows.steps.tolist()]) <= STEPS and max([0, *rows.counts.tolist()]) <= STEPS
    assert rows.decayed is None or all(0 <= count <= STEPS + 2 for count in rows.decayed.tolist())


def sound_sights(sights):
    keys = sights.keys.tolist()
    assert all(a < b for a, b in zip([0, *keys], keys, strict=False)) and len(keys) == len(sights.sights) == len(sights.steps)
    assert all(1 <= count <= STEPS for count in sights.sights.tolist()) and max([0, *sights.steps.tolist()]) <= STEPS


def read(folder):
    verify(folder)
    manifest = read_manifest(folder)
    blocks, dense = list(row_blocks(folder, manifest)), dense_parameters(folder, manifest)
    for block in blocks:
        sound_rows(block)
    sound_sights(waiting_keys(folder, manifest))
    assert all(np.isfinite(array).all() for array in dense.values())
    return sum(map(len, blocks))


@pytest.mark.parametrize("name", [ROWS, "dense"])
def test_files_of_a_checkpoint(model, tmp_path, name):
    refused, forgeries = 0, some(container_forgeries(model / name), 150)
    for number, forgery in enumerate(forgeries):
        folder = tmp_path / str(number)
        shutil.copytree(model, folder)
        forge(folder / name, forgery)
        forge_manifest(folder)
        refused += outcome(lambda folder=folder: read(folder), folder) is None
    assert 0.7 * len(forgeries) < refused < len(forgeries)


def test_decayed_counts_and_waiting_keys_of_a_checkpoint(living, tmp_path):
    """Every change of what a file says of them, and of their arrays."""
    assert read(living) == len(random_rows(1, 12, high=2**63 - 1)) + len(random_rows(2, 3, low=2**63))
    parts = ("decayed", "waiting")
    forgeries = [one for one in container_forgeries(living / ROWS) if one.what[0].startswith(parts) or one.what[:1] == ("about",) and one.what[-1] in parts]
    of_arrays = [one for one in forgeries if one.what[0] != "about"]
    assert len(of_arrays) > 20 and len(forgeries) > len(of_arrays)
    refused = 0
    for number, forgery in enumerate(forgeries):
        folder = shutil.copytree(living, tmp_path / str(number))
        forge(folder / ROWS, forgery)
        forge_manifest(folder)
        refused += outcome(lambda folder=folder: read(folder), folder) is None
    assert 0.7 * len(forgeries) < refused < len(forgeries)


def test_manifests(model, tmp_path):
    refused, forgeries = 0, random.Random(6).sample(list(manifest_forgeries(model)), 300)
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    for forgery in forgeries:
        shutil.copyfile(model / "manifest.json", folder / "manifest.json")
        forge_manifest(folder, forgery)
        refused += outcome(lambda: read(folder), folder) is None
    assert 0.4 * len(forgeries) < refused < len(forgeries)


def sound_piece(piece, rows):
    assert len(piece.labels) == rows and set(piece.labels.tolist()) <= {0.0, 1.0}
    offsets, nnz = piece.offsets.tolist(), len(piece.keys)
    assert offsets[0] == 0 and offsets == sorted(offsets) and offsets[-1] == nnz and len(offsets) == rows + 1
    assert 0 not in piece.keys.tolist() and set(piece.fields.tolist()) <= {0, 1} and len(piece.fields) == nnz
    assert piece.values.shape == (nnz, 2) and np.isfinite(piece.values).all()
    assert piece.dense.shape == (rows, 1) and np.isfinite(piece.dense).all()
    assert len(piece.truth) == rows and all(0 <= p <= 1 for p in piece.truth.tolist())


def test_caches(cached, tmp_path):
    """Verified whole, or, by a rank that leaves that to others, row by row."""
    path, forgeries = tmp_path / "a.cache", some(container_forgeries(cached), 300)
    verdicts = []

    def whole():
        held = Cache(path)
        for number, rows in enumerate(held.counts):
            sound_piece(held.piece(number), rows)
        return True

    def by_rows():
        held = Cache(path)
        for number, rows in enumerate(held.counts):
            piece = held.piece(number, verify=False)
            for row in range(rows):
                held.require_sound(number, piece, np.array([row]))
        return True

    for forgery in forgeries:
        forge_and_write(cached, path, forgery)
        verdicts.append((outcome(whole, path) is None, outcome(by_rows, path) is None))
    refused = [one for one, _ in verdicts]
    assert 0.7 * len(forgeries) < sum(refused) < len(forgeries)
    # row by row does not see checksums, and offsets of other rows: nothing else passes that the whole piece would not
    missed = [str(forgery) for forgery, (one, other) in zip(forgeries, verdicts, strict=True) if one and not other]
    assert all(".crc32: " in one or one.startswith("offsets/") for one in missed), missed


def forge_and_write(source, path, forgery):
    shutil.copyfile(source, path)
    forge(path, forgery)


def test_a_label_of_7_and_a_key_of_0_are_named_with_their_row(cached, tmp_path):
    path = tmp_path / "a.cache"
    for how, name, words in (
        ("first: 7", "labels/1", r"row 4 \(from 0\): damaged: the label is 7.0; expected 0 or 1"),
        ("last: zero", "keys/1", r"row 7 \(from 0\): damaged: 0 is not a key of its field"),
        ("first: nan", "values/2", r"row 8 \(from 0\): damaged: a value is not finite"),
    ):  # fmt: skip
        forge_and_write(cached, path, Forgery((name,), how))
        with pytest.raises(DataError, match=f"^{path}, {words}"):
            held = Cache(path)
            [held.piece(number) for number in range(3)]
