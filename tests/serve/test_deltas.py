"""Deltas of exported models: random histories against dictionaries of rows, threads that score meanwhile, damage, and kills."""

import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hand_made_model import NOT_LINEAR, ROWS, hand_made
from launching import TIMEOUT_S

from deshpc import serve
from deshpc.cli.inspect import inspect
from deshpc.errors import DataError
from deshpc.serve.delta import fold, read_delta, read_with_deltas, write_delta
from deshpc.serve.exported import like_rows, read_model, used_rows, write_rows
from deshpc.serve.predictor import Predictor
from deshpc.storage.container import Container, ContainerWriter

K = 3


class History:
    """A model that is trained by chance: what an eviction, an update and an admission do to rows, in a dictionary.

    rows : {key: numbers}
    """

    def __init__(self, folder, name="fm", seed=0):
        self.folder, self.scalars, self.chance = folder, int(name not in NOT_LINEAR), np.random.default_rng(seed)
        options = {"hidden": [4], "cross_layers": 1} if name not in ("lr", "fm") else {}
        self._known, self.dense = hand_made(folder / "0", name, 0 if name == "lr" else K, **options)
        self.about = Container(folder / "0").about
        width = self.scalars + (0 if name == "lr" else K)
        self.like = like_rows(np.empty((0, width), np.float32), self.scalars)
        self.rows, self.width, self.time = {}, width, 0
        self.step()

    def step(self):
        """Some rows go, some change, some come or come again, some turn to zeros, one to other zeros and numbers alike."""
        for key in self._known:
            if (fate := self.chance.random()) < 0.2:
                self.rows.pop(key, None)
            elif fate < 0.4:
                self.rows[key] = self.chance.normal(0, 0.5, self.width).astype(np.float32) * (fate > 0.25)
            elif fate < 0.45 and key in self.rows:
                self.rows[key] = np.where(self.rows[key] == 0, np.float32(-0.0), self.rows[key])
            elif fate < 0.5:
                self.rows[key] = np.float32([*self.chance.normal(0, 0.5, self.width - 1), 0])
        self.dense = {name: array + self.chance.normal(0, 0.01, array.shape).astype(np.float32) ** 2 for name, array in self.dense.items()}
        self.time += 1

    def model(self, path):
        """Arguments of `write_rows` and `write_delta` for the model as it is now."""
        keys = np.array(sorted(self.rows), np.uint64)
        numbers = np.array([self.rows[int(key)] for key in keys], np.float32).reshape(len(keys), self.width)
        cuts = sorted(self.chance.integers(0, len(keys) + 1, 4).tolist())
        blocks = [(keys[a:b], numbers[a:b]) for a, b in zip([0, *cuts], [*cuts, len(keys)], strict=True)]
        return {**self.about, "steps": self.time}, used_rows(blocks, path, self.scalars), self.like, self.dense

    def full(self):
        path = self.folder / f"full{self.time}"
        write_rows(path, *self.model(path))
        return path

    def delta(self, old):
        path = self.folder / f"delta{self.time}"
        write_delta(path, old, *self.model(path))
        return path

    def exported(self):
        """{key: bytes of its row} of the rows that count."""
        return {int(key): row.tobytes() for key, row in self.rows.items() if row.any()}


@pytest.mark.parametrize("name", ["fm", "lr", "dcn"])
def test_random_histories(tmp_path, name, monkeypatch):
    monkeypatch.setattr("deshpc.serve.exported._BLOCK_ROWS", 5)
    for seed in range(2):
        folder = tmp_path / str(seed)
        folder.mkdir()
        history = History(folder, name, seed)
        base = history.full()
        predictor, deltas, before = Predictor(base), [], history.exported()
        for _ in range(5):
            history.step()
            deltas.append(history.delta(read_with_deltas(base, *deltas)))
            now, full = history.exported(), history.full()
            read = read_delta(deltas[-1])
            rows = read.later.rows
            wrote = {
                int(key): np.array([w] * history.scalars + v.tolist(), np.float32).tobytes()
                for key, w, v in zip(rows.keys, rows.weights.tolist(), rows.embeddings, strict=True)
            }
            assert wrote == {key: row for key, row in now.items() if before.get(key) != row}
            assert read.gone.tolist() == sorted(before.keys() - now.keys())
            predictor.apply(deltas[-1])
            fold(base, deltas, folder / "folded")
            assert (folder / "folded").read_bytes() == full.read_bytes()
            assert predictor.predict(ROWS).tobytes() == Predictor(full).predict(ROWS).tobytes()
            assert len(predictor) == len(now) and predictor.identity == Predictor(full).identity
            before = now
        assert pickle.loads(pickle.dumps(predictor)).predict(ROWS).tobytes() == predictor.predict(ROWS).tobytes()
        fold(base, deltas[:3], folder / "middle")  # from there on, in one and in several
        later = [folder / "later", *deltas[3:]]
        write_delta(later[0], read_model(folder / "middle"), *history.model(later[0]))
        other = Predictor(folder / "middle")
        other.apply(later[0])
        assert other.predict(ROWS).tobytes() == predictor.predict(ROWS).tobytes()


