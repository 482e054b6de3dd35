"""deshpc from Criteo's text through its Python API, `deshpc.train`, as a user would call it; under mpiexec or alone.

    mpiexec -n 2 python deshpc_text_worker.py '{"data": FOLDER, "overrides": ["model.name=fm"], "test": false}'

Timed is the call, which reads, parses, hashes, fits the transforms of the numbers, and trains one pass, less the time in
which kernels are compiled or loaded.  Nothing is saved.
"""

import tempfile
from pathlib import Path

import samples
from noise import Meter

import deshpc
from deshpc.config.load import build


def main(job, comm):
    data = Path(job["data"])
    files = {"train": [str(data / "train.tsv")], "test": [str(data / "test.tsv")] if job["test"] else []}
    with tempfile.TemporaryDirectory() as folder:
        config = build({
            "data": {"format": "criteo", **files}, "model": {"dim": 16}, "train": {"global_batch_samples": 8192},
            "run": {"directory": comm.bcast(folder), "save_model": False},
        })  # fmt: skip
        comm.Barrier()
        meter = Meter()
        result = deshpc.train(config, comm, overrides=job["overrides"])
        measured = meter.stop(comm.allreduce)
        comm.Barrier()
    measured["seconds"] -= result.compile_s
    if comm.rank == 0:
        samples.report(result.samples, [measured], result.test.auc if result.test else None)


if __name__ == "__main__":
    with deshpc.ranks() as world:
        main(samples.job(), world)
