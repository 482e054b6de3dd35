"""Measure what messages cost between the ranks of a run: inside a node, between nodes, and over all ranks.

The waiting is that of training (`group.complete`), so the numbers hold where ranks outnumber cores, too.
"""

import time
from dataclasses import dataclass

import numpy as np

from deshpc.comm.handle import complete
from deshpc.comm.shares import slices

SMALL, LARGE = 8, 4 << 20  # bytes
_BUDGET_S, _MOST = 0.15, 1000  # seconds and rounds of one measurement


@dataclass(frozen=True)
class Speed:
    """What messages cost among some ranks; medians over rounds, each as long as its slowest rank takes.

    ping_s : one way, 8 bytes, between the first and the last
    ping_bytes_per_s : one way, 4 MiB
    allreduce_s : 8 bytes
    allreduce_bytes_per_s : of the array (4 MiB), not of what travels
    alltoall_bytes_per_s : sent by each rank to the others, 4 MiB shared among all ranks
    """

    ranks: int
    ping_s: float
    ping_bytes_per_s: float
    allreduce_s: float
    allreduce_bytes_per_s: float
    alltoall_bytes_per_s: float


@dataclass(frozen=True)
class Speeds:
    """A Speed each, None where no two ranks are such.

    inside : the ranks of a node, the slowest node's
    between : one rank of each node
    all : all ranks
    """

    inside: Speed | None
    between: Speed | None
    all: Speed | None


def measure(comm):
    """The Speeds among the ranks of `comm`, equal on all ranks, in a second or two on a quiet machine.  Collective."""
    from mpi4py import MPI

    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    peers = comm.Split(node.rank, comm.rank)  # the ranks with this number on their nodes
    inside = _slowest(comm.allgather(_speed(node)))
    of_first_node = _speed(peers) if node.rank == 0 else None
    _sleep_until_all_are_here(comm)
    between = comm.bcast(of_first_node)
    everyone = _speed(comm) if inside and between else inside or between
    peers.Free()
    node.Free()
    return Speeds(inside, between, everyone)


def _sleep_until_all_are_here(comm):
    """A barrier that leaves the cores to those that still measure."""
    request = comm.Ibarrier()
    while not request.Test():
        time.sleep(0.005)


def _slowest(speeds):
    """The worst of each number over the nodes with several ranks."""
    speeds = [speed for speed in speeds if speed is not None]
    if not speeds:
        return None
    worst = {
        name: (max if name.endswith("_s") and "bytes" not in name else min)(getattr(speed, name) for speed in speeds)
        for name in Speed.__dataclass_fields__
    }
    return Speed(**{**worst, "ranks": max(speed.ranks for speed in speeds)})


def _speed(comm):
    """The Speed among the ranks of `comm`; None for one rank.  Collective on `comm`."""
    if comm.size == 1:
        return None
    small, large = np.zeros(SMALL // 8), np.zeros(LARGE // 8)
    received = np.empty_like(large)
    counts = slices(len(large), comm.size)
    places = np.concatenate([[0], np.cumsum(counts)[:-1]])
    own = int(counts[comm.rank])
    alltoall_in = np.empty(own * comm.size)
    alltoall = (
        [large, (counts, places)],
        [alltoall_in, (np.full(comm.size, own), own * np.arange(comm.size))],
    )
    others = (len(large) - int(counts.max())) * 8
    return Speed(
        comm.size,
        _seconds(comm, lambda: _ping(comm, small, received)) / 2,
        LARGE / (_seconds(comm, lambda: _ping(comm, large, received)) / 2),
        _seconds(comm, lambda: complete(comm.Iallreduce(small, received[:1]))),
        LARGE / _seconds(comm, lambda: complete(comm.Iallreduce(large, received))),
        others / _seconds(comm, lambda: complete(comm.Ialltoallv(*alltoall))),
    )


def _ping(comm, array, received):
    """`array` from the first rank to the last and back; the others have nothing to do."""
    received, last = received[: len(array)], comm.size - 1
    if comm.rank == 0:
        complete(comm.Isend(array, last))
        complete(comm.Irecv(received, last))
    elif comm.rank == last:
        complete(comm.Irecv(received, 0))
        complete(comm.Isend(array, 0))


def _seconds(comm, task):
    """Median seconds of task(), by the slowest rank of each round.  Collective on `comm`."""
    from mpi4py import MPI

    def times(rounds):
        clock = np.empty(rounds + 1)
        clock[0] = time.perf_counter()
        for i in range(rounds):
            task()
            clock[i + 1] = time.perf_counter()
        spent = np.diff(clock)
        complete(comm.Iallreduce(MPI.IN_PLACE, spent, op=MPI.MAX))
        return np.median(spent)

    times(2)  # the first messages set up connections and touch memory
    few = times(3)
    return float(times(int(np.clip(_BUDGET_S / few, 3, _MOST))))
