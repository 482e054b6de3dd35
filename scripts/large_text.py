"""Train from a text file of many gigabytes, which is made and removed again, and print the peak of memory of all ranks.

    python scripts/large_text.py [--gib 9.32] [--ranks 2] [--folder FOLDER] [--set section.key=value ...]

The file is Criteo's text of the synthetic profile `criteo` (docs/synthetic.md): some rows of their own, over and over, of one of whose categorical values
one digit changes each time, so there are new keys for sixteen times.  Trained is LR, once, as rows are read (data.follow), and then
by blocks (data.in_memory = "off").  VmHWM of every rank is printed beside what the tables have, and what samples in memory would take.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE, BIN = Path(__file__).parent, Path(sys.executable).parent
ROWS = 200_000  # of their own
KEYS, NUMBERS = 26, 13
SAMPLE_BYTES = KEYS * 10 + NUMBERS * 4 + 4 + 8
WAYS = {
    "as rows are read": ["data.follow=true", "data.fit_rows=50000"],
    "by blocks": ["data.in_memory=off"],
}


def write(path, nbytes):
    """Write rows until there are so many bytes; the number of rows."""
    import numpy as np

    sys.path.insert(0, str(HERE / "bench"))
    from text import write_rows

    own = path.with_suffix(".own")
    write_rows(own, ROWS)
    text = np.fromfile(own, np.uint8)
    own.unlink()
    tabs = np.flatnonzero(text == ord("\t"))
    value = tabs.reshape(ROWS, -1)[:, 16]  # the tab before the fourth categorical value, which has many
    rows = written = 0
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    with open(path, "wb") as file:
        while written < nbytes:
            text[value + 1] = digits[rows // ROWS % 16]
            file.write(memoryview(text))
            rows, written = rows + ROWS, written + len(text)
    return rows


def work(job):
    """One rank of a training; rank 0 prints a line."""
    import deshpc

    with deshpc.ranks() as comm:
        begin = time.perf_counter()
        result = deshpc.train(job["config"], comm, overrides=job["overrides"])
        seconds = time.perf_counter() - begin
        peaks = comm.gather(peak_bytes())
        if comm.rank == 0:
            print(json.dumps({"samples": result.samples, "rows": result.rows, "seconds": seconds, "rate": result.samples_per_s, "peaks": peaks}), flush=True)


def peak_bytes():
    """VmHWM of this process, which counts memory that ranks share for each of them."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(text.partition("VmHWM:")[2].split()[0]) << 10


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=9.32, help="10 GB")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--set", action="append", default=[], metavar="section.key=value", help="of the training")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(json.loads(options.worker))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "rows.tsv"
        rows = write(path, int(options.gib * 2**30))
        print(f"{path.stat().st_size:,} bytes, {rows:,} rows; samples in memory would take {rows * SAMPLE_BYTES / 2**20:,.0f} MiB", flush=True)
        for way in options.ways:
            config = {
                "data": {"format": "criteo", "train": [str(path)]}, "model": {"name": "lr"}, "train": {"global_batch_samples": 8192},
                "run": {"directory": f"{folder}/{way}", "save_model": False},
            }  # fmt: skip
            job = json.dumps({"config": config, "overrides": [*WAYS[way], *options.set]})
            command = [BIN / "mpiexec", "-n", str(options.ranks), sys.executable, __file__, "--worker", job]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ)
            found = json.loads(done.stdout.splitlines()[-1])
            peaks = " and ".join(f"{peak / 2**20:,.0f}" for peak in found["peaks"])
            print(
                f"{way}: {found['samples']:,} samples in {found['seconds']:,.0f} s, {found['rate']:,.0f} a second; {found['rows']:,} rows of tables; "
                f"peak of each rank {peaks} MiB", flush=True,
            )  # fmt: skip


if __name__ == "__main__":
    main()
