"""The processes of a job, as Linux shows them: who has started whom, and which is which rank."""

import os
from contextlib import suppress
from pathlib import Path


def rank_of(pid):
    """The rank that a launcher has given to a process, None for others."""
    environment = read_bytes(f"/proc/{pid}/environ").split(b"\0")
    for name in (b"PMI_RANK=", b"OMPI_COMM_WORLD_RANK="):
        for entry in environment:
            if entry.startswith(name):
                return int(entry[len(name) :])
    return None


def uses_mpi(pid):
    return b"libmpi" in read_bytes(f"/proc/{pid}/maps")


def command_of(pid):
    return read_bytes(f"/proc/{pid}/cmdline").decode(errors="replace").split("\0")[0]


def read_bytes(path):
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def descendants(pid):
    """Processes that a process has started, and those that they have, parents first."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(text) for text in task.read_text().split()]
        except OSError:  # it has left meanwhile
            continue
        for child in children:
            found += [child, *descendants(child)]
    return found


def with_signal(pid, number):
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
