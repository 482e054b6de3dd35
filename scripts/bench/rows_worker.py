"""Steps on batches that are made as they are needed, so that a table may be far larger than any data set held in memory;
started by scaling.py and large_table.py under mpiexec.  Rank 0 prints one JSON line a phase, and one at the end.

    mpiexec -n 2 python scripts/bench/rows_worker.py JOB

JOB: "batch" (8192), "keys_per_sample" (26; one field each), "overrides", "phases": [{"steps", "draw", "rows", "ahead"}].
"draw" says where a phase's keys come from: "fresh", keys that no step has had; "uniform" or "zipf" (exponent 1.05) among the
first "rows" keys; "fields": each field Zipf among "rows" keys of its own.  Batches are made before the clock runs, "ahead" (8)
at a time; a step's time is that of the slowest rank.
"""

import json
import resource
import statistics
import sys
import time

import numpy as np
from mpi4py import MPI

from deshpc.backend.open import open_backend
from deshpc.comm.group import Group
from deshpc.config import override
from deshpc.config.load import build
from deshpc.data.batch import Batch
from deshpc.model.build import build_model
from deshpc.training.scored_samples import reads_of
from deshpc.training.step import steps

ZIPF = 1.05
PAGE = resource.getpagesize()


def key_of(number):
    """Distinct keys of distinct numbers (uint64): SplitMix64's output function."""
    x = (number + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def zipf(uniform, most):
    """Numbers 0 .. most - 1 with density (1 + x)^-1.05, from uniform ones."""
    power = 1.0 - ZIPF
    return np.minimum(((most + 1.0) ** power * uniform + (1.0 - uniform)) ** (1.0 / power) - 1.0, most - 1).astype(np.uint64)


class Batches:
    """Makes this rank's part of global batches."""

    def __init__(self, samples, keys_per_sample, share):
        self._samples, self._width, self._share = samples, keys_per_sample, share
        self._step = self._fresh = 0

    def next(self, draw, rows):
        """The next Batch."""
        first, last = self._share(self._samples)
        n, m = last - first, self._width
        random = np.random.Generator(np.random.Philox(key=[self._step, first]))
        if draw == "fresh":
            begin = self._fresh + first * m
            numbers = np.arange(begin, begin + n * m, dtype=np.uint64)
            self._fresh += self._samples * m
        elif draw == "uniform":
            numbers = random.integers(0, rows, n * m, np.uint64)
        elif draw == "zipf":
            numbers = zipf(random.random(n * m), rows)
        else:
            numbers = zipf(random.random(n * m), rows) + np.tile(np.arange(m, dtype=np.uint64) * np.uint64(rows), n)
        offsets = np.arange(n + 1, dtype=np.int64) * m
        batch = Batch(
            self._step, self._samples, np.arange(first, last), offsets[:-1], offsets[1:], key_of(numbers),
            np.tile(np.arange(m, dtype=np.uint16), n), None, np.zeros((n, 0), np.float32),
            (random.random(n) < 0.25).astype(np.float32),
        )  # fmt: skip
        self._step += 1
        return batch


def resident():
    """Bytes of this process in memory."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * PAGE


def run(model, batches, phase, comm):
    """Seconds of each step of a phase, of the slowest rank."""
    left, times = phase["steps"], []
    while left:
        ahead = min(left, phase.get("ahead", 8))
        made = [batches.next(phase["draw"], phase.get("rows", 0)) for _ in range(ahead)]
        comm.Barrier()
        before = time.perf_counter()
        for _ in steps(model, made):
            now = time.perf_counter()
            times.append(now - before)
            before = now
        left -= ahead
    slowest = np.array(times)
    comm.Allreduce(MPI.IN_PLACE, slowest, MPI.MAX)
    return slowest


def report(model, comm, phase, times, samples):
    """What a phase has given; on rank 0."""
    rows, table_bytes, memory = (
        comm.gather(value) for value in (len(model.table), model.table.nbytes, resident())
    )
    if comm.rank == 0:
        print(json.dumps({
            **phase, "samples_per_s": round(samples * len(times) / times.sum()),
            "first_step_ms": round(1e3 * times[0], 3),
            "median_step_ms": round(1e3 * statistics.median(times), 3), "longest_step_ms": round(1e3 * times.max(), 3),
            "rows": rows, "table_bytes": table_bytes, "resident_bytes": memory,
        }), flush=True)  # fmt: skip


def main(job):
    comm = MPI.COMM_WORLD
    config = override(build({"data": {"format": "synthetic"}}), *job["overrides"])
    samples, width = job.get("batch", 8192), job.get("keys_per_sample", 26)
    backend, group = open_backend("cpu", config.compute.threads_per_rank or 1), Group(comm)
    model = build_model(config, backend, group, width, 0)
    for _ in steps(build_model(config, backend, group, width, 0), [Batches(group.size, width, reads_of(model)).next("fresh", 0)]):
        pass  # from here on machine code is there
    batches = Batches(samples, width, reads_of(model))
    for phase in job["phases"]:
        times = run(model, batches, phase, comm)
        report(model, comm, phase, times, samples)
    peak = comm.gather(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    if comm.rank == 0:
        layout = model.table.layout
        print(json.dumps({"peak_bytes": peak, "record_bytes": layout.record_bytes}))
    backend.close()
    group.free()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
