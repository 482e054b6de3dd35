"""`deshpc inspect` against what was written: every kind of file and folder, and damage by exit code and name.

Runs without Numba and MPI, as on a machine that has NumPy alone.
"""

import shutil

import numpy as np
import pytest
from forgeries import Forgery, forge
from hand_made_model import hand_made
from launching import errors, run
from saved_models import files_of, random_rows, write_model

from deshpc.cli.inspect import inspect
from deshpc.config import FieldConfig
from deshpc.data import cache
from deshpc.data.cache import CacheWriter
from deshpc.data.dataset import Dataset
from deshpc.errors import DataError
from deshpc.formats.bad_rows import BadRows
from deshpc.formats.schema import Schema
from deshpc.storage.container import ContainerWriter

PROGRESS = {
    "epoch": 1, "batch": 3, "position": 60, "block": 0, "row": 60, "steps": 13, "samples": 260, "train_rows": 200, "best_step": 9,
    "stopping": {"best": 0.75, "without_gain": 1},
}  # fmt: skip

BLOCKED = """
import sys

class Blocked:
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] in ("numba", "mpi4py", "pyarrow"):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked)
from deshpc.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def directory(tmp_path):
    """A run's directory with a model of one rank and a checkpoint of two, which has a best model."""
    write_model(tmp_path / "model", [random_rows(1, 12)], steps=14)
    checkpoint = write_model(
        tmp_path / "checkpoints" / "step-000000000013", [random_rows(2, 7, high=2**63), random_rows(3, 4, low=2**63)],
        steps=13, progress=PROGRESS,
    )  # fmt: skip
    write_model(checkpoint / "best", [random_rows(4, 3)], steps=9)
    return tmp_path


def test_a_run(directory):
    done = run("-c", BLOCKED, "inspect", directory)
    assert done.returncode == 0, done.stderr
    model, checkpoint = done.stdout.rstrip().split("\n\n")
    assert model.startswith(f"{directory / 'model'}\n") and "model after 14 steps" in model and "12 (12)" in model
    assert str(directory / "checkpoints" / "step-000000000013") in checkpoint
    for words in (
        "checkpoint after 13 steps", "epoch 2, batch 4 (block 1, row 61; 60 of 200 samples of the epoch done), 260 samples trained", "best 0.75", "after 9 steps",
        "2 ranks", "11 (7, 4)", "fm, dim 3, float32", "sgd, 0 state numbers", "xxh64-48-field-16", "seed 1, step 13",
        "keys/* <u8 (5,) x 2", "fm.weights (2,)",
    ):  # fmt: skip
        assert words in checkpoint, words
    contents = [content for name, content in files_of(directory / "checkpoints").items() if "manifest" not in name]
    assert f"{sum(map(len, contents)):,} bytes" in checkpoint.splitlines()[-1]


@pytest.mark.parametrize("name", ["model", "checkpoints/step-000000000013", "checkpoints/step-000000000013/best"])
def test_one_folder(directory, name):
    text = inspect(directory / name)
    assert text.startswith(str(directory / name)) and "\n\n" not in text and "verified" in text


