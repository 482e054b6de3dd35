"""Steps of several ways to train one model, timed in turns, under mpiexec; started by plan_check.py.  Rank 0 prints one JSON line.

    mpiexec -n 4 python scripts/bench/plan_check_worker.py JOB.json

JOB.json: {"profile", "rows", "overrides": of all ways, "ways": [overrides of each], "turns": timed passes of each way, "seconds": at most
about so long a pass}.  Printed: [{"seconds": of a step, one a turn; "stages": {stage: median seconds a step of an average rank};
"sent": bytes between nodes that a node sends in a step}] by way.
"""

import json
import statistics
import sys
import time
from itertools import islice
from pathlib import Path

from mpi4py import MPI

from deshpc.config import override
from deshpc.config.load import build
from deshpc.data.reader import Reader
from deshpc.training.scored_samples import reads_of
from deshpc.training.session import Session
from deshpc.training.step import steps

FEWEST = 2  # steps of a pass


class Way:
    """A model that is trained in one way."""

    def __init__(self, comm, job, overrides):
        data = {"format": "synthetic", "synthetic": {"profile": job["profile"], "train_rows": job["rows"]}}
        train = override(build({"data": data}), *job["overrides"], *overrides)
        self._comm, self._session = comm, Session(train, comm)
        dataset = self._session.load("train")
        self._model = self._session.build(dataset)
        self._reader = Reader(
            dataset, train.train.global_batch_samples, reads_of(self._model), self._model.backend.host_buffers, train.train.seed,
            train.train.shuffle, train.train.shuffle_block_rows, train.train.shuffle_run_rows,
        )  # fmt: skip
        self._epoch, self.seconds, self._stages = 0, [], []
        self._steps = self._reader.batches
        first = self._timed()
        self._steps = max(FEWEST, min(self._steps, round(job["seconds"] / first)))
        self.seconds.clear()
        self._stages.clear()

    def turn(self):
        """Time one pass.  Collective."""
        self._timed()

    def _timed(self):
        session, ledger = self._session, self._session.group.ledger
        batches = islice(self._reader.epoch(self._epoch, self._epoch * self._reader.batches), self._steps)
        self._epoch += 1
        before = _between(ledger)
        session.group.sum(0.0)
        session.stage_times.begin("read")
        begin = time.perf_counter()
        for _ in steps(self._model, batches):
            pass
        taken = self._comm.allreduce(time.perf_counter() - begin, MPI.MAX) / self._steps
        session.stage_times.end()
        self._sent = (_between(ledger) - before) / self._steps
        self.seconds.append(taken)
        self._stages.append({stage: s / self._steps for stage, s in session.stage_times.take().items() if stage})
        return taken

    def report(self):
        """What was measured, at rank 0.  Collective."""
        own = {stage: statistics.median(one.get(stage, 0.0) for one in self._stages) for stage in self._stages[0]}
        of_ranks, sent = self._comm.allgather(own), self._comm.allreduce(self._sent)
        stages = {stage: statistics.fmean(one[stage] for one in of_ranks) for stage in own}
        return {"seconds": self.seconds, "stages": stages, "sent": sent / len(self._session.group.nodes.members)}

    def close(self):
        """Give back what it holds.  Collective."""
        self._session.close()


def _between(ledger):
    return sum(ledger.of(level=level) for level in ("flat", "between"))


def main(job):
    ways = [Way(MPI.COMM_WORLD, job, overrides) for overrides in job["ways"]]
    for _ in range(job["turns"]):
        for way in ways:
            way.turn()
    reports = [way.report() for way in ways]
    if MPI.COMM_WORLD.rank == 0:
        print(json.dumps(reports))
    for way in reversed(ways):
        way.close()


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
