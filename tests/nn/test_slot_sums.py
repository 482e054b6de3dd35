"""Sums of parameters' gradients by slots: what was added, by name, in any slots; what nobody wrote to is zero."""

import numpy as np
import pytest

from deshpc.backend.open import open_backend
from deshpc.nn.slot_sums import SlotSums
from deshpc.nn.tape import Tape

SHAPES = {"a": (3, 2), "none": (0, 4), "b": (), "c": (17,)}


def new(slots):
    backend = open_backend("cpu", 1)
    sums = SlotSums(backend, SHAPES, "float64", slots)
    return sums, [Tape(backend, backend.buffers(), None, sums, slot, 0, 0, True, slot == 0) for slot in range(slots)]


def taken(sums, edges=(0, 24)):
    total = np.full(24, np.nan)
    for begin, end in zip(edges, edges[1:], strict=False):
        sums.take(total, begin, end)
    sums.clear()
    return total


@pytest.mark.parametrize("edges", [(0, 24), (0, 5, 6, 7, 20, 24), (0, 0, 24, 24)])
@pytest.mark.parametrize("slots", [1, 2, 5])
def test_everything_that_was_added(slots, edges):
    """Step after step, in which each slot writes to some of the parameters once or several times."""
    sums, tapes = new(slots)
    for step in range(6):
        rng, expected = np.random.default_rng(step), {name: np.zeros(shape) for name, shape in SHAPES.items()}
        for tape in tapes:
            for name in rng.choice(list(SHAPES), rng.integers(0, 6)):
                number = rng.standard_normal(SHAPES[name])
                expected[name] = expected[name] + number
                tape.add(name, lambda out, number=number: np.copyto(out, number))
        flat = np.concatenate([one.ravel() for one in expected.values()])
        assert np.abs(taken(sums, edges) - flat).max() <= 1e-14


def test_nothing_was_added():
    sums, _ = new(3)
    assert not taken(sums).any()


def test_slots_are_added_in_order():
    """1 is lost beside 2^60, whichever slot wrote first."""
    for order in ([0, 1, 2], [2, 1, 0]):
        sums, tapes = new(3)
        for slot in order:
            tapes[slot].add("b", lambda out, slot=slot: np.copyto(out, [2.0**60, 1.0, -(2.0**60)][slot]))
        assert taken(sums)[6] == 0.0
