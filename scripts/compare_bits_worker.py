"""Train and score models under mpiexec, with the deshpc that is imported; started by compare_bits.py.

    mpiexec -n 2 python scripts/compare_bits_worker.py JOB.json

JOB.json : {"config": the TOML file of all, "cases": [[folder of the run, overrides], ...]}
A case that is refused, or fails on all ranks, leaves error.txt in its folder.
"""

import json
import sys
from pathlib import Path

import deshpc
from deshpc.errors import DeshpcError
from deshpc.training.predict import predict


def main(job):
    with deshpc.ranks() as comm:
        for folder, overrides in job["cases"]:
            try:
                deshpc.train(job["config"], comm, [*overrides, f"run.directory={json.dumps(folder)}"])
                predict(folder, str(Path(folder) / "scores.csv"), comm)
            except DeshpcError as error:
                if comm.rank == 0:
                    Path(folder).mkdir(parents=True, exist_ok=True)
                    (Path(folder) / "error.txt").write_text(str(error), encoding="utf-8")


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
