"""Train an ffm on libffm files, those of peers/ffm_data.py, and measure each pass.  Rank 0 prints one JSON line.

    mpiexec -n 2 python scripts/bench/ffm_worker.py '{"data": "FOLDER", "passes": 2, "fields": 39, "overrides": ["train.split=column"]}'

"features": how many the training rows have, for which memory is set aside (model.expected_rows).
"""

import json
import sys
import time

from mpi4py import MPI
from peers.noise import Meter
from step_worker import Stages

from deshpc.config import override
from deshpc.config.load import build
from deshpc.data.reader import Reader
from deshpc.training.evaluation import evaluate_model
from deshpc.training.scored_samples import reads_of
from deshpc.training.session import Session
from deshpc.training.step import steps

NUMBERS = {"forward": "partials", "backward": "gradients"}


def main(job):
    comm, folder = MPI.COMM_WORLD, job["data"]
    data = {"format": "libffm", "train": [f"{folder}/train.ffm"], "test": [f"{folder}/test.ffm"], "libffm_fields": job["fields"]}
    model = {"name": "ffm", "dim": 4, "expected_rows": job.get("features", 0)}
    config = override(build({"data": data, "model": model}), *job["overrides"])
    stages = Stages()
    session = Session(config, comm, stages.enter)
    dataset = session.load("train")
    test, model, train = session.load("test"), session.build(dataset), config.train
    reader = Reader(
        dataset, train.global_batch_samples, reads_of(model), model.backend.host_buffers, train.seed, train.shuffle, train.shuffle_block_rows,
        train.shuffle_run_rows,
    )  # fmt: skip
    passes, ledger = [], session.group.ledger

    def of_way(way):
        """Bytes of partials, or of their gradients, that all ranks have sent."""
        return comm.allreduce(ledger.of(direction=way, kind=NUMBERS[way]))

    for epoch in range(job["passes"]):
        stages.clear()
        before = {way: of_way(way) for way in NUMBERS}
        comm.Barrier()
        meter, begin, own = Meter(), time.perf_counter(), time.process_time()
        for _ in steps(model, reader.epoch(epoch, epoch * reader.batches)):
            pass
        own = time.process_time() - own
        seconds = comm.allreduce(time.perf_counter() - begin, MPI.MAX)
        measured = meter.stop(comm.allreduce)
        sent = {way: (of_way(way) - before[way]) / len(dataset) for way in before}
        loss = evaluate_model(model, test, train.global_batch_samples).log_loss
        passes.append({
            **measured, "samples_per_s": round(len(dataset) / seconds), "log_loss": loss, "processor_s_of_ranks": comm.allgather(own),
            "sent_bytes_per_sample": sent, "stages_ms": stages.means_ms(reader.batches),
            "processor_ms": stages.medians_ms(),
        })  # fmt: skip
    rows = comm.gather(len(model.table))
    kinds = {"/".join((t["operator"], t["kind"], t["direction"])): t["sent_bytes"] for t in ledger.entries()}
    if comm.rank == 0:
        report = {"ranks": comm.size, "threads_per_rank": session.backend.threads, "samples": len(dataset), "rows": sum(rows), "passes": passes, "ledger": kinds}
        print(json.dumps(report))
    session.close()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
