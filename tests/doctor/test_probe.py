"""Measured speeds: which ranks are measured, on real and on pretended nodes, and what the numbers mean.

Proves the arithmetic with a clock of round numbers, and the magnitudes against times taken here.
"""

import time

import numpy as np
import pytest

from deshpc.comm.handle import complete
from deshpc.doctor import probe
from deshpc.doctor.probe import LARGE, SMALL, Speed, measure


class PretendedNodes:
    """A communicator whose ranks are on nodes of `width`."""

    def __init__(self, comm, width):
        self._comm, self._width = comm, width

    def __getattr__(self, name):
        return getattr(self._comm, name)

    def Split_type(self, kind):
        return self._comm.Split(self._comm.rank // self._width, self._comm.rank)


@pytest.mark.mpi
def test_speeds_are_plausible_and_equal_on_all_ranks(world):
    found = measure(world)
    assert found == world.bcast(found)
    if world.size == 1:
        assert found.inside is found.between is found.all is None
        return
    assert found.all == found.inside and found.between is None and found.inside.ranks == world.size
    for name, value in vars(found.inside).items():
        if "bytes" in name:
            assert 1e4 < value < 1e13, name  # bytes/s; a machine under load may be slow, no memory is faster
        elif name != "ranks":
            assert 1e-8 < value < 10, name


@pytest.mark.mpi
@pytest.mark.parametrize("width", [1, 2, 3])
def test_ranks_inside_and_between_nodes(world, monkeypatch, width):
    monkeypatch.setattr(probe, "_BUDGET_S", 0.001)
    found, nodes = measure(PretendedNodes(world, width)), -(-world.size // width)
    largest = min(width, world.size)
    assert (found.inside and found.inside.ranks) == (largest if largest > 1 else None)
    assert (found.between and found.between.ranks) == (nodes if nodes > 1 else None)
    assert (found.all and found.all.ranks) == (world.size if world.size > 1 else None)


@pytest.mark.mpi
def test_what_the_numbers_mean(world, monkeypatch):
    """With every task taking 2 s."""
    if world.size == 1:
        return
    sent = []

    def two_seconds(comm, task):
        task()
        return 2.0

    monkeypatch.setattr(probe, "_seconds", two_seconds)
    monkeypatch.setattr(probe, "_ping", lambda comm, array, received: sent.append(array.nbytes))
    speed = measure(world).all
    to_others = LARGE - LARGE // 8 // world.size * 8  # at most: shares differ by one number
    assert speed.ping_s == 1 and speed.ping_bytes_per_s == LARGE and sent == [SMALL, LARGE]
    assert speed.allreduce_s == 2 and speed.allreduce_bytes_per_s == LARGE / 2
    assert speed.alltoall_bytes_per_s == pytest.approx(to_others / 2, abs=8)


@pytest.mark.mpi
def test_the_clock_is_the_slowest_ranks_median(world):
    rounds = []

    def task():
        rounds.append(1)
        if world.rank == world.size - 1:
            time.sleep(0.02)
        complete(world.Ibarrier())

    found = probe._seconds(world, task)
    assert 0.02 <= found < 1 and 8 <= len(rounds) <= 12  # 2 + 3 + 0.15 s / 0.02 s, fewer if the machine is busy
    everyone = np.empty(world.size)
    world.Allgather(np.array([found]), everyone)
    assert (everyone == found).all()


def test_the_slowest_node_counts():
    fast, slow = Speed(2, 1e-6, 8e9, 2e-6, 4e9, 2e9), Speed(4, 2e-6, 9e9, 1e-6, 3e9, 1e9)
    assert probe._slowest([fast, None, slow]) == Speed(4, 2e-6, 8e9, 2e-6, 3e9, 1e9)
    assert probe._slowest([None]) is None
