"""Embeddings in bfloat16 (`train.precision`): the bits that an update writes are those of NumPy's and Python's integers, and right in the mean.

An update is of Adagrad from a state of 0, with sums of 0 for the linear weight, so that NumPy's float64 has the new weight to the bit before
it is rounded.
"""

import numpy as np
import pytest

from deshpc.backend.arguments import Rounding, Sums
from deshpc.backend.cpu import update
from deshpc.backend.open import open_backend
from deshpc.backend.record import RecordLayout
from deshpc.backend.rules import Adagrad, StateStart
from deshpc.backend.weight_form import WeightForm
from deshpc.table.shard import Initialisation, Rows, Shard

DIM, MASK = 5, 2**64 - 1


def mix64(x):
    """SplitMix64's output function, in Python's integers."""
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK
    return x ^ (x >> 31)


def chance(state, key, column):
    """16 bits of a state, a key and a column: lowbias32 of 32 bits of state and key, and the column."""
    x = mix64(((state ^ key) + 0x9E3779B97F4A7C15) & MASK) + column * 0x9E3779B9 & 0xFFFFFFFF
    x = (x ^ (x >> 16)) * 0x7FEB352D & 0xFFFFFFFF
    x = (x ^ (x >> 15)) * 0x846CA68B & 0xFFFFFFFF
    return (x ^ (x >> 16)) >> 16


def bits_of(numbers):
    """Bits of float32 numbers, as int64."""
    return np.ascontiguousarray(numbers, np.float32).view(np.uint32).astype(np.int64)


def updated(weights, gradients, rounding):
    """(keys (n), embeddings (n, k) float32, state (n, k)) after an update of rows with these embeddings, by fixed-point sums of these gradients."""
    n, scale = len(weights), 2.0**40
    keys = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0xD1342543DE82EF95)
    layout = RecordLayout(1, DIM, "bfloat16", 1, DIM)
    shard = Shard(open_backend("cpu", 1), layout, Initialisation(3, 0.1, StateStart(1)))
    numbers = np.zeros((n, layout.numbers), np.float32)
    numbers[:, 1 : 1 + DIM] = weights
    zeros = np.zeros(n, np.uint32)
    order = np.argsort(keys)
    shard.load(Rows(keys[order], zeros[order].astype(np.uint16), zeros, zeros, numbers[order]))
    assert np.array_equal(shard.export().numbers, numbers[order], equal_nan=True)  # bfloat16 come out as they went in
    addresses = shard.look_up(keys, zeros.astype(np.uint16), 1).addresses
    scalar, vector = np.zeros(n, np.int64), np.rint(gradients * scale).astype(np.int64)
    update.rows(
        Adagrad(np.float64(0.5), np.float64(0.25)), WeightForm.of(open_backend("cpu", 1), DIM, "bfloat16", "float64", "int64"),
        layout.linear_state, layout.tail, 2, addresses, Sums(scalar, vector, scalar), 1 / scale, np.uint32(1), np.float64(1), np.float64(0), None, rounding,
    )  # fmt: skip
    found = shard.export()
    assert np.array_equal(found.keys, keys[order]) and not vector.any() and not found.numbers[:, 0].any()
    back = np.argsort(order)
    return keys, found.numbers[back, 1 : 1 + DIM], found.numbers[back, 2 + DIM :]


def test_the_bits_of_an_update_are_those_of_integers():
    rng = np.random.default_rng(81)
    weights = (bits_of(rng.standard_normal((40, DIM))) & 0xFFFF0000).astype(np.uint32).view(np.float32)
    gradients = rng.integers(-(2**20), 2**20, weights.shape) / 2.0**20
    state, first = 0x0123456789ABCDEF, 11
    keys, found, sums = updated(weights, gradients, Rounding(np.uint64(state), first))
    assert np.array_equal(sums, (gradients**2).astype(np.float32))  # what is no embedding keeps float32's digits
    exact = weights - gradients * 0.5 / (np.sqrt(gradients**2) + 0.25)
    chances = np.array([[chance(state, int(key), first + column) for column in range(DIM)] for key in keys])
    assert np.array_equal(bits_of(found), (bits_of(exact) + chances) & 0xFFFF0000)
    assert not np.array_equal(bits_of(found), (bits_of(exact) + 0x8000) & 0xFFFF0000)