@pytest.mark.parametrize("flaw", ["flip", "cut", "remove"])
def test_damage_is_named_and_leaves_with_3(directory, flaw):
    for name, content in files_of(directory).items():
        path = directory / name
        if flaw == "remove":
            path.unlink()
        else:
            place = 64 if len(content) > 64 and content.startswith(b"deshpc") else 10
            path.write_bytes(content[:-1] if flaw == "cut" else content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        with pytest.raises(DataError) as caught:
            inspect(directory)
        assert caught.value.exit_code == 3 and str(path) in str(caught.value), name
        if flaw == "flip" and path.suffix == ".rows":
            assert "section 'keys/0'" in str(caught.value)
        path.write_bytes(content)
    inspect(directory)


def test_the_exit_code(directory):
    (directory / "model" / "dense").write_bytes(b"x")
    done = run("-c", BLOCKED, "inspect", directory)
    assert done.returncode == 3 and done.stdout == "" and len(errors(done)) == 1
    assert str(directory / "model" / "dense") in errors(done)[0]


def test_all_damage_of_a_run_is_said(directory):
    for name in ("model", "checkpoints/step-000000000013"):
        (directory / name / "manifest.json").write_text("{}")
    with pytest.raises(DataError) as caught:
        inspect(directory)
    assert str(caught.value).count("not the manifest of a model") == 2


def test_a_model_that_was_about_to_be_replaced(directory):
    (directory / "model").rename(directory / "model.old")
    assert f"{directory / 'model.old'}\n" in inspect(directory)


def test_partial_folders_do_not_count(directory):
    shutil.copytree(directory / "model", directory / "checkpoints" / "step-000000000015.partial")
    assert "000015" not in inspect(directory)


def write_cache(path, monkeypatch):
    """A cache of three pieces, of twelve samples with a key and a number each."""
    schema = Schema.of_fields((FieldConfig("user"), FieldConfig("age", "dense")), "click")
    keys, zeros = np.arange(1, 13, dtype=np.uint64), np.zeros(12, np.float32)
    monkeypatch.setattr(cache, "PIECE_ROWS", 4)
    with CacheWriter(path, schema) as writer:
        writer.add(Dataset(np.arange(13), keys, np.zeros(12, np.uint16), None, zeros[:, None], zeros))
        writer.finish(None, False, BadRows("error"), {})


def test_a_terminal_gets_no_commands_from_a_file(tmp_path):
    with ContainerWriter(tmp_path / "x", "other", {"hash": "\x1b[2J\u202e\x9b", "rows": 1}) as writer:
        writer.finish()
    text = inspect(tmp_path / "x")
    assert all(one == "\n" or one.isprintable() for one in text) and "\\x1b[2J\\u202e\\x9b" in text


def test_files_and_folders_of_files(tmp_path, monkeypatch):
    write_cache(tmp_path / "train.cache", monkeypatch)
    hand_made(tmp_path / "exported")
    (tmp_path / "notes.txt").write_text("other files are left alone")
    text = inspect(tmp_path / "train.cache")
    for words in ("cache of samples", "rows ", " 12\n", "user (categorical)", "age (dense)", "keys/* <u8 (4,) x 3", "labels/* <f4 (4,) x 3"):
        assert words in text
    assert "exported model" in inspect(tmp_path / "exported") and "name = fm" in inspect(tmp_path / "exported")
    both = inspect(tmp_path)
    assert "cache of samples" in both and "exported model" in both and "notes" not in both
    content = bytearray((tmp_path / "train.cache").read_bytes())
    content[64 + 64] ^= 1  # behind the first piece's five offsets
    (tmp_path / "train.cache").write_bytes(content)
    with pytest.raises(DataError, match="train.cache, section 'keys/0': damaged"):
        inspect(tmp_path)


@pytest.mark.parametrize(
    ("name", "how", "words"),
    [("labels/1", "first: 7", "row 4 .*the label is 7.0"), ("keys/2", "last: zero", "row 11 .*not a key"), ("fields/0", "shorter", "of uint16, with the shape")],
)  # fmt: skip
def test_a_cache_whose_checksums_alone_are_right(tmp_path, monkeypatch, name, how, words):
    write_cache(tmp_path / "train.cache", monkeypatch)
    forge(tmp_path / "train.cache", Forgery((name,), how))
    with pytest.raises(DataError, match=f"train.cache.*{words}"):
        inspect(tmp_path)


def test_what_is_nothing_of_ours(tmp_path):
    (tmp_path / "x").write_text("text")
    for path, words in ((tmp_path, "no model, checkpoint, cache"), (tmp_path / "x", "not a deshpc container"), (tmp_path / "y", "no such file")):
        with pytest.raises(DataError, match=words):
            inspect(path)
