"""A table of 50 million rows trains: memory, speed while it grows and when it is full, longest step.

    python scripts/bench/large_table.py [--rows 50000000] [--ranks 2] [--dim 8] [--touch GIB] [--out large_table.json]

FM, k = 8, Adagrad, global batch 8192 of 26 keys a sample, which are made as they are needed.  First every key is a new one
until the table has its rows; then keys are Zipf (exponent 1.05) and then uniform among all rows, which no cache can help with.

The host of a virtual machine may have taken back memory that nobody uses, and take milliseconds to give a MiB again.  `--touch` has another
process use so much memory first, twice, and says what it took: the second time is that of memory which the host has given already.
"""

import argparse
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from deshpc.backend.cpu.buffers import aligned

HERE, BIN = Path(__file__).parent, Path(sys.executable).parent
BATCH, KEYS = 8192, 26
MIB = 2**20


def touch(gib):
    """Use so much memory, in huge pages, and say what that took."""
    begin, pages = time.perf_counter(), aligned(int(gib * 2**30), np.uint8)
    pages[::4096] = 1
    return f"{gib:g} GiB touched, {1e3 * (time.perf_counter() - begin) / (gib * 1024):.2f} ms a MiB"


def _in_another_process(function, argument):
    with multiprocessing.Pool(1) as pool:
        return pool.apply(function, [argument])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000_000)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--dim", type=int, default=8)
    parser.add_argument("--steps", type=int, default=100, help="steps with each kind of keys over the full table")
    parser.add_argument("--touch", type=float, default=0, help="GiB that another process uses first")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.touch:
        print("; then ".join(_in_another_process(touch, options.touch) for _ in range(2)))
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
    end, last, fresh = reports[-1], reports[-2], reports[: len(phases)]
    seconds = sum(BATCH * one["steps"] / one["samples_per_s"] for one in fresh)
    print(f"fresh keys, all: {BATCH * growing / seconds:,.0f} samples/s, longest step {max(one['longest_step_ms'] for one in fresh):.1f} ms, "
          f"the very first {fresh[0]['first_step_ms']:.1f}")  # fmt: skip
    print(f"peak memory of all ranks {sum(end['peak_bytes']) / MIB:,.0f} MiB; {sum(last['rows']):,} rows of "
          f"{end['record_bytes']} bytes and index: {sum(last['table_bytes']) / sum(last['rows']):.1f} bytes a row")  # fmt: skip
    if options.out:
        options.out.write_text(json.dumps(reports, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
