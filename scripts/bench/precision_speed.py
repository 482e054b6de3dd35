"""Samples/s by embeddings in float32 and in bfloat16 (`train.precision`), in turns.

    python scripts/bench/precision_speed.py [--dims 16 32] [--models fm] [--rules adagrad] [--ranks 1] [--rows 500000] [--repeats 5]

Generated rows of the profile criteo, global batch 8192, one thread a rank, in memory; memory for the rows to come is set aside before.  The
first pass inserts every row, the second finds all of them.  A first round compiles and is not timed; then the two take turns, each time in
processes of their own.  Printed: medians of samples/s, the ratios of the medians, bytes of a row in memory, index included, and the
milliseconds of each stage in the second pass of the quickest run of each.
"""

import argparse
import json
import statistics
import subprocess
import sys
from itertools import product
from pathlib import Path

HERE, BIN = Path(__file__).parent, Path(sys.executable).parent
PRECISIONS, ROWS_TO_COMPILE = ("float32", "bfloat16"), 20_000


def measured(precision, model, dim, rule, ranks, rows, threads):
    """The report of step_worker.py."""
    overrides = [f"model.name={model}", f"model.dim={dim}", f"train.precision={precision}", f"optimizer.name={rule}", f"compute.threads_per_rank={threads}"]
    job = json.dumps({"rows": rows, "passes": 2, "set_aside": True, "overrides": overrides})
    launch = [BIN / "mpiexec", "-n", str(ranks)] if ranks > 1 else []
    done = subprocess.run([*launch, sys.executable, HERE / "step_worker.py", job], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{precision}, {model}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dims", type=int, nargs="+", default=[16, 32])
    parser.add_argument("--models", nargs="+", default=["fm"])
    parser.add_argument("--rules", nargs="+", default=["adagrad"])
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    for model, dim, rule in product(options.models, options.dims, options.rules):
        shape = model, dim, rule, options.ranks
        for precision in PRECISIONS:  # compiled, and not counted
            measured(precision, *shape, ROWS_TO_COMPILE, options.threads)
        found = {precision: [] for precision in PRECISIONS}
        for _ in range(options.repeats):
            for precision in PRECISIONS:
                found[precision].append(measured(precision, *shape, options.rows, options.threads))
        print(f"{model}, k = {dim}, {rule}, {options.ranks} ranks x {options.threads} threads, medians of {options.repeats}", flush=True)
        medians = {}
        for precision, reports in found.items():
            medians[precision] = [statistics.median(one["passes"][i]["samples_per_s"] for one in reports) for i in range(2)]
            best = min(reports, key=lambda one: one["passes"][1]["seconds"])
            first, second = medians[precision]
            print(f"{precision:<9}{first:>11,.0f} first pass{second:>11,.0f} second  {best['table_bytes'] / best['rows']:.0f} bytes a row"
                  f"  {best['passes'][1]['stages_ms']}")  # fmt: skip
        first, second = (medians[PRECISIONS[1]][i] / medians[PRECISIONS[0]][i] for i in range(2))
        print(f"bfloat16 / float32  {first:.2f} first pass, {second:.2f} second", flush=True)


if __name__ == "__main__":
    main()
