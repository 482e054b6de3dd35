"""What machine this is, and the versions of what deshpc stands on."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path


def machine():
    """{"processor", "cores", "caches", "memory_gib", "system"}; what /proc and /sys do not tell is left out."""
    known = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
    }
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            known["processor"] = line.partition(":")[2].strip()
            break
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemTotal"):
            known["memory_gib"] = round(int(line.split()[1]) / 2**20, 1)
    known["caches"] = {
        f"L{read(index / 'level')} {read(index / 'type').lower()}": read(index / "size")
        for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"))
    }
    return known


def read(path):
    return path.read_text(encoding="utf-8").strip()


def _lines(path):
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def versions():
    """{name: version} of Python, deshpc and its commit, NumPy, Numba, mpi4py and the MPI library."""
    import mpi4py

    mpi4py.rc.initialize = False  # a question that needs no MPI_Init, which would mark the workers' environment
    from mpi4py import MPI

    names = ("deshpc", "numpy", "numba", "mpi4py")
    return {
        "python": platform.python_version(), **{name: version(name) for name in names},
        "mpi": MPI.Get_library_version().splitlines()[0].strip(), "commit": commit(),
    }  # fmt: skip


def commit():
    """Of the working tree, with "+" where it has changes; None where there is no git."""
    try:
        run = subprocess.run(
            ["git", "describe", "--always", "--dirty=+"], capture_output=True, text=True, cwd=Path(__file__).parent
        )
    except OSError:
        return None
    return run.stdout.strip() or None
