"""Sums of parameters' gradients by slots: what was added, by name, in any slots; what nobody wrote to is zero."""

from fractions import Fraction

import numpy as np
import pytest

from deshpc.backend.open import open_backend
from deshpc.model.fixed_point import scale_for
from deshpc.nn.slot_sums import SlotSums
from deshpc.nn.tape import Tape

SHAPES = {"a": (3, 2), "none": (0, 4), "b": (), "c": (17,)}


def new(slots):
    backend = open_backend("cpu", 1)
    sums = SlotSums(backend, SHAPES, "float64", slots)
    return sums, [Tape(backend, backend.buffers(), None, sums, slot, 0, 0, True, slot == 0) for slot in range(slots)]


def taken(sums, edges=(0, 24)):
    sums.close()
    total = np.full(24, np.nan)
    for begin, end in zip(edges, edges[1:], strict=False):
        sums.take(total, begin, end, 1.0)
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
    assert not taken(sums).any() and sums.largest() == 0.0


def test_in_fixed_point_slots_add_up_as_whole_numbers():
    """Python's own, of the exact numbers, rounded to even: whichever slot has which, and however slots are divided among ranks."""
    rng = np.random.default_rng(8)
    numbers = rng.standard_normal((16, 24)) * 2.0 ** rng.integers(-60, 3, (16, 24))
    numbers[:, 5] = 2.5 / 2.0**55  # between two whole numbers
    largest = np.abs(numbers).max()
    scale = scale_for(largest, 16)
    expected = [sum(round(Fraction(one) * Fraction(scale)) for one in column) for column in numbers.T.tolist()]
    assert abs(expected[0]) < 2**62 and scale * largest >= 2**56

    def found(order, ranks):
        total = np.zeros(24, np.int64)
        for share in np.split(np.array(order), ranks):
            sums, _ = new(len(share))
            for slot, which in enumerate(share):
                for name, shape in SHAPES.items():
                    begin = {"a": 0, "none": 6, "b": 6, "c": 7}[name]
                    sums.of(slot, name)[0][...] = numbers[which, begin : begin + int(np.prod(shape))].reshape(shape)
            sums.close()
            assert sums.largest() == np.abs(numbers[share]).max()
            part = np.full(24, 7, np.int64)
            for begin, end in ((0, 5), (5, 24)):
                sums.take(part, begin, end, scale)
            total += part
        return total.tolist()

    assert found(range(16), 1) == found(rng.permutation(16), 1) == found(range(16), 4) == found(rng.permutation(16), 8) == expected


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_what_is_no_finite_number_is_the_largest(number):
    sums, _ = new(2)
    for slot, value in enumerate((number, 5.0)):
        sums.of(slot, "c")[0][...] = value
    sums.close()
    assert sums.largest() == abs(number) or np.isnan([number, sums.largest()]).all()


def test_slots_are_added_in_order():
    """1 is lost beside 2^60, whichever slot wrote first."""
    for order in ([0, 1, 2], [2, 1, 0]):
        sums, tapes = new(3)
        for slot in order:
            tapes[slot].add("b", lambda out, slot=slot: np.copyto(out, [2.0**60, 1.0, -(2.0**60)][slot]))
        assert taken(sums)[6] == 0.0
