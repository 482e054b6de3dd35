"""Messages between nodes, which leave in pieces: contents of any length, many under way, gathers, and the thread that moves them on.

What has to arrive is drawn from a generator that sender and receiver share.
"""

import threading

import numpy as np
import pytest
from pretended_nodes import pretend

from deshpc.comm.group import Group
from deshpc.comm.ledger import Traffic
from deshpc.comm.progress import Progress
from deshpc.comm.shares import slice_of

TRAFFIC = Traffic("fm", "rows", "forward")
LENGTHS = (0, 1, 65_535, 65_536, 65_537, 300_001, 5_000_003)  # of a piece and about it, of many, of more than 64 of the smallest


@pytest.fixture
def group(world, monkeypatch):
    """Ranks on a node each."""
    pretend(monkeypatch, "each alone")
    made = Group(world, "one")
    yield made
    made.free()


def message(turn, sender, receiver):
    length = LENGTHS[(turn + 2 * sender + 3 * receiver) % len(LENGTHS)]
    return np.random.default_rng([turn, sender, receiver]).integers(0, 256, length, np.uint8)


@pytest.mark.mpi
def test_many_exchanges_under_way_arrive_whole_in_any_order_of_waiting(group):
    ranks, started = range(group.size), []
    for turn in range(len(LENGTHS)):
        leaving = [message(turn, group.rank, other) for other in ranks]
        coming = [message(turn, other, group.rank) for other in ranks]
        received = np.zeros(sum(map(len, coming)), np.uint8)
        sent, into = (np.array([len(one) for one in messages]) for messages in (leaving, coming))
        handle = group.exchange_bytes(np.concatenate(leaving), sent, received, into, [(TRAFFIC, sent)])
        started.append((handle, np.concatenate(coming), int(sent.sum() - sent[group.rank])))
    for handle, expected, _ in started[::-1]:
        assert np.array_equal(handle.wait(), expected)
    assert group.ledger.of(kind="rows") == sum(nbytes for *_, nbytes in started)


@pytest.mark.mpi
@pytest.mark.parametrize("samples", [3, 100_003])
def test_large_shares_are_gathered_and_sums_keep_the_order_of_ranks(group, samples):
    parts = [np.random.default_rng([7, rank]).standard_normal((samples, 2)).astype(np.float32) for rank in range(group.size)]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    mine = slice(*slice_of(samples, group.size, group.rank))
    share = group.reduce_samples(parts[group.rank].copy(), TRAFFIC).wait()
    assert np.array_equal(share, total[mine])
    assert np.array_equal(group.gather_samples(share, np.zeros_like(total), TRAFFIC).wait(), total)
    assert np.array_equal(group.sum_samples(parts[group.rank].copy(), TRAFFIC).wait(), total)


class Request:
    """Is complete, or fails, at its third test."""

    def __init__(self, fails):
        self.tests, self.over, self._fails = 0, threading.Event(), fails

    def Test(self):
        self.tests += 1
        if self.tests < 3:
            return False
        self.over.set()
        if self._fails:
            raise ValueError("lost")
        return True


def test_a_thread_tests_what_is_under_way_until_it_is_over():
    progress = Progress()
    for fails in (False, True, False):  # an error is left to who waits, and the thread goes on
        request = progress.watch(Request(fails))
        assert request.over.wait(60) and request.tests == 3
    progress.close()
