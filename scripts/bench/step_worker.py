"""One timed training under mpiexec; started by step.py and exchange.py.  Rank 0 prints one JSON line.

    mpiexec -n 2 python scripts/bench/step_worker.py '{"rows": 1000000, "passes": 2, "overrides": ["model.name=fm"]}'

The job may also be the path of a file that holds it.  Further entries of it: "profile" of the synthetic data (criteo);
"set_aside": true sets memory aside for the rows to come (model.expected_rows); "test": true evaluates the test rows after the first pass.
"""

import json
import resource
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from mpi4py import MPI
from peers.noise import Meter

from deshpc.config import override
from deshpc.config.load import build
from deshpc.data.reader import Reader
from deshpc.training.evaluation import evaluate_model
from deshpc.training.scored_samples import reads_of
from deshpc.training.session import Session
from deshpc.training.step import steps

ROWS_OF_TEN_SAMPLES = 16  # of the profile criteo: a million samples have 1.53 million keys


class Stages:
    """Seconds spent in each stage of training: what `Session` tells stages to."""

    def __init__(self):
        self._times, self._current, self._since = {}, None, (0.0, 0.0)

    def enter(self, stage, works=False):
        """Leave the stage before and enter this one."""
        now = time.perf_counter(), time.thread_time()
        if self._current is not None:
            self._times.setdefault(self._current, []).append([end - begin for end, begin in zip(now, self._since, strict=True)])
        self._current, self._since = stage, now

    def clear(self):
        """Forget everything."""
        self._times.clear()
        self._current = None

    def means_ms(self, steps):
        """{stage: mean milliseconds a step} on this rank."""
        return {stage: round(1e3 * sum(clock for clock, _ in spent) / steps, 3) for stage, spent in self._times.items()}

    def medians_ms(self):
        """{stage: median milliseconds of processor time} of this rank's first thread: what other processes take from it is not in it."""
        return {stage: round(1e3 * statistics.median(processor for _, processor in spent), 3) for stage, spent in self._times.items()}


def main(job):
    comm = MPI.COMM_WORLD
    expected = [f"model.expected_rows={job['rows'] * ROWS_OF_TEN_SAMPLES // 10}"]
    config = override(
        build({"data": {"format": "synthetic", "synthetic": {"profile": job.get("profile", "criteo"), "train_rows": job["rows"]}}}),
        "train.global_batch_samples=8192", "model.dim=16", *(expected if job.get("set_aside") else ()), *job["overrides"],
    )  # fmt: skip
    stages = Stages()
    session = Session(config, comm, stages.enter)
    dataset = session.load("train")
    model = session.build(dataset)
    reader = Reader(
        dataset, config.train.global_batch_samples, reads_of(model), model.backend.host_buffers,
        config.train.seed, config.train.shuffle, config.train.shuffle_block_rows, config.train.shuffle_run_rows,
    )  # fmt: skip
    passes, test_auc, ledger = [], None, session.group.ledger
    for epoch in range(job["passes"]):
        stages.clear()
        comm.Barrier()
        meter, ends = Meter(), [time.perf_counter()]
        batches = reader.epoch(epoch, epoch * reader.batches)
        for _ in steps(model, batches):
            ends.append(time.perf_counter())
        seconds = comm.allreduce(time.perf_counter() - ends[0], MPI.MAX)
        measured = meter.stop(comm.allreduce)
        slowest = 1e3 * np.diff(ends)
        comm.Allreduce(MPI.IN_PLACE, slowest, MPI.MAX)
        sent = [comm.allreduce(ledger.of(direction=direction)) for direction in ("forward", "backward")]
        passes.append({
            **measured, "seconds": seconds, "samples_per_s": round(len(dataset) / seconds), "stages_ms": stages.means_ms(reader.batches),
            "processor_ms": stages.medians_ms(), "sent_bytes_per_sample": round(sum(sent) / (epoch + 1) / len(dataset), 1),
            "first_step_ms": round(slowest[0], 2), "median_step_ms": round(np.median(slowest), 2), "longest_step_ms": round(max(slowest[1:], default=slowest[0]), 2),
        })  # fmt: skip
        if job.get("test") and epoch == 0:
            test_auc = evaluate_model(model, session.load("test"), config.train.global_batch_samples).auc
    peak = comm.gather(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    rows, table_bytes = comm.gather(len(model.table)), comm.gather(model.table.nbytes)
    if comm.rank == 0:
        report = {
            "ranks": comm.size, "threads_per_rank": session.backend.threads, "samples": len(dataset), "passes": passes,
            "test_auc": test_auc, "rows": sum(rows),
            "table_bytes": sum(table_bytes), "peak_memory_mib_per_rank": [round(kib / 1024) for kib in peak],
        }  # fmt: skip
        print(json.dumps(report))
    session.close()


if __name__ == "__main__":
    path = Path(sys.argv[1])
    main(json.loads(path.read_text(encoding="utf-8") if path.suffix == ".json" else sys.argv[1]))
