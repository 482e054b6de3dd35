"""deshpc from Criteo's text through its Python API, `deshpc.train`, as a user would call it; under mpiexec or alone.

    mpiexec -n 2 python deshpc_text_worker.py '{"data": FOLDER, "overrides": ["model.name=fm"], "test": false}'

Timed is the call, which reads, parses, hashes, fits the transforms of the numbers, and trains one pass.  Nothing is saved.
A call with a few rows before it loads the kernels, unless the job's "loads" is true; compare.py states whole processes, too.
"""

import tempfile
from itertools import islice
from pathlib import Path

import samples
from noise import Meter

import deshpc
from deshpc.config.load import build

FEW = 100  # rows


def train(train_file, test_files, folder, overrides, comm):
    """The result of training on a file."""
    config = build({
        "data": {"format": "criteo", "train": [str(train_file)], "test": test_files}, "model": {"dim": 16},
        "train": {"global_batch_samples": 8192}, "run": {"directory": str(folder), "save_model": False},
    })  # fmt: skip
    return deshpc.train(config, comm, overrides=overrides)


def main(job, comm):
    data = Path(job["data"])
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(comm.bcast(folder))
        if comm.rank == 0:
            with (data / "train.tsv").open("rb") as rows:
                (folder / "few.tsv").write_bytes(b"".join(islice(rows, FEW)))
        comm.Barrier()
        if not job["loads"]:
            train(folder / "few.tsv", [], folder / "few", job["overrides"], comm)
        comm.Barrier()
        meter = Meter()
        result = train(data / "train.tsv", [str(data / "test.tsv")] if job["test"] else [], folder, job["overrides"], comm)
        measured = meter.stop(comm.allreduce)
        comm.Barrier()
    if comm.rank == 0:
        samples.report(result.samples, [measured], result.test.auc if result.test else None)


if __name__ == "__main__":
    with deshpc.ranks() as world:
        main(samples.job(), world)
