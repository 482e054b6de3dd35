"""Memory that the ranks of a node share: room in /dev/shm is asked for before it is used.

A file there may be larger than the room that is left, and MPI libraries make such files.  Whoever then writes to a page that
cannot be had is killed by SIGBUS.  So the system is asked for the pages of every part before it is written.
"""

import ctypes
import errno
import os
import socket
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from deshpc.errors import LaunchError

FOLDER = "/dev/shm"
_SEGMENTS = ("mpich_shm_*", "sm_segment.*")
_POPULATE_WRITE = 23  # MADV_POPULATE_WRITE, Linux 5.14
_PAGE = os.sysconf("SC_PAGE_SIZE")
_REMEDY = "make it larger (containers: --shm-size=8g), clean it up, or start one rank a node, with threads"


def free_bytes():
    """Room in /dev/shm, or None where there is no such folder."""
    try:
        memory = os.statvfs(FOLDER)
    except OSError:
        return None
    return memory.f_bavail * memory.f_frsize


def has_room(each, processes):
    """Whether so many processes may have room for `each` bytes, as one of them sees it while others take theirs."""
    try:
        memory = os.statvfs(FOLDER)
    except OSError:
        return True
    return memory.f_blocks * memory.f_frsize >= processes * each and memory.f_bavail * memory.f_frsize >= each


def unlink_segments(comm):
    """Take the names of MPI's own files away when all ranks of a node have mapped them.  Collective.

    Libraries keep them until their own end, and so for ever where they are killed.  Open MPI maps a rank's file at the first message
    to that rank.
    """
    from mpi4py import MPI

    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    others = [rank for rank in range(node.size) if rank != node.rank]
    for request in [*(node.irecv(source=rank) for rank in others), *(node.isend(None, rank) for rank in others)]:
        request.wait()
    node.Barrier()
    with suppress(OSError):
        for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
            path = Path(line.split(maxsplit=5)[-1])
            if any(path.match(f"{FOLDER}/{pattern}") for pattern in _SEGMENTS):
                with suppress(FileNotFoundError):  # another rank was faster
                    path.unlink()
    node.Free()


def window(comm, nbytes, own):
    """An MPI window of shared memory, of which this rank gives `own` bytes, all ranks together nbytes.  Collective."""
    from mpi4py import MPI

    try:
        return MPI.Win.Allocate_shared(own, 1, comm=comm)
    except MPI.Exception:  # some libraries look for room themselves
        raise no_room(nbytes) from None


def require(nbytes):
    """LaunchError where /dev/shm has no room for so many bytes more."""
    free = free_bytes()
    if free is not None and free < nbytes:
        raise no_room(nbytes)


def take(array, of_bytes):
    """Have the system give the memory of a contiguous part of shared arrays now.  LaunchError where it has none.

    of_bytes : of all of them, for the message
    """
    if not array.nbytes:
        return
    begin = array.ctypes.data // _PAGE * _PAGE
    length = array.ctypes.data + array.nbytes - begin
    if _libc().madvise(ctypes.c_void_p(begin), ctypes.c_size_t(length), _POPULATE_WRITE) == 0:
        return
    if ctypes.get_errno() == errno.EINVAL:  # an older system
        require(array.nbytes)
    else:
        raise no_room(array.nbytes, f" (of at most {of_bytes / 2**20:,.1f} MiB in all)")


def no_room(nbytes, held=""):
    """The LaunchError for so many bytes."""
    free = free_bytes()
    found = "cannot be told" if free is None else f"{free / 2**20:,.1f} MiB"
    return LaunchError(
        f"{FOLDER} on {socket.gethostname()} is too small: {nbytes / 2**20:,.1f} MiB more are needed{held}; free: {found}; {_REMEDY}"
    )


@lru_cache
def _libc():
    return ctypes.CDLL(None, use_errno=True)
