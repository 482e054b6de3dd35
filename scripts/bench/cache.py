"""Training from a binary cache beside training from memory: samples/s of one pass and of two.

    python scripts/bench/cache.py [--rows 1000000] [--repeats 5] [--json cache.json]

Rows of Criteo's shape (26 categorical fields with Criteo Kaggle's cardinalities, 13 dense features); FM, k = 16, Adagrad,
global batch 8192, shuffled, 2 ranks, `broadcast` and `routed`.  The first pass from a cache also verifies its checksums;
the files are in the page cache, as they have just been written.  The variants take turns; medians are printed.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

BIN = Path(sys.executable).parent
CONFIG = """
[data]
format = "synthetic"
[data.synthetic]
profile = "criteo"
train_rows = {rows}
test_rows = 0
[train]
global_batch_samples = 8192
[run]
directory = "run"
save_model = false
"""


def train(folder, config, passes, routing):
    """Trained samples a second, evaluation and set-up excluded."""
    command = [
        BIN / "mpiexec", "-n", "2", sys.executable, "-m", "deshpc", "train", config,
        "--set", f"train.epochs={passes}", "--set", f"train.routing={routing}",
    ]  # fmt: skip
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)
    record = (folder / "run" / "record.jsonl").read_text(encoding="utf-8").splitlines()
    return next(one["samples_per_s"] for one in map(json.loads, record) if one["event"] == "result")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "memory.toml").write_text(CONFIG.format(rows=options.rows), encoding="utf-8")
        convert = [sys.executable, "-m", "deshpc", "convert", "memory.toml", "--out", "cache"]
        subprocess.run(convert, check=True, stdout=subprocess.DEVNULL, cwd=folder)
        for repeat in range(options.repeats + 1):  # the first compiles, and is not counted
            for routing in ("broadcast", "routed"):
                for passes in (1, 2):
                    for source, config in (("memory", "memory.toml"), ("cache", "cache/config.toml")):
                        rate = train(folder, config, passes, routing)
                        if repeat:
                            runs.setdefault((routing, passes, source), []).append(rate)
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {options.rows:,} rows, medians of {options.repeats}")
    print(f"{'routing':<12}{'passes':>7}{'memory':>12}{'cache':>12}{'ratio':>8}{'ratios of single runs':>26}")
    for routing in ("broadcast", "routed"):
        for passes in (1, 2):
            memory, cache = runs[routing, passes, "memory"], runs[routing, passes, "cache"]
            ratios = sorted(c / m for c, m in zip(cache, memory, strict=True))
            print(
                f"{routing:<12}{passes:>7}{statistics.median(memory):>12,.0f}{statistics.median(cache):>12,.0f}"
                f"{statistics.median(ratios):>8.2f}{ratios[0]:>16.2f} to {ratios[-1]:.2f}"
            )
    if options.json:
        named = [{"routing": r, "passes": p, "source": s, "samples_per_s": rates} for (r, p, s), rates in runs.items()]
        options.json.write_text(json.dumps(named, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
