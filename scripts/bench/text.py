"""Training from Criteo's text: start-up, loading, the first pass, and loading and pass together, in samples/s.

    python scripts/bench/text.py [--rows 900000] [--repeats 5] [--file train.tsv] [--json text.json]

Rows of Criteo's shape: 13 integers and 26 hexadecimal values with Criteo Kaggle's cardinalities, by the synthetic data's
distributions and truth.  Global batch 8192, k = 16, row-wise Adagrad, shuffled; LR and FM on 2 ranks and on 1 rank of 2
threads.  The file is in the page cache, as it has just been written.  Each run is a process (or two) of its own; the variants
take turns; medians are printed.  Times are those of the slowest rank:

start     from the launcher's start until all ranks have a session: interpreter, imports, MPI
first use loading a tiny file: Numba's own start, once a process
load      from opening the file until all samples are in memory, transformed
build     model, and a tiny step that loads every compiled kernel
pass      one epoch
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BIN = Path(sys.executable).parent
VARIANTS = {
    "LR, 2 ranks": (2, ["model.name=lr"]),
    "LR, 1 rank x 2 threads": (1, ["model.name=lr"]),
    "FM, 2 ranks": (2, ["model.name=fm"]),
    "FM, 1 rank x 2 threads": (1, ["model.name=fm"]),
}
SETTINGS = [
    "model.dim=16", "optimizer.name=rowwise_adagrad", "train.global_batch_samples=8192", "train.routing=broadcast",
]  # fmt: skip
STAGES = ("start", "first use", "load", "build", "pass")


def write_rows(path, rows):
    """Write synthetic rows of the profile "criteo" as Criteo's text."""
    import numpy as np

    from deshpc.config.load import build
    from deshpc.data.synthetic import draw, generate

    config = build({"data": {"format": "synthetic", "synthetic": {"profile": "criteo", "train_rows": rows}}}).data.synthetic
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    shifts = np.arange(28, -1, -4, dtype=np.uint64)
    with open(path, "wb") as file:
        for begin in range(0, rows, 50_000):
            end = min(begin + 50_000, rows)
            n, raw = end - begin, draw(config, "train", begin, end)
            labels = generate(config, "train", begin, end).labels
            ids = raw.ids.reshape(n, 26).astype(np.uint64) * np.uint64(2654435761) + np.arange(26, dtype=np.uint64)
            numbers = np.exp(1.5 + 1.3 * raw.dense).astype(np.int64)
            texts = np.char.mod("%d\t", np.arange(numbers.max() + 1)).astype("S7")
            cells = np.zeros((n, 2 + 13 * 7 + 26 * 9), np.uint8)  # zeros fill up short numbers, and are left out at the end
            cells[:, 0], cells[:, 1] = 48 + labels, ord("\t")
            cells[:, 2:93] = texts[numbers].view(np.uint8).reshape(n, 91)
            values = cells[:, 93:].reshape(n, 26, 9)
            values[:, :, :8] = digits[(ids[:, :, None] >> shifts & np.uint64(15)).astype(np.int64)]
            values[:, :, 8] = ord("\t")
            values[:, -1, 8] = ord("\n")
            cells[:, 93:] = values.reshape(n, 26 * 9)
            file.write(cells[cells != 0].tobytes())


def measure(ranks, overrides, path):
    """Seconds of each stage and number of rows of one run."""
    job = {"path": str(path), "overrides": [*SETTINGS, *overrides, f"compute.threads_per_rank={2 // ranks}"], "began": time.time()}
    command = [BIN / "mpiexec", "-n", str(ranks), sys.executable, __file__, "--worker", json.dumps(job)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1]) | {"whole": time.time() - job["began"]}


def work(job):
    """One run, on all ranks; rank 0 prints its report."""
    from mpi4py import MPI

    from deshpc.config import override
    from deshpc.config.load import build
    from deshpc.data.input import open_input
    from deshpc.data.reader import Reader
    from deshpc.training.scored_samples import reads_of
    from deshpc.training.session import Session
    from deshpc.training.step import steps

    comm, seconds = MPI.COMM_WORLD, {}
    config = override(build({"data": {"format": "criteo", "train": [job["path"]]}}), *job["overrides"])
    session = Session(config, comm)
    comm.Barrier()
    seconds["start"] = time.time() - job["began"]

    def timed(stage, task):
        begin = time.perf_counter()
        result = task()
        seconds[stage] = comm.allreduce(time.perf_counter() - begin, MPI.MAX)
        return result

    def load_tiny():
        with tempfile.NamedTemporaryFile("wb", suffix=".tsv") as file:
            file.write(b"\t".join([b"1", *[b"7"] * 13, *[b"68fd1e64"] * 26]) + b"\n")
            file.flush()
            open_input(override(config, f"data.train={file.name}").data).load("train")

    def one_pass():
        for _ in steps(model, reader.epoch(0)):
            pass

    timed("first use", load_tiny)
    dataset = timed("load", lambda: session.load("train"))
    model = timed("build", lambda: session.build(dataset))
    reader = Reader(
        dataset, config.train.global_batch_samples, reads_of(model), model.backend.host_buffers, config.train.seed,
        config.train.shuffle, config.train.shuffle_block_rows, config.train.shuffle_run_rows,
    )  # fmt: skip
    timed("pass", one_pass)
    if comm.rank == 0:
        print(json.dumps({"seconds": seconds, "rows": len(dataset)}), flush=True)
    session.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=900_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--file", type=Path, help="rows in Criteo's text, written there unless the file exists")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(json.loads(options.worker))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = options.file or Path(folder) / "train.tsv"
        if not path.exists():
            write_rows(path, options.rows)
        small = Path(folder) / "small.tsv"
        write_rows(small, 20_000)
        for ranks, overrides in VARIANTS.values():  # compile outside of the measurement
            measure(ranks, overrides, small)
        runs = {name: [] for name in VARIANTS}
        for _ in range(options.repeats):
            for name, (ranks, overrides) in VARIANTS.items():
                runs[name].append(measure(ranks, overrides, path))
        size = path.stat().st_size
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; "
          f"{next(iter(runs.values()))[0]['rows']:,} rows, {size / 1e6:,.0f} MB, medians of {options.repeats}")  # fmt: skip
    print(f"{'seconds':<26}" + "".join(f"{stage:>11}" for stage in (*STAGES, "whole")) + f"{'M samples/s from text (range)':>32}")
    for name, reports in runs.items():
        times = [statistics.median(one["seconds"][stage] for one in reports) for stage in STAGES]
        whole = statistics.median(one["whole"] for one in reports)
        rates = sorted(one["rows"] / (one["seconds"]["load"] + one["seconds"]["pass"]) / 1e6 for one in reports)
        print(f"{name:<26}" + "".join(f"{one:11.3f}" for one in (*times, whole))
              + f"{statistics.median(rates):16.2f} ({rates[0]:.2f} - {rates[-1]:.2f})")  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps(runs, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
