"""A table of 50 million rows trains: memory, speed while it grows and when it is full, longest step.

    python scripts/bench/large_table.py [--rows 50000000] [--ranks 2] [--dim 8] [--out large_table.json]

FM, k = 8, Adagrad, global batch 8192 of 26 keys a sample, which are made as they are needed.  First every key is a new one
until the table has its rows; then keys are Zipf (exponent 1.05) and then uniform among all rows, which no cache can help with.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

HERE, BIN = Path(__file__).parent, Path(sys.executable).parent
BATCH, KEYS = 8192, 26
MIB = 2**20


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000_000)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--dim", type=int, default=8)
    parser.add_argument("--steps", type=int, default=100, help="steps with each kind of keys over the full table")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    a_step = BATCH * KEYS
    growing = -(-options.rows // a_step)
    rows = growing * a_step
    tenth = max(1, growing // 10)
    phases = [{"steps": min(tenth, growing - done), "draw": "fresh"} for done in range(0, growing, tenth)]
    full = [{"steps": options.steps, "draw": draw, "rows": rows} for draw in ("zipf", "uniform")]
    job = {"batch": BATCH, "keys_per_sample": KEYS, "overrides": [f"model.dim={options.dim}"], "phases": phases + full}
    command = [BIN / "mpiexec", "-n", str(options.ranks), sys.executable, HERE / "rows_worker.py", json.dumps(job)]
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {options.ranks} ranks, k = {options.dim}")
    print(f"{'keys':>8}{'rows':>14}{'samples/s':>12}{'median ms':>11}{'longest ms':>12}{'tables MiB':>12}{'processes MiB':>15}")
    reports = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            one = json.loads(line)
            reports.append(one)
            if "draw" in one:
                print(
                    f"{one['draw']:>8}{sum(one['rows']):>14,}{one['samples_per_s']:>12,}{one['median_step_ms']:>11.1f}"
                    f"{one['longest_step_ms']:>12.1f}{sum(one['table_bytes']) / MIB:>12,.0f}{sum(one['resident_bytes']) / MIB:>15,.0f}",
                    flush=True,
                )
    if process.returncode:
        sys.exit(f"large_table: a run of {rows:,} rows ended with {process.returncode}")
    end, last = reports[-1], reports[-2]
    print(f"peak memory of all ranks {sum(end['peak_bytes']) / MIB:,.0f} MiB; {sum(last['rows']):,} rows of "
          f"{end['record_bytes']} bytes and index: {sum(last['table_bytes']) / sum(last['rows']):.1f} bytes a row")  # fmt: skip
    if options.out:
        options.out.write_text(json.dumps(reports, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