@contextmanager
def at_every_line(task):
    """Call task() before every line of `serve/` that this thread runs in the block."""
    home = str(Path(serve.__file__).parent)

    def look(frame, event, argument):
        if not frame.f_code.co_filename.startswith(home):
            return None
        if event == "line":
            task()
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        yield
    finally:
        sys.settrace(before)


def versions_of(folder, number):
    """(path of a whole model, [path of a delta over it, over that ...], [scores of three rows by each model])."""
    history = History(folder)
    models, deltas = [history.full()], []
    for _ in range(number):
        history.step()
        deltas.append(history.delta(read_model(models[-1])))
        models.append(history.full())
    versions = [Predictor(path).predict(ROWS[:3]).tobytes() for path in models]
    assert len(set(versions)) == len(versions)
    return models[0], deltas, versions


def test_no_line_of_apply_leaves_half_a_model(tmp_path):
    """Another thread may score between any two lines: here one does between all of them."""
    base, deltas, versions = versions_of(tmp_path, 2)
    predictor, seen = Predictor(base), []
    with at_every_line(lambda: seen.append(versions.index(predictor.predict(ROWS[:3]).tobytes()))):  # ValueError: a score of no version
        for path in deltas:
            predictor.apply(path)
    assert seen == sorted(seen) and set(seen) == {0, 1, 2} and len(seen) > 100


def test_no_line_of_predict_sees_two_models(tmp_path):
    """Whichever line a delta arrives at, the call ends with the model with which it began."""
    base, (path, *_), (old, new) = versions_of(tmp_path, 1)
    for at in range(0, 1000, 3):
        predictor, lines = Predictor(base), count()

        def arrive(predictor=predictor, lines=lines, at=at):
            if next(lines) == at:
                predictor.apply(path)

        with at_every_line(arrive):
            scores = predictor.predict(ROWS[:3]).tobytes()
        assert scores == (new if at == 0 else old)  # before its first line it has not looked yet
        if next(lines) <= at:
            break
        assert predictor.predict(ROWS[:3]).tobytes() == new
    assert at > 50


def test_threads_score_while_deltas_arrive(tmp_path):
    base, deltas, versions = versions_of(tmp_path, 4)
    predictor, ended, found, errors = Predictor(base), threading.Event(), [[] for _ in range(3)], []

    def score(scores):
        try:
            while not ended.is_set():
                scores.append(predictor.predict(ROWS[:3]).tobytes())
            scores.append(predictor.predict(ROWS[:3]).tobytes())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=score, args=(scores,)) for scores in found]
    for thread in threads:
        thread.start()
    for path in deltas:
        predictor.apply(path)
    ended.set()
    for thread in threads:
        thread.join()
    assert not errors
    for scores in found:
        seen = [versions.index(one) for one in scores]  # ValueError: a score of no version
        assert seen == sorted(seen) and seen[-1] == len(deltas)


