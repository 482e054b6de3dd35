"""Trainings of deshpc on one synthetic data set, timed and evaluated; started by quality.py.  Rank 0 prints a JSON line each.

    mpiexec -n 2 python scripts/bench/quality_worker.py JOB        JOB: JSON, or the path of a .json file that holds it

JOB: "profile" (criteo) and "seed" of the data, which is that of new rows, too; "train_rows", "rows" of the evaluated "part"
(valid or test); "runs": a list of lists of overrides; "every": samples between evaluations (0: at the end of the pass alone);
"reach": end a training when an evaluation reaches this AUC.  One pass over the rows in their own order.
"""

import json
import sys
import time
from itertools import islice
from pathlib import Path

from mpi4py import MPI

from deshpc.config import override
from deshpc.config.load import build
from deshpc.data.reader import Reader
from deshpc.training.evaluation import evaluate_model
from deshpc.training.scored_samples import reads_of
from deshpc.training.session import Session
from deshpc.training.step import steps


def config_of(job, overrides):
    """The configuration of one training."""
    part = job.get("part", "test")
    synthetic = {
        "profile": job.get("profile", "criteo"), "seed": job["seed"], "train_rows": job["train_rows"], f"{part}_rows": job["rows"],
    }  # fmt: skip
    tree = {"data": {"format": "synthetic", "synthetic": synthetic}, "train": {"seed": job["seed"], "shuffle": False}}
    return override(build(tree), *overrides)


def train(session, model, train_set, eval_set, job):
    """A pass: (seconds of training after each step, evaluations not counted; [(samples, AUC, log-loss)] of evaluations;
    the best AUC that a model can be expected to reach)."""
    batch = session.config.train.global_batch_samples
    reader = Reader(train_set, batch, reads_of(model), model.backend.host_buffers)
    segment = max(1, round(job["every"] / batch)) if job.get("every") else reader.batches
    batches, points, clock, before, samples = reader.epoch(0), [], [], 0.0, 0
    for _ in range(0, reader.batches, segment):
        session.group.comm.Barrier()
        begin = time.perf_counter() - before
        for routed, *_ in steps(model, islice(batches, segment)):
            samples += routed.samples
            clock.append(round(time.perf_counter() - begin, 5))
        before = clock[-1]
        metrics = evaluate_model(model, eval_set, 8192)
        points.append((samples, metrics.auc, metrics.log_loss))
        if metrics.auc >= job.get("reach", 1.0):
            break
    return clock, points, metrics.best_auc


def main(job):
    session = Session(config_of(job, []), MPI.COMM_WORLD)
    train_set, eval_set = session.load("train"), session.load(job.get("part", "test"))
    for overrides in job["runs"]:
        session.config = config_of(job, overrides)
        model = session.build(train_set, -(-len(train_set) // session.config.train.global_batch_samples))
        clock, points, best = train(session, model, train_set, eval_set, job)
        if session.group.rank == 0:
            report = {"overrides": overrides, "clock": clock, "points": points, "auc": points[-1][1], "best_auc": best}
            print(json.dumps(report), flush=True)
    session.close()


if __name__ == "__main__":
    path = Path(sys.argv[1])
    main(json.loads(path.read_text(encoding="utf-8") if path.suffix == ".json" else sys.argv[1]))
