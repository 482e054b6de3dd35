"""Groups whose ranks count as those of several nodes, though they share one."""

from contextlib import contextmanager

from deshpc.comm.group import Group
from deshpc.comm.node_map import NodeMap

PLACES = {"blocks": lambda rank, size: 2 * rank // size, "in turns": lambda rank, size: rank % 2, "one aside": lambda rank, size: rank == size - 1,
          "each alone": lambda rank, size: rank}  # fmt: skip
"""Functions rank, N -> node."""


def pretend(monkeypatch, places):
    """From now on a communicator's ranks are on the nodes of PLACES[places]."""
    node = PLACES[places]
    monkeypatch.setattr(NodeMap, "of", lambda comm: NodeMap(comm.rank, [node(rank, comm.size) for rank in range(comm.size)]))


@contextmanager
def two_level_group(comm, monkeypatch, places):
    """A Group of two levels.  Collective."""
    pretend(monkeypatch, places)
    group = Group(comm, "two")
    yield group
    group.free()
