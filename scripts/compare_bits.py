"""Do two commits compute the same, to the bit?  For changes that are to change no number.

    python scripts/compare_bits.py [COMMIT] [--ranks 1 2 4] [--only TEXT ...]

COMMIT (HEAD~1) is checked out into a temporary folder.  The same models are trained with its code and with that of the working
tree, and compared: loss and AUC of every step, metrics, rows of all ranks, dense parameters, scores of all test rows.

LR, FM and DeepFM by every split that they have, float32, float64 and fixed point; exchanges, routings and optimizers take turns.
--only : cases whose name contains every one of these words

Exit code 1 on a difference, 2 where a commit writes other files than the other, so that nothing can be said.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from trees import ROOT, checked_out, described, require_origin, run

HERE = Path(__file__).resolve().parent
CONFIG = """
[data]
format = "synthetic"
synthetic = { profile = "criteo", train_rows = 2_000, valid_rows = 500, test_rows = 500 }
[model]
dim = 6                         # does not divide by 4 ranks
hidden = [16, 8]
dropout = 0.1
[train]
global_batch_samples = 190      # 11 batches, the last one smaller
epochs = 2
watchdog_s = 300
[run]
report_interval_s = 1e-9        # every step is recorded
"""
SUMS, PUSHED = ("allreduce", "reduce_scatter", "rows"), ("allreduce", "reduce_scatter")
LINES = (  # model, split, first layer, exchanges that take turns, whether fixed point goes with it: see model/combinations.py
    ("lr", "key", "pooled", SUMS, SUMS),
    ("lr", "field", "pooled", SUMS, SUMS),
    ("fm", "key", "pooled", SUMS, SUMS),
    ("fm", "field", "pooled", SUMS, SUMS),
    ("fm", "column", "pooled", PUSHED, ()),
    ("deepfm", "key", "pooled", SUMS, SUMS),
    ("deepfm", "key", "pushed_down", PUSHED, ()),
    ("deepfm", "field", "pooled", ("pooled", "rows"), ("pooled", "rows")),
    ("deepfm", "field", "pushed_down", PUSHED, ()),
    ("deepfm", "column", "pushed_down", PUSHED, ()),
)
TYPES = {
    "float32": ["train.precision=float32"],
    "float64": ["train.precision=float64"],
    "int64": ["train.precision=float32", "train.accumulate=int64"],
}
ROUTINGS, OPTIMIZERS = ("routed", "broadcast"), ("adagrad", "adam")


class Case(NamedTuple):
    """name : what is trained, and how;  ranks : on so many;  overrides : of CONFIG"""

    name: str
    ranks: int
    overrides: list


def cases(all_ranks):
    """Yield every Case.  One rank has nothing to exchange, and two threads instead."""
    for turn, ranks in enumerate(all_ranks):
        for row, (numbers, options) in enumerate(TYPES.items()):
            for line, (model, split, first_layer, exchanges, fixed_point) in enumerate(LINES):
                possible = fixed_point if numbers == "int64" else exchanges
                if not possible:
                    continue
                exchange = possible[(turn + row) % len(possible)]
                routing = "broadcast" if split == "column" else ROUTINGS[(turn + line) % 2]
                optimizer = OPTIMIZERS[(row + line) % 2]
                how = f"{exchange} {routing}" if ranks > 1 else "2 threads"
                yield Case(
                    f"{model} {split} {first_layer} {numbers} {optimizer} {how}, {ranks} rank{'s'[: ranks > 1]}", ranks,
                    [
                        f"model.name={model}", f"model.first_layer={first_layer}", f"train.split={split}", f"train.exchange={exchange}",
                        f"train.routing={routing}", f"optimizer.name={optimizer}", f"compute.threads_per_rank={2 if ranks == 1 else 1}",
                        *options,
                    ],
                )  # fmt: skip


def train(tree, ranks, wanted, folder):
    """Train the cases, which are all on so many ranks, with the code of `tree`: run number i in folder/i."""
    folder.mkdir(parents=True)
    config, job = folder / "config.toml", folder / "job.json"
    config.write_text(CONFIG, encoding="utf-8")
    runs = [[str(folder / str(number)), case.overrides] for number, case in enumerate(wanted)]
    job.write_text(json.dumps({"config": str(config), "cases": runs}), encoding="utf-8")
    done = run(tree, ranks, HERE / "compare_bits_worker.py", job, cwd=folder)
    if done.returncode:
        print(f"{tree}: exit code {done.returncode}\n{done.stderr[-2000:]}", file=sys.stderr)


def verdict(first, second):
    """(kind, text) of two runs' folders: equal, different (one of them has failed, too), or another format."""
    from run_contents import OtherForm, differences

    failures = [_failure(folder) for folder in (first, second)]
    if any(failures):
        return "different", "; ".join(f"{name}: {text}" for name, text in zip("AB", failures, strict=True) if text)
    try:
        found = differences(first, second)
    except OtherForm as other:
        return "another format", f"the files are of another form, which says nothing of the numbers: {other}"
    return ("different", "; ".join(found)) if found else ("equal", "equal")


def _failure(folder):
    """Why a run has come to no end, or ""."""
    if (folder / "error.txt").exists():
        return (folder / "error.txt").read_text(encoding="utf-8")
    return "" if (folder / "scores.csv").exists() else "has not been trained to the end"


def compare(commit, all_ranks, words):
    """Print a line a case; returns {kind of verdict: [names of cases]}."""
    found = {"equal": [], "different": [], "another format": []}
    wanted = [case for case in cases(all_ranks) if all(word in case.name for word in words)]
    if not wanted:
        sys.exit(f"no case has {' and '.join(words)} in its name")
    with checked_out(commit) as tree, tempfile.TemporaryDirectory(prefix="deshpc-bits-") as temporary:
        for name, one in (("A", tree), ("B", ROOT)):
            require_origin(one)
            print(f"{name}: {described(one)}", flush=True)
        for ranks in all_ranks:
            chosen = [case for case in wanted if case.ranks == ranks]
            folders = [Path(temporary) / f"{name}-{ranks}" for name in "AB"]
            for one, folder in zip((tree, ROOT), folders, strict=True):
                train(one, ranks, chosen, folder)
            for number, case in enumerate(chosen):
                kind, text = verdict(*(folder / str(number) for folder in folders))
                found[kind].append(case.name)
                print(f"{case.name}: {text}", flush=True)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", nargs="?", default="HEAD~1")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--only", nargs="+", default=[], metavar="TEXT")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT / "src"))  # run_contents reads both trees' files by the working tree's code
    found = compare(options.commit, options.ranks, options.only)
    for kind in ("another format", "different"):
        if found[kind]:
            print(f"\n{kind}, {len(found[kind])} cases:", *found[kind], sep="\n    ")
    print(f"{len(found['equal'])} cases equal to the bit")
    return 1 if found["different"] else 2 if found["another format"] else 0


if __name__ == "__main__":
    sys.exit(main())
