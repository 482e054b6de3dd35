"""Start real processes: `python -m deshpc` and scripts, alone or under the mpiexec beside this Python."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

MPIEXEC = Path(sys.executable).with_name("mpiexec")
SMALL_RUN = """
[data]
format = "synthetic"
synthetic = { train_rows = 2_000, test_rows = 300 }
[model]
dim = 5
[train]
global_batch_samples = 256
precision = "float64"
"""
"""The configuration of a run of a second, to which tests add sections."""

TIMEOUT_S = 600
"""Of a process that a test starts.  A rank that waits for ever is what it catches, not a machine that is busy."""

_LAUNCHER = ("PMI_", "PMIX_", "HYDI_", "OMPI_", "MPI_LOCAL", "SLURM_")
_FOR_OPEN_MPI = {  # more ranks than cores, and as root
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
}


def run(*arguments, ranks=1, env=(), cwd=None, python=sys.executable, mpiexec=MPIEXEC):
    """The finished process (text output) of `python ARGUMENTS` on so many ranks; one rank needs no launcher.

    Skips the test where there is no launcher for several.
    """
    command = [str(python), *map(str, arguments)]
    if ranks > 1:
        if not mpiexec.exists():
            pytest.skip(f"no mpiexec beside {sys.executable}")
        command = [str(mpiexec), "-n", str(ranks), *command]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(_LAUNCHER)}
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd,
        env={**clean, **_FOR_OPEN_MPI, **dict(env)},
    ) as process:  # fmt: skip
        try:
            out, err = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.terminate()  # mpiexec takes its ranks with it
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def deshpc(*arguments, **how):
    """The finished process of `deshpc ARGUMENTS`; see `run`."""
    return run("-m", "deshpc", *arguments, **how)


def errors(done):
    """What deshpc itself wrote to standard error: the lines that begin with its name, but for what a first run says of compiling."""
    return [line for line in done.stderr.splitlines() if line.startswith("deshpc: ") and not line.startswith("deshpc: compil")]


def environments():
    """{"mpich": Python of an environment with deshpc and that MPI, "openmpi": ...}; only those that are there.

    This Python's, then .venv and .venv-openmpi of the repository; DESHPC_OPENMPI_PYTHON names another.
    """
    root = Path(__file__).parents[2]
    candidates = {
        "mpich": ("mpichversion", [sys.executable, root / ".venv/bin/python"]),
        "openmpi": (
            "ompi_info",
            [os.environ.get("DESHPC_OPENMPI_PYTHON", ""), sys.executable, root / ".venv-openmpi/bin/python"],
        ),
    }
    return {
        mpi: Path(python)
        for mpi, (program, pythons) in candidates.items()
        for python in reversed(pythons)  # the first that fits stays
        if python and Path(python).with_name(program).exists()
    }


def python_with(mpi):
    """Python of an environment with deshpc and `mpi`; skips the test where there is none."""
    pythons = environments()
    if mpi not in pythons:
        pytest.skip(f"no environment with {mpi}: VENV=.venv-{mpi} MPI={mpi} scripts/environment.sh makes one")
    return pythons[mpi]
