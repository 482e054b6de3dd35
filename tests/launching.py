"""Start real processes: `python -m deshpc` and scripts, alone or under the mpiexec beside this Python."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

MPIEXEC = Path(sys.executable).with_name("mpiexec")
TIMEOUT_S = 240  # generous: a rank that waits for ever is what it catches

_LAUNCHER = ("PMI_", "PMIX_", "HYDI_", "OMPI_", "MPI_LOCAL", "SLURM_")


def run(*arguments, ranks=1, env=(), cwd=None):
    """The finished process (text output) of `python ARGUMENTS` on so many ranks; one rank needs no launcher.

    Skips the test where there is no launcher for several.
    """
    command = [sys.executable, *map(str, arguments)]
    if ranks > 1:
        if not MPIEXEC.exists():
            pytest.skip(f"no mpiexec beside {sys.executable}")
        command = [str(MPIEXEC), "-n", str(ranks), *command]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(_LAUNCHER)}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=TIMEOUT_S, cwd=cwd, env={**clean, **dict(env)}, stdin=subprocess.DEVNULL
    )


def deshpc(*arguments, **how):
    """The finished process of `deshpc ARGUMENTS`; see `run`."""
    return run("-m", "deshpc", *arguments, **how)
