"""Training steps on Criteo-shaped rows in memory: samples/s, milliseconds a stage, peak memory.

    python scripts/bench/step.py [--rows 1000000] [--repeats 5] [--out step.json]

Global batch 8192, k = 16, Adagrad, 26 categorical fields with Criteo Kaggle's cardinalities and 13 dense features,
shuffled, two passes: the first inserts every row.  The variants take turns within one run; medians are printed.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

HERE, BIN = Path(__file__).parent, Path(sys.executable).parent
VARIANTS = {
    "FM, 2 ranks, broadcast": (2, ["train.routing=broadcast"]),
    "FM, 2 ranks, routed": (2, ["train.routing=routed"]),
    "FM, 1 rank x 2 threads": (1, []),
    "LR, 2 ranks, broadcast": (2, ["train.routing=broadcast", "model.name=lr"]),
}


def measure(ranks, overrides, rows):
    """The worker's report of one run."""
    job = json.dumps({"rows": rows, "passes": 2, "overrides": overrides})
    command = [BIN / "mpiexec", "-n", str(ranks), sys.executable, HERE / "step_worker.py", job]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    for ranks, overrides in VARIANTS.values():  # compile outside of the measurement
        measure(ranks, overrides, 20_000)
    runs = {name: [] for name in VARIANTS}
    for _ in range(options.repeats):
        for name, (ranks, overrides) in VARIANTS.items():
            runs[name].append(measure(ranks, overrides, options.rows))
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; "
          f"{options.rows:,} rows, medians of {options.repeats}")  # fmt: skip
    for name, reports in runs.items():
        first, second = (
            statistics.median(report["passes"][p]["samples_per_s"] for report in reports) for p in (0, 1)
        )
        spread = [report["passes"][1]["samples_per_s"] for report in reports]
        print(f"\n{name}: first pass {first / 1e6:.2f} M samples/s, second {second / 1e6:.2f} M "
              f"({min(spread) / 1e6:.2f} - {max(spread) / 1e6:.2f}); peak memory "
              f"{statistics.median(max(r['peak_memory_mib_per_rank']) for r in reports):.0f} MiB a rank, "
              f"{reports[0]['rows']:,} rows in {reports[0]['table_bytes'] / 2**20:.0f} MiB of tables")  # fmt: skip
        for stage in reports[0]["passes"][1]["stages_ms"]:
            times = [statistics.median(r["passes"][p]["stages_ms"][stage] for r in reports) for p in (0, 1)]
            print(f"    {stage:<18}{times[0]:8.2f} ms first pass{times[1]:8.2f} ms second pass")
    if options.out:
        options.out.write_text(json.dumps(runs, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
