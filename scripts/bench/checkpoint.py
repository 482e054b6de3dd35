"""How long a checkpoint takes: the copy of the rows that training waits for, the write, and loading.

    python scripts/bench/checkpoint.py [--rows 1000000] [--dim 16] [--folder DIR]       one rank, one thread

Prints one JSON line: seconds of the best of three, bytes of the files, and the write's rate.  A plain sequential write of
as many bytes to the same folder, with fsync, is measured in the same run.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from mpi4py import MPI

from deshpc.backend.open import open_backend
from deshpc.checkpoint.describe import describe
from deshpc.checkpoint.load import load_model
from deshpc.checkpoint.save import save_model
from deshpc.comm.group import Group
from deshpc.config import resolved
from deshpc.config.load import build
from deshpc.model.build import build_model
from deshpc.table.shard import Rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=16)
    parser.add_argument("--folder")
    options = parser.parse_args()
    config = build({"data": {"format": "synthetic"}, "model": {"dim": options.dim}})
    backend, group = open_backend("cpu", 1), Group(MPI.COMM_SELF)
    model = build_model(config, backend, group, 1, 0)
    fill(model, options.rows)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "model"
        copy_s = best(model.table.copied_blocks)
        manifest = describe(model, resolved(config), {}, 0)
        write_s = best(lambda: save_model(model, path, manifest))
        size = sum(file.stat().st_size for file in path.iterdir())
        plain_s = best(lambda: plain_write(Path(folder) / "plain", size))

        def load():
            model.table.clear()
            load_model(model, path)

        load_s = best(load)
        assert len(model.table) == options.rows
    print(json.dumps({
        "rows": options.rows, "dim": options.dim, "bytes": size, "copy_s": round(copy_s, 3), "write_s": round(write_s, 3),
        "plain_write_s": round(plain_s, 3), "load_s": round(load_s, 3), "write_mb_s": round(size / write_s / 1e6),
    }))  # fmt: skip


def fill(model, rows):
    rng = np.random.default_rng(1)
    keys = np.unique(rng.integers(1, 2**64, rows + rows // 100, np.uint64))[:rows]
    keys = rng.permutation(keys)
    numbers = rng.standard_normal((rows, model.table.layout.numbers)).astype(np.float32)
    model.table.load(Rows(keys, np.zeros(rows, np.uint16), np.ones(rows, np.uint32), np.ones(rows, np.uint32), numbers))


def plain_write(path, size):
    data = np.random.default_rng(2).integers(0, 256, 1 << 23, np.uint8).tobytes()
    with open(path, "wb") as file:
        for begin in range(0, size, len(data)):
            file.write(data[: min(len(data), size - begin)])
        file.flush()
        os.fsync(file.fileno())


def best(task):
    """Seconds of the fastest of three calls; the first one may compile."""
    task()
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        task()
        times.append(time.perf_counter() - begin)
    return min(times)


if __name__ == "__main__":
    main()
