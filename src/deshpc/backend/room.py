"""Memory that is asked for at once, and that no machine like this one has, is refused before anybody tries; and memory that is left."""

import os
import resource
from contextlib import suppress
from pathlib import Path

from deshpc.errors import ConfigError

_CGROUPS, _OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


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
    """Bytes of memory that programs can still have without others losing theirs, of the machine or of this process's cgroups (version 2);
    None where the system does not say."""
    found = []
    with suppress(OSError, ValueError, StopIteration):
        found.append(1024 * _number_of("MemAvailable:", Path("/proc/meminfo")))
    for folder in _own_cgroups():
        with suppress(OSError, ValueError, StopIteration):
            limit, used = (int((folder / name).read_text(encoding="ascii")) for name in ("memory.max", "memory.current"))
            found.append(limit - used + _number_of("inactive_file", folder / "memory.stat"))  # files that the system lets go
    return max(0, min(found)) if found else None


def _own_cgroups():
    """Folders of this process's cgroup, where a job's limit may be, and of those around it."""
    with suppress(OSError, StopIteration):
        lines = _OWN_CGROUP.read_text(encoding="utf-8").splitlines()
        own = _CGROUPS / next(line for line in lines if line.startswith("0::")).removeprefix("0::").strip("/")
        return [own, *(folder for folder in own.parents if folder.is_relative_to(_CGROUPS))]
    return []


def _number_of(name, path):
    """The number behind a name in a file of lines."""
    return int(next(line for line in path.read_text(encoding="ascii").splitlines() if line.startswith(name)).split()[1])
