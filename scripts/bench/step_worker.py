"""One timed training under mpiexec; started by step.py.  Rank 0 prints one JSON line.

    mpiexec -n 2 python scripts/bench/step_worker.py '{"rows": 1000000, "overrides": ["model.name=fm"]}'
"""

import json
import resource
import sys
import time

import numpy as np
from mpi4py import MPI

from deshpc.config import override
from deshpc.config.load import build
from deshpc.data.reader import Reader
from deshpc.training.evaluation import reads_of
from deshpc.training.session import Session
from deshpc.training.step import step


class Stages:
    """Seconds spent in chosen methods, one list of times a stage."""

    def __init__(self):
        self.times = {}

    def wrap(self, owner, method, stage):
        """Time every call of owner.method as `stage`."""
        inner = getattr(owner, method)

        def timed(*arguments, **options):
            begin = time.perf_counter()
            try:
                return inner(*arguments, **options)
            finally:
                self.times.setdefault(stage, []).append(time.perf_counter() - begin)

        setattr(owner, method, timed)

    def medians_ms(self):
        """{stage: median milliseconds a batch}, slowest rank not considered."""
        return {stage: round(1e3 * float(np.median(times)), 3) for stage, times in self.times.items()}


def wrap_exchange(stages, exchange):
    """Time an exchange from its start to the end of its wait."""
    start = exchange.complete

    def complete(*arguments):
        handle = start(*arguments)
        stages.wrap(handle, "wait", "exchange")
        return handle

    exchange.complete = complete


def main(job):
    comm = MPI.COMM_WORLD
    config = override(
        build({"data": {"format": "synthetic", "synthetic": {"profile": "criteo", "train_rows": job["rows"]}}}),
        "train.global_batch_samples=8192", "model.dim=16", *job["overrides"],
    )  # fmt: skip
    session = Session(config, comm)
    dataset = session.load("train")
    model = session.build(dataset)
    stages = Stages()
    reader = Reader(
        dataset, config.train.global_batch_samples, reads_of(model), model.backend.buffers,
        config.train.seed, config.train.shuffle, config.train.shuffle_block_rows,
    )  # fmt: skip
    operator = model.operators[0]
    for owner, method, stage in (
        (reader, "_batch", "read"),
        (model.routing, "route", "route"),
        (model.table, "lookup", "look up"),
        (model, "_partial", "partial"),
        (operator, "finish", "finish"),
        (operator, "finish_adjoint", "finish adjoint"),
        (model, "backward", "backward, whole"),
        (model.table, "update", "update"),
    ):
        stages.wrap(owner, method, stage)
    wrap_exchange(stages, model.exchange)
    passes = []
    for epoch in range(job["passes"]):
        stages.times.clear()
        comm.Barrier()
        begin = time.perf_counter()
        for batch in reader.epoch(epoch, epoch * reader.batches):
            step(model, batch)
        seconds = comm.allreduce(time.perf_counter() - begin, MPI.MAX)
        passes.append({"samples_per_s": round(len(dataset) / seconds), "stages_ms": stages.medians_ms()})
    peak = comm.gather(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    rows, table_bytes = comm.gather(len(model.table)), comm.gather(model.table.nbytes)
    if comm.rank == 0:
        report = {
            "ranks": comm.size, "threads_per_rank": session.backend.threads, "passes": passes, "rows": sum(rows),
            "table_bytes": sum(table_bytes), "peak_memory_mib_per_rank": [round(kib / 1024) for kib in peak],
        }  # fmt: skip
        print(json.dumps(report))
    session.close()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