def test_a_delta_of_another_model_is_refused(tmp_path):
    history = History(tmp_path)
    base = history.full()
    history.step()
    first = history.delta(read_model(base))
    middle = history.full()
    history.step()
    second = history.delta(read_model(middle))
    predictor, scores = Predictor(base), Predictor(base).predict(ROWS).tobytes()
    with pytest.raises(DataError, match=r"delta2|delta3: is a delta of the model '\w{12}', after 2 steps; .* after 1 steps"):
        predictor.apply(second)
    assert predictor.predict(ROWS).tobytes() == scores and predictor.identity == Container(base).identity
    predictor.apply(first)
    predictor.apply(first)  # makes no difference
    predictor.apply(second)
    predictor.apply(second)
    with pytest.raises(DataError, match="each in its turn"):
        predictor.apply(first)
    assert predictor.identity == Container(history.full()).identity
    predictor.apply(base)  # a whole model goes over any
    assert predictor.predict(ROWS).tobytes() == scores
    with pytest.raises(DataError, match="a delta is between models of one form"):
        write_delta(tmp_path / "d", read_model(base), *History(tmp_path, "lr").model(tmp_path / "d"))
    assert not (tmp_path / "d").exists()
    with pytest.raises(DataError, match="holds 'model delta'; expected 'model'"):
        Predictor(first)


def test_a_damaged_delta_is_refused_and_changes_nothing(tmp_path):
    history = History(tmp_path)
    base = history.full()
    history.step()
    delta = history.delta(read_model(base))
    data, chance, predictor = delta.read_bytes(), random.Random(1), Predictor(base)
    scores = predictor.predict(ROWS).tobytes()
    for _ in range(40):
        at = chance.randrange(len(data))
        (tmp_path / "bad").write_bytes(data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :])
        with pytest.raises(DataError, match="bad"):
            predictor.apply(tmp_path / "bad")
    (tmp_path / "bad").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="bad"):
        predictor.apply(tmp_path / "bad")
    container = Container(delta)
    assert all(text in inspect(delta) for text in ("model delta", container.about["base"], "fm", "gone"))
    forgeries = (
        ("with it the model has", {"rows": 1}, {}),
        ("not a delta of this version", {"base": 3}, {}),
        ("section 'gone' is no list", {}, {"gone": np.repeat(container.read("gone"), 2)}),
        ("section 'gone' is no list", {}, {"gone": container.read("keys")}),
        ("not finite", {}, {"weights": container.read("weights") * np.float32(np.nan)}),
    )
    for words, about, sections in forgeries:
        with ContainerWriter(tmp_path / "bad", "model delta", {**container.about, **about}) as writer:
            for name in container.names:
                writer.add(name, sections.get(name, container.read(name)))
            writer.finish()
        with pytest.raises(DataError, match=f"bad: .*{words}"):
            predictor.apply(tmp_path / "bad")
    assert predictor.predict(ROWS).tobytes() == scores
    predictor.apply(delta)
    with open(base, "r+b") as file:  # what is mapped stays watched
        file.truncate(100)
    with pytest.raises(DataError, match="changed in place"):
        predictor.predict(ROWS)


def test_a_result_that_is_another_is_not_written(tmp_path):
    history = History(tmp_path)
    base = history.full()
    history.step()
    container = Container(history.delta(read_model(base)))
    with ContainerWriter(tmp_path / "lie", "model delta", {**container.about, "result": "0" * 64}) as writer:
        for name in container.names:
            writer.add(name, container.read(name))
        writer.finish()
    with pytest.raises(DataError, match="folded: cannot be written: the rows and parameters are not those of the model 0000"):
        fold(base, [tmp_path / "lie"], tmp_path / "folded")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("folded")]


KILLED = """
import sys
from pathlib import Path
from deshpc.serve.delta import fold, write_delta
from deshpc.serve.exported import read_model
folder = Path(sys.argv[1])
old, new = read_model(folder / "full1"), read_model(folder / "full2")
print(flush=True)
while True:
    write_delta(folder / "d", old, new.about, new.blocks(), new.rows.take(slice(0)), new.dense)
    fold(folder / "full1", [folder / "d"], folder / "f")
"""


def test_a_kill_leaves_a_whole_file_or_none(tmp_path):
    history = History(tmp_path)
    first = history.full()
    history.step()
    delta, second = history.delta(read_model(first)).read_bytes(), history.full().read_bytes()
    for seed in range(3):
        writer = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE)
        writer.stdout.readline()
        time.sleep(random.Random(seed).uniform(0, 0.05))
        writer.send_signal(signal.SIGKILL)
        writer.communicate(timeout=TIMEOUT_S)
        for name, data in (("d", delta), ("f", second)):
            assert not (tmp_path / name).exists() or (tmp_path / name).read_bytes() == data
            (tmp_path / name).unlink(missing_ok=True)
