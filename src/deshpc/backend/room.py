"""Memory that is asked for at once, and that no machine like this one has: refused before anybody tries."""

import os
import resource
from contextlib import suppress
from pathlib import Path

from deshpc.errors import ConfigError


def require_room(nbytes, what):
    """ConfigError, which begins with `what`, where so many bytes are more than this process can ever have."""
    if nbytes > (most := memory()):
        raise ConfigError(f"{what} would take {nbytes:,} bytes; this machine has {most:,}")


def memory():
    """Bytes of the machine's memory, or of what the process may have of it."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return machine if limit == resource.RLIM_INFINITY else min(machine, limit)


def available_bytes():
    """Bytes of memory that programs can still have without others losing theirs, of the machine or of this process's cgroup; None where
    the system does not say."""
    found = []
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]))
    with suppress(OSError, ValueError):
        folder = Path("/sys/fs/cgroup")
        found.append(int((folder / "memory.max").read_text(encoding="ascii")) - int((folder / "memory.current").read_text(encoding="ascii")))
    return max(0, min(found)) if found else None