def test_what_is_stored_is_right_in_the_mean():
    """Updates of a tenth of the last bit, each of which rounding to the nearest would lose."""
    n, unit = 4000, 2.0**-8  # of numbers from 0.5 to 1
    gradient = 0.25 / (0.5 / (0.1 * unit) - 1)  # by which the rule moves a weight by 0.1 unit
    keys, found, _ = updated(np.full((n, DIM), 0.75), np.full((n, DIM), gradient), Rounding(np.uint64(9), 0))
    down = found == 0.75 - unit
    assert np.array_equal(found, np.where(down, 0.75 - unit, 0.75))
    bound = 5 * np.sqrt(0.1 * 0.9 / n)
    assert np.abs(down.mean(axis=0) - 0.1).max() < bound
    both = (down[:, :, None] & down[:, None, :]).mean(axis=0)[np.triu_indices(DIM, 1)]
    assert np.abs(both - 0.01).max() < 5 * np.sqrt(0.01 / n)  # columns have chances of their own
    assert abs((down[1:, 0] & down[:-1, 0]).mean() - 0.01) < 5 * np.sqrt(0.01 / n)  # and so have rows


@pytest.mark.parametrize("bits", [0, 0x80000000, 0x3E200000, 0xFF7F0000, 0x00010000, 0x7FC00000])
def test_what_needs_no_rounding_stays(bits):
    """Zeros of both signs, 0.15625, the least and the smallest number; and what is not a number."""
    weights = np.full((200, DIM), np.uint32(bits).view(np.float32))
    _, found, _ = updated(weights, np.zeros((200, DIM)), Rounding(np.uint64(7), 0))
    assert np.array_equal(bits_of(found), bits_of(weights))


def test_embeddings_that_are_read_in_are_rounded_to_the_nearest():
    """As first weights are: ties to even, and those too large become infinite."""
    shard = Shard(open_backend("cpu", 1), RecordLayout(1, DIM, "bfloat16", 1, DIM), Initialisation(3, 0.1, StateStart(1)))
    bits = np.array([0x3F808000, 0x3F818000, 0x3F808001, 0x7F7FFFFF, 0xBF807FFF], np.uint32)
    numbers = np.concatenate([[np.float32(np.pi)], bits.view(np.float32), np.full(1 + DIM, np.pi, np.float32)])[None]
    keys, zeros = np.array([5], np.uint64), np.zeros(1, np.uint32)
    shard.load(Rows(keys, zeros.astype(np.uint16), zeros, zeros, numbers))
    found = shard.export().numbers[0]
    assert [hex(one) for one in bits_of(found[1 : 1 + DIM])] == ["0x3f800000", "0x3f820000", "0x3f810000", "0x7f800000", "0xbf800000"]
    assert (found[[0, *range(1 + DIM, 2 + 2 * DIM)]] == np.float32(np.pi)).all()


def test_first_weights_are_rounded_to_the_nearest():
    """Those that are made eight at a time, and the rest."""
    dim, keys, found = 21, np.arange(1, 200, dtype=np.uint64), []
    for precision in ("float32", "bfloat16"):
        shard = Shard(open_backend("cpu", 1), RecordLayout(1, dim, precision, 1, dim), Initialisation(3, 0.1, StateStart(1)))
        shard.look_up(keys, np.zeros(len(keys), np.uint16), 1)
        found.append(shard.export().numbers[:, 1 : 1 + dim].astype(np.float64))
    unit = 2.0 ** (np.floor(np.log2(abs(found[0]))) - 7)  # bfloat16 has eight digits
    assert np.array_equal(found[1], np.rint(found[0] / unit) * unit)
