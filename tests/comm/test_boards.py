"""Boards: every rank reads what all have written, for as many turns as there are, while boards grow and are written once more."""

import numpy as np
import pytest

from deshpc.comm.boards import Boards

pytestmark = pytest.mark.mpi
TURNS = 3


def written(rank, number):
    """What a rank writes the number-th time: so many bytes that boards grow now and then."""
    return np.random.default_rng([rank, number]).integers(0, 256, 100 + 3000 * (number // 4), np.uint8)


def check(board, size, number):
    for rank, slot in enumerate(board.of_ranks):
        expected = written(rank, number)
        assert np.array_equal(slot[: len(expected)], expected)
    assert np.array_equal(board.shared[:size], np.arange(size) + number)


def test_what_is_published_is_read_until_its_turn_comes_again(world):
    boards, shown = Boards(world, TURNS, world.size == 1), []
    for number in range(12):
        own = written(world.rank, number)
        board = boards.next(len(own), world.size)
        board.of_ranks[world.rank][: len(own)] = own + np.uint8(number % 5 == 4)  # wrong, and written again
        board.shared[world.rank] = world.rank + number
        boards.publish(board).wait()
        if number % 5 == 4:
            board = boards.again(board, len(own), world.size)
            board.of_ranks[world.rank][: len(own)] = own
            board.shared[world.rank] = world.rank + number
            boards.publish(board).wait()
        shown = [*shown, (board, number)][1 - TURNS :]
        for one, when in shown:
            check(one, world.size, when)
    boards.close()
