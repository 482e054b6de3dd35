"""How long a checkpoint takes: the copy of the rows that training waits for, the write, and loading.

    python scripts/bench/checkpoint.py [--rows 1000000] [--dim 16] [--changed 0.01] [--folder DIR]       one rank, one thread

Prints one JSON line: seconds of the best of three, bytes of the files, and the write's rate.  A plain sequential write of
as many bytes to the same folder, with fsync, is measured in the same run.  `delta_`: of a checkpoint that has a part of the rows, which
have changed since the whole one, a two-hundredth of all being gone; `delta_copy_s` is what training waits for, `delta_load_s` that of both.
"""

import argparse
import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from mpi4py import MPI

from deshpc.backend.open import open_backend
from deshpc.checkpoint.changed_rows import Change
from deshpc.checkpoint.checkpoints import Checkpoints
from deshpc.checkpoint.describe import describe
from deshpc.checkpoint.folders import step_folder
from deshpc.checkpoint.load import load_model
from deshpc.checkpoint.save import save_model
from deshpc.comm.group import Group
from deshpc.config import resolved
from deshpc.config.load import build
from deshpc.hashing.key import FIELD_SHIFT
from deshpc.model.build import build_model
from deshpc.table.shard import Rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=16)
    parser.add_argument("--changed", type=float, default=0.01)
    parser.add_argument("--folder")
    options = parser.parse_args()
    config = build({"data": {"format": "synthetic"}, "model": {"dim": options.dim}})
    backend, group = open_backend("cpu", 1), Group(MPI.COMM_SELF)
    model = build_model(config, backend, group, 1, 0)
    rows = fill(model, options.rows)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "model"
        copy_s = best(model.table.copied_blocks)
        manifest = describe(model, resolved(config), {}, 1)
        write_s = best(lambda: save_model(model, path, manifest))
        size = sum(file.stat().st_size for file in path.iterdir())
        plain_s = best(lambda: plain_write(Path(folder) / "plain", size))

        def load():
            model.table.clear()
            load_model(model, path)

        load_s = best(load)
        assert len(model.table) == rows
        delta = of_delta(model, config, Path(folder), options.changed)
    print(json.dumps({
        "rows": rows, "dim": options.dim, "bytes": size, "copy_s": round(copy_s, 3), "write_s": round(write_s, 3),
        "plain_write_s": round(plain_s, 3), "load_s": round(load_s, 3), "write_mb_s": round(size / write_s / 1e6), "changed": options.changed,
        **delta,
    }))  # fmt: skip


def of_delta(model, config, run, part):
    """Bytes and seconds of a checkpoint over a whole one."""
    checkpoints = Checkpoints(model, run, 2, background=False, full_every=100)
    checkpoints.write(describe(model, resolved(config), {}, 10))
    rows = model.table.export()
    chosen = np.random.default_rng(3).random(len(rows))
    changed = rows.take(chosen < part)
    model.table.load(replace(changed, steps=np.full(len(changed), 10, np.uint32), numbers=changed.numbers + np.float32(0.5)))
    for shard in model.table.shards:
        shard.remove(rows.keys[chosen > 1 - 1 / 200])
    expected = model.table.export()
    steps = iter(range(11, 100))
    copy_s = best(lambda: Change.of(model.table.blocks(), step_folder(run, 10), 10))
    write_s = best(lambda: checkpoints.write(describe(model, resolved(config), {}, next(steps))))
    folder = step_folder(run, next(steps) - 1)
    size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())

    def load():
        model.table.clear()
        load_model(model, folder)

    load_s = best(load)
    found = model.table.export()
    assert all(np.array_equal(one, found.arrays[name]) for name, one in expected.arrays.items())
    return {"delta_bytes": size, "delta_copy_s": round(copy_s, 3), "delta_write_s": round(write_s, 3), "delta_load_s": round(load_s, 3)}


def fill(model, rows):
    """Rows with random keys and numbers; returns how many, which may be a few less."""
    rng = np.random.default_rng(1)
    keys = np.unique(rng.integers(1, 2**64, rows + rows // 100, np.uint64))[:rows]
    keys = rng.permutation(np.unique(keys & ~np.uint64(0xFFFF << FIELD_SHIFT)))  # of field 0
    rows = len(keys)
    numbers = np.abs(rng.standard_normal((rows, model.table.layout.numbers))).astype(np.float32)  # roots are taken of some
    model.table.load(Rows(keys, np.zeros(rows, np.uint16), np.ones(rows, np.uint32), np.ones(rows, np.uint32), numbers))
    return rows


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
