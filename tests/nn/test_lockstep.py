"""Blocks in step: each gets the sum of what all have yielded, on any number of threads, and ends when it ends."""

import threading

import numpy as np
import pytest

from deshpc.backend.open import open_backend
from deshpc.nn.lockstep import lockstep


@pytest.fixture(params=[1, 2, 3])
def backend(request):
    backend = open_backend("cpu", request.param)
    yield backend
    backend.close()


@pytest.mark.parametrize("blocks", [1, 2, 3, 7])
def test_sums_of_all_blocks(backend, blocks):
    def walk(i):
        first = yield np.array([i, 1.0])
        second = yield first * i
        return i, first, second

    results = lockstep(backend, [walk(i) for i in range(blocks)], sum)
    total = np.array([sum(range(blocks)), blocks])
    assert [i for i, _, _ in results] == list(range(blocks))
    for _, first, second in results:
        assert np.array_equal(first, total) and np.array_equal(second, total * total[0])


def test_blocks_that_never_yield_need_no_sum(backend):
    def walk(i):
        return i
        yield

    assert lockstep(backend, [walk(i) for i in range(5)], None) == [0, 1, 2, 3, 4]


def test_some_end_before_others(backend):
    def walk(i):
        total = 0.0
        for _ in range(i):
            total += (yield np.ones(1))[0]
        return total

    # round r is reached by those of i > r: 3, 2 and 1 of them
    assert lockstep(backend, [walk(i) for i in range(4)], sum) == [0.0, 3.0, 5.0, 6.0]


def test_blocks_are_summed_in_order_whichever_was_first(backend):
    wait = threading.Event()

    def walk(i):
        if i == 2:
            wait.set()
        elif i == 0 and backend.threads == 3:
            wait.wait(10)
        return (yield np.array([float(i)]))

    orders = []
    lockstep(backend, [walk(i) for i in range(3)], lambda arrays: orders.append([one[0] for one in arrays]) or arrays[0])
    assert orders == [[0.0, 1.0, 2.0]]


def test_an_error_of_one_block_is_raised(backend):
    def walk(i):
        yield np.zeros(1)
        if i == 1:
            raise ArithmeticError("block 1")

    with pytest.raises(ArithmeticError, match="block 1"):
        lockstep(backend, [walk(i) for i in range(3)], sum)
