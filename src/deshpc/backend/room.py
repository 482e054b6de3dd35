"""Memory that is asked for at once, and that no machine like this one has: refused before anybody tries."""

import os
import resource

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
