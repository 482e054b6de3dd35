"""Speed before and after: two trees, A a commit's and B the working one, train the same models in turns.

    python scripts/bench/in_turns.py COMMIT [--models lr fm deepfm dlrm] [--ranks 2] [--rows 200000] [--epochs 5] [--repeats 5]

Generated rows of the profile criteo, global batch 8192, k = 16, one thread a rank; the other options are the defaults.  Every
figure is samples/s of a whole `deshpc train`: of the slowest rank, without reading, compiling and evaluating; the first epoch
inserts every row.  A, B, A, B, ...: a machine whose speed changes meets both alike.  Medians are printed, with the least and
the largest; B / A is the ratio of the medians, and the spread of the ratios of neighbours.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from trees import ROOT, checked_out, described, require_origin, run  # noqa: E402  beside this folder

ROWS_TO_COMPILE = 10_000


def measure(tree, model, ranks, rows, epochs):
    """Samples/s of one training with the code of `tree`."""
    with tempfile.TemporaryDirectory(prefix="deshpc-in-turns-") as temporary:
        config = Path(temporary) / "config.toml"
        config.write_text(
            f'[data]\nformat = "synthetic"\nsynthetic = {{ profile = "criteo", train_rows = {rows}, test_rows = 0 }}\n'
            f'[model]\nname = "{model}"\n[train]\nepochs = {epochs}\n[compute]\nthreads_per_rank = 1\n'
            f'[run]\ndirectory = "run"\nsave_model = false\nreport_interval_s = 1e9\n',
            encoding="utf-8",
        )
        done = run(tree, ranks, "-m", "deshpc", "train", config, cwd=temporary)
        if done.returncode:
            sys.exit(f"{tree}: {model}: exit code {done.returncode}\n{done.stderr[-2000:]}")
        lines = map(json.loads, (Path(temporary) / "run" / "record.jsonl").read_text(encoding="utf-8").splitlines())
        return next(line["samples_per_s"] for line in lines if line["event"] == "result")


def report(model, before, after):
    """A line of a model: samples/s of both, and their ratio."""
    ratios = [b / a for a, b in zip(before, after, strict=True)]
    ratio = statistics.median(after) / statistics.median(before)
    return f"{model:<10}A {_spread(before)}   B {_spread(after)}   B / A {ratio:.3f} ({min(ratios):.3f} - {max(ratios):.3f})"


def _spread(figures):
    return f"{statistics.median(figures):>11,.0f} ({min(figures):,.0f} - {max(figures):,.0f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit")
    parser.add_argument("--models", nargs="+", default=["lr", "fm", "deepfm", "dlrm"])
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with checked_out(options.commit) as tree:
        for name, one in (("A", tree), ("B", ROOT)):
            require_origin(one)
            print(f"{name}: {described(one)}", flush=True)
        print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {options.ranks} ranks "
              f"x 1 thread, {options.rows:,} rows, {options.epochs} epochs, medians of {options.repeats}: samples/s", flush=True)  # fmt: skip
        for model in options.models:
            for one in (tree, ROOT):  # compiled, and not counted
                measure(one, model, options.ranks, ROWS_TO_COMPILE, 1)
            pairs = [
                [measure(one, model, options.ranks, options.rows, options.epochs) for one in (tree, ROOT)]
                for _ in range(options.repeats)
            ]
            print(report(model, *zip(*pairs, strict=True)), flush=True)


if __name__ == "__main__":
    main()
