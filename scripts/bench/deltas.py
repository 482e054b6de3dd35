"""A Predictor that scores in several threads while deltas arrive: every score is one of a version's, bit for bit.

    python scripts/bench/deltas.py [--rows 1000000] [--deltas 20] [--changed 0.01] [--rate 1000] [--seconds 30] [--json deltas.json]

FM, k = 16, float32.  Each delta changes a part of the rows, takes half as many away, and brings as many keys back that had gone.  Threads
score single rows, `--rate` a second in all, and the deltas arrive in a folder that the Predictor follows, at times drawn by chance.  A score has to be, bit for bit, that of a
version that was there during the call.  Prints how many scores were compared, latencies with and without a delta under way, and the time
and memory of `apply`; then folds all deltas and compares with the whole export.
"""

import argparse
import json
import resource
import statistics
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

import deshpc
from deshpc.config.load import build
from deshpc.formats.schema import Schema
from deshpc.hashing.key import FIELD_SHIFT, key
from deshpc.serve.delta import fold, write_delta
from deshpc.serve.exported import about_model, like_rows, read_model, stored_about, used_rows, write_rows

FIELDS, VALUES, ASKED, DIM, THREADS = 26, 2_000, 200, 16, 4


class Trained:
    """A model whose rows come, change and go."""

    def __init__(self, rows, generator):
        fields = [{"name": f"c{i}"} for i in range(FIELDS)]
        self._config = build({"data": {"train": ["x"], "label": "click", "fields": fields}, "model": {"dim": DIM}})
        self._schema, self._generator, self.steps = Schema.from_config(self._config.data), generator, 0
        self.known = np.array([key(i, f"c{i}", str(x)) for i in range(FIELDS) for x in range(VALUES)], np.uint64)
        others = generator.integers(0, FIELDS, rows, np.uint64) << np.uint64(FIELD_SHIFT) | generator.integers(1, 2**FIELD_SHIFT, rows, np.uint64)
        self._keys = np.unique(np.concatenate([self.known, others[: max(0, rows - len(self.known))]]))
        self._numbers = generator.normal(0, 0.05, (len(self._keys), 1 + DIM)).astype(np.float32)
        self._alive, self._bias = np.ones(len(self._keys), bool), -1.0

    def step(self, part):
        """Change a part of the rows, take others away, bring those back that went last, changed."""
        count = len(self._keys)
        chosen = self._generator.random(count)
        back, changed = ~self._alive, chosen < part
        self._alive = chosen < 1 - part / 2
        self._numbers[changed | back] += self._generator.normal(0, 0.01, (int((changed | back).sum()), 1 + DIM)).astype(np.float32)
        self._bias += 0.001
        self.steps += 1

    def model(self, path):
        """Arguments of `write_rows` and `write_delta`."""
        about = stored_about(path, about_model(self._config, self.steps), self._schema, None)
        keys, numbers = self._keys[self._alive], self._numbers[self._alive]
        blocks = ((keys[i : i + 50_000], numbers[i : i + 50_000]) for i in range(0, len(keys), 50_000))
        dense = {"bias": np.array(self._bias, np.float32), "fm.weights": np.zeros(0, np.float32), "fm.factors": np.zeros((0, DIM), np.float32)}
        return about, used_rows(blocks, path, 1), like_rows(np.empty((0, 1 + DIM), np.float32), 1), dense


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--deltas", type=int, default=20)
    parser.add_argument("--changed", type=float, default=0.01)
    parser.add_argument("--rate", type=float, default=1_000)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    generator = np.random.default_rng(1)
    asked = [{f"c{i}": str(x) for i, x in enumerate(row)} for row in generator.integers(0, VALUES, (ASKED, FIELDS)).tolist()]
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), Trained(options.rows, generator), asked, options, generator)
    print(json.dumps(result, indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def measure(folder, trained, asked, options, generator):
    """Everything that is printed."""
    exports, full, deltas = folder / "exports", folder / "full", []
    exports.mkdir()
    base = exports / "export-00000000.model"
    write_rows(base, *trained.model(base))
    full.hardlink_to(base)
    versions, wrote_s = [scores_of(full, asked)], []
    for number in range(options.deltas):
        old = read_model(full)
        trained.step(options.changed)
        deltas.append(folder / f"delta{number}")
        begin = time.perf_counter()
        write_delta(deltas[-1], old, *trained.model(deltas[-1]))
        wrote_s.append(time.perf_counter() - begin)
        write_rows(full, *trained.model(full))
        versions.append(scores_of(full, asked))
    predictor = deshpc.Predictor(exports)
    scores, applied_s, memory = serve(predictor, exports, asked, deltas, options, generator)
    wrong = sum(
        not any(versions[one][row] == score for one in range(first, last + 1)) for row, score, first, last, _ in scores
    )
    arrived = sorted(exports.glob("*.delta"))
    fold(base, arrived, folder / "folded")
    return {
        "rows": options.rows, "deltas": len(deltas), "delta_bytes": statistics.mean(path.stat().st_size for path in arrived),
        "full_bytes": full.stat().st_size, "write_delta_s": statistics.median(wrote_s), "scores": len(scores),
        "scores_per_s": len(scores) / options.seconds, "scores_of_no_version": wrong, "fold_is_full_export": same(folder / "folded", full),
        "apply_s": [round(one, 4) for one in applied_s], "apply_memory_mb": memory,
        "ms_with_delta_under_way": quantiles([one[4] for one in scores if one[2] != one[3]]),
        "ms_otherwise": quantiles([one[4] for one in scores if one[2] == one[3]]),
    }  # fmt: skip


def scores_of(path, asked):
    """The score of each row by a whole export."""
    predictor = deshpc.Predictor(path)
    return [predictor.predict_one(row) for row in asked]


def serve(predictor, exports, asked, deltas, options, generator):
    """([(row, score, first and last version that it may have, milliseconds)], seconds of each apply, megabytes that all took)."""
    begun = ended = 0  # deltas whose apply has
    until, scores = time.perf_counter() + options.seconds, [[] for _ in range(THREADS)]

    def score(mine, number):
        due, row = time.perf_counter(), number
        while due < until:
            time.sleep(max(0, due - time.perf_counter()))
            row = (row + THREADS) % len(asked)
            first, begin = ended, time.perf_counter()
            found = predictor.predict_one(asked[row])
            mine.append((row, found, first, begun, 1e3 * (time.perf_counter() - begin)))
            due += THREADS / options.rate

    threads = [threading.Thread(target=score, args=(mine, number)) for number, mine in enumerate(scores)]
    before, applied_s = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
    for thread in threads:
        thread.start()
    begin = time.perf_counter()
    for when in np.sort(generator.random(len(deltas)) * options.seconds * 0.9):
        time.sleep(max(0, begin + when - time.perf_counter()))
        begun += 1
        deltas[begun - 1].rename(exports / f"export-{begun:08d}.delta")
        start = time.perf_counter()
        predictor.follow(exports)
        applied_s.append(time.perf_counter() - start)
        ended += 1
    for thread in threads:
        thread.join()
    return sum(scores, []), applied_s, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def quantiles(numbers):
    """Median and 99th percentile."""
    return [round(float(np.quantile(numbers, one)), 3) for one in (0.5, 0.99)] if numbers else None


def same(one, other):
    """Whether two files have the same bytes."""
    return one.read_bytes() == other.read_bytes()


if __name__ == "__main__":
    main()
