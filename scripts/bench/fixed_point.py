"""What fixed point costs: train.accumulate = "int64" beside float32, in time and in bytes.

    python scripts/bench/fixed_point.py [--models fm lr deepfm ...] [--exchanges allreduce reduce_scatter] [--rows 1000000]
        [--repeats 5] [--out fixed_point.json]

Deep models have layers of 64 and 32 units.  Criteo-shaped rows in memory, k = 16, Adagrad, global batch 8192, 2 ranks, `routed`; second of two passes.  The variants take
turns; medians are printed, and the bytes that both ranks together sent a sample.
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
SUMS = ("float32", "int64")


def measure(model, exchange, sums, rows):
    """The second pass as step_worker.py reports it."""
    overrides = [
        f"model.name={model}", f"train.exchange={exchange}", f"train.accumulate={sums}", "train.routing=routed",
        "compute.threads_per_rank=1", *([] if model in ("fm", "lr") else ["model.hidden=[64,32]"]),
    ]  # fmt: skip
    job = json.dumps({"rows": rows, "passes": 2, "overrides": overrides})
    command = [BIN / "mpiexec", "-n", "2", sys.executable, HERE / "step_worker.py", job]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1])["passes"][1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--models", nargs="+", default=["fm", "lr"])
    parser.add_argument("--exchanges", nargs="+", default=["allreduce", "reduce_scatter"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    pairs = [(model, exchange) for model in options.models for exchange in options.exchanges]
    runs = {(*pair, sums): [] for pair in pairs for sums in SUMS}
    for variant in runs:
        measure(*variant, 20_000)  # compile outside of the measurement
    for _ in range(options.repeats):
        for variant, results in runs.items():
            results.append(measure(*variant, options.rows))
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {options.rows:,} rows, "
          f"medians of {options.repeats}")  # fmt: skip
    print(f"{'':<22}{'float32':>11}{'int64':>11}{'time':>7}{'':16}{'float32':>9}{'int64':>8}{'bytes':>7}")
    for pair in pairs:
        plain, fixed = ([one["samples_per_s"] for one in runs[(*pair, sums)]] for sums in SUMS)
        sent = [runs[(*pair, sums)][0]["sent_bytes_per_sample"] for sums in SUMS]
        times = sorted(a / b for a, b in zip(plain, fixed, strict=True))
        print(
            f"{' '.join(pair):<22}{statistics.median(plain):>11,.0f}{statistics.median(fixed):>11,.0f}"
            f"{statistics.median(times):>6.2f}x ({times[0]:.2f} - {times[-1]:.2f}) {sent[0]:>9.1f}{sent[1]:>8.1f}{sent[1] / sent[0]:>6.2f}x"
        )
    if options.out:
        named = [{"model": m, "exchange": e, "sums": s, "passes": results} for (m, e, s), results in runs.items()]
        options.out.write_text(json.dumps(named, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
