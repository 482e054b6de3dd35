#!/usr/bin/env python
"""Fields whose values have one hash: does each keep its own row, whatever the model, the split and the number of ranks?

XXH64 of eight bytes can be inverted, so whoever writes the data can give values of several fields the same 64 bits (and the
hash 0, too).  Random data sets of such values, one-hot and multi-hot, are trained by `deshpc train` on 1 to 3 ranks, read by
another split, and served.  Expected: as many rows as a set of (field, value) counts; the scores of one rank.

    scripts/attacks/collisions.py [--cases 24] [--seed 1]
"""

import argparse
import csv
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from colliding_values import colliding_values  # noqa: E402

import deshpc  # noqa: E402
from deshpc.hashing.key import field_seed  # noqa: E402

MODELS = {  # name: what `train.split` it may have
    "lr": ["key", "field"], "fm": ["key", "field", "column"], "deepfm": ["key", "field"], "dcn": ["key", "field"], "wide_deep": ["key", "field"],
}  # fmt: skip
SAME = 1e-10  # of scores in float64
MPIEXEC = Path(sys.executable).with_name("mpiexec")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=24, help="data sets; default 24")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    findings = []
    for case in range(options.cases):
        with tempfile.TemporaryDirectory() as folder:
            try:
                what = _case(random.Random(f"{options.seed} {case}"), Path(folder))
                print(f"case {case}: {what}", flush=True)
            except AssertionError as finding:
                findings.append(case)
                print(f"case {case}: FOUND: {finding}", flush=True)
    print(f"{options.cases} cases, {len(findings)} findings")
    return 1 if findings else 0


def _case(chance, folder):
    """Train, read and serve one data set; AssertionError where anything is not as expected.  What it was, as text."""
    names = [f"field{i}" for i in range(chance.randint(2, 5))]
    several = {name: chance.random() < 0.4 for name in names}
    values = colliding_values([field_seed(name) for name in names], chance.randint(3, 15), chance)
    parts = {part: _write(folder / f"{part}.csv", names, several, values, chance) for part in ("train", "test")}
    seen = {(name, value) for row in parts["train"] for name, cell in zip(names, row, strict=True) for value in cell}
    model = chance.choice(list(MODELS))
    split, ranks = chance.choice(MODELS[model]), chance.randint(1, 3)
    (folder / "a.toml").write_text(_toml(names, several, model))
    options = [f"--set=train.split={split}"] + ["--set=train.routing=broadcast"] * (split == "column")
    _deshpc(folder, ranks, "train", "a.toml", *options, "--set=run.directory=several")
    _deshpc(folder, 1, "train", "a.toml", "--set=run.directory=one")
    result = json.loads((folder / "several/record.jsonl").read_text().splitlines()[-1])
    assert result["rows"] == len(seen), f"{model}, {split}, {ranks} ranks: {result['rows']} rows for {len(seen)} values"
    _deshpc(folder, ranks, "predict", "several", "--out", "several.csv")
    _deshpc(folder, 1, "predict", "several", "--out", "other.csv", "--set=train.split=key")
    _deshpc(folder, 1, "predict", "one", "--out", "one.csv")
    _deshpc(folder, 1, "export", "several", "--out", "served")
    served = deshpc.Predictor(folder / "served").predict(
        {name: [row[i] if several[name] else row[i][0] for row in parts["test"]] for i, name in enumerate(names)}
    )
    expected = _scores(folder / "one.csv")
    for name, scores in ("ranks", _scores(folder / "several.csv")), ("key split", _scores(folder / "other.csv")), ("served", served):
        worst = max(abs(a - b) for a, b in zip(expected, scores, strict=True))
        assert worst < SAME, f"{model}, {split}, {ranks} ranks: scores of {name} differ by {worst}"
    return f"{model}, split {split}, {ranks} ranks, {len(names)} fields, {len(seen)} rows"


def _write(path, names, several, values, chance):
    """Write 200 rows, in which the fields' values collide; rows as lists of values for each field."""
    rows, lines = [], [",".join(["click", *names]).encode()]
    for _ in range(200):
        row = [[chance.choice(values)[f] for _ in range(chance.randint(0, 3) if several[name] else 1)] for f, name in enumerate(names)]
        rows.append(row)
        lines.append(b",".join([b"%d" % chance.randrange(2), *(b"|".join(cell) for cell in row)]))
    path.write_bytes(b"\n".join(lines) + b"\n")
    return rows


def _toml(names, several, model):
    fields = "".join(f'[[data.fields]]\nname = "{name}"\nkind = "{"multi" if several[name] else "categorical"}"\n' for name in names)
    return f"""
[data]
train = "train.csv"
test = "test.csv"
label = "click"
{fields}
[model]
name = "{model}"
dim = 4
hidden = [5]
[train]
precision = "float64"
global_batch_samples = 64
epochs = 2
[compute]
threads_per_rank = 1
"""


def _scores(path):
    with open(path, newline="") as file:
        return [float(row["score"]) for row in csv.DictReader(file)]


def _deshpc(folder, ranks, *arguments):
    command = [sys.executable, "-m", "deshpc", *arguments]
    if ranks > 1:
        command = [str(MPIEXEC), "-n", str(ranks), *command]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{' '.join(arguments)} on {ranks} ranks: exit code {done.returncode}: {done.stderr}"


if __name__ == "__main__":
    sys.exit(main())
