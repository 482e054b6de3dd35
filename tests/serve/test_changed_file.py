"""A model's file that is replaced, overwritten or cut while a Predictor has it open: scores of what was verified, or an error."""

import copy
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hand_made_model import ROWS, hand_made
from launching import TIMEOUT_S

from deshpc.errors import DataError
from deshpc.serve import exported
from deshpc.serve.predictor import Predictor

IN_PLACE = r"m\.model: the file was changed in place .*copy=True"


@pytest.fixture
def files(tmp_path):
    """(path of a model, bytes of another one of the same size, scores of the first)"""
    hand_made(tmp_path / "m.model")
    hand_made(tmp_path / "other.model")
    data = bytearray((tmp_path / "other.model").read_bytes())
    data[1000:2000] = bytes(1000)
    return tmp_path / "m.model", bytes(data), Predictor(tmp_path / "m.model").predict(ROWS)


def in_place(path, data):
    """As `cp` does; the time is that of a later write, however coarse the system's clock is."""
    with open(path, "r+b") as file:
        file.write(data)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**7))


def test_in_place_is_an_error_from_then_on(files):
    path, data, expected = files
    predictor, copied = Predictor(path), Predictor(path, copy=True)
    assert predictor.predict(ROWS).tolist() == expected.tolist() == copied.predict(ROWS).tolist()
    in_place(path, data)
    for work in (predictor.predict, predictor.pooled, predictor.predict):
        with pytest.raises(DataError, match=IN_PLACE):
            work(ROWS)
    with pytest.raises(DataError, match=IN_PLACE):
        predictor.predict_one(ROWS[0])
    assert copied.predict(ROWS).tolist() == expected.tolist()


def test_another_file_of_the_name_makes_no_difference(files):
    path, data, expected = files
    predictor = Predictor(path)
    (path.parent / "new").write_bytes(data)
    os.replace(path.parent / "new", path)
    assert predictor.predict(ROWS).tolist() == expected.tolist()
    path.unlink()
    assert predictor.predict(ROWS).tolist() == expected.tolist()


def test_a_file_that_is_cut_ends_no_process(files):
    path, _, expected = files
    code = """
import os, sys
import deshpc
path = sys.argv[1]
mapped, copied = deshpc.Predictor(path), deshpc.Predictor(path, copy=True)
os.truncate(path, 100)
print(copied.predict_one({"site": "s1", "hour": 3}))
try:
    mapped.predict_one({"site": "s1", "hour": 3})
except deshpc.errors.DataError as error:
    print(error)
"""
    score = Predictor(path).predict_one({"site": "s1", "hour": 3})
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=TIMEOUT_S)
    first, second = done.stdout.splitlines()
    assert done.returncode == 0 and float(first) == score and "changed in place" in second


def test_a_change_on_the_way_gives_no_scores(files, monkeypatch):
    path, data, _ = files
    for wrong_block in (0, 3):  # of four: the last one, too
        hand_made(path)
        monkeypatch.setattr("deshpc.serve.predictor._BLOCK_ROWS", 50)
        predictor, blocks = Predictor(path), []
        encode = predictor._version.encoder.encode

        def encoded(*arguments, wrong_block=wrong_block, blocks=blocks, encode=encode):
            if len(blocks) == wrong_block:
                in_place(path, data)
            blocks.append(None)
            return encode(*arguments)

        monkeypatch.setattr(predictor._version.encoder, "encode", encoded)
        with pytest.raises(DataError, match=IN_PLACE):
            predictor.predict(ROWS)
        assert len(blocks) == wrong_block + 1


def test_a_change_while_it_is_opened_is_an_error(files, monkeypatch):
    path, data, _ = files
    monkeypatch.setattr(exported, "require_sound", lambda model, name: in_place(path, data))
    with pytest.raises(DataError, match=IN_PLACE):
        Predictor(path)


def test_copies_have_memory_of_their_own(files):
    path, data, expected = files
    predictor = Predictor(path)
    packed, copied = pickle.dumps(predictor), copy.deepcopy(predictor)
    in_place(path, data)
    for one in (pickle.loads(packed), copied, pickle.loads(pickle.dumps(copied))):
        assert one.predict(ROWS).tolist() == expected.tolist()
    for work in (pickle.dumps, copy.deepcopy):
        with pytest.raises(DataError, match=IN_PLACE):
            work(predictor)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_process_goes_on_and_sees_a_change(files):
    path, data, expected = files
    code = f"""
import os, pickle, sys
import deshpc
path, data, rows = pickle.load(sys.stdin.buffer)
predictor = deshpc.Predictor(path)
if not os.fork():
    scores = predictor.predict(rows).tolist()
    os.truncate(path, 100)
    try:
        predictor.predict(rows)
    except deshpc.errors.DataError as error:
        print("changed in place" in str(error), scores == {expected.tolist()!r}, flush=True)
    os._exit(0)
print(os.wait()[1])
"""
    given = pickle.dumps((str(path), data, ROWS))
    done = subprocess.run([sys.executable, "-c", code], input=given, capture_output=True, timeout=TIMEOUT_S)
    assert done.stdout.split() == [b"True", b"True", b"0"], done.stderr.decode()


def test_a_closed_predictor_leaves_no_file_open(files):
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        Predictor(files[0]).predict(ROWS)
        np.testing.assert_equal(len(os.listdir("/proc/self/fd")), before)
