"""Dropout: how often and where numbers are dropped, in training alone, and its gradient by differences.

The mask is a function of seed, layer, step, sample of the global batch, and unit: computed here once more, on Python integers.
"""

import zlib

import numpy as np
import pytest
from nn.through_tape import WAYS, Case, numbers
from plain_model import fold

from deshpc.backend.open import open_backend
from deshpc.nn.dropout import Dropout
from deshpc.nn.tape import Tape

SEED = 17


def dropout(probability, name="layer", seed=SEED):
    return lambda backend, values: Dropout(backend, seed, name, probability)


def dropped(x, probability, name="layer", seed=SEED, step=3, first=100, train=True):
    """What Dropout makes of x, whose first row is sample `first` of the batch."""
    backend = open_backend("cpu", 1)
    tape = Tape(backend, backend.buffers(), None, None, 0, step, first, train, True)
    return tape.apply(Dropout(backend, seed, name, probability), tape.input(x)).array.copy()


def plain_mask(shape, probability, name, seed, step, first):
    """Whether a number is kept: 16 bits a unit, four units a word."""
    state = seed
    for word in (zlib.crc32(name.encode()), step):
        state = fold(state, word)
    kept = np.zeros(shape, bool)
    for i in range(shape[0]):
        of_sample = fold(state, first + i)
        for j in range(shape[1]):
            bits = fold(of_sample, j // 4 * 4) >> 16 * (j % 4) & 0xFFFF
            kept[i, j] = bits >= round(probability * 65536)
    return kept


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_the_mask_is_this_function(probability):
    x = numbers(9, 33)
    kept = plain_mask(x.shape, probability, "layer", SEED, 3, 100)
    assert 0 < kept.sum() < kept.size
    expected = np.where(kept, x / (1 - round(probability * 65536) / 65536), 0)
    assert np.abs(dropped(x, probability) - expected).max() <= 1e-15 * np.abs(expected).max()


@pytest.mark.parametrize("probability", [0.01, 0.1, 0.5, 0.9])
def test_how_often_and_that_the_expectation_stays(probability):
    n, units = 2000, 33
    found = dropped(np.ones((n, units)), probability)
    deviation = np.sqrt(probability * (1 - probability) / found.size)
    assert abs((found == 0).mean() - probability) <= 4 * deviation + 1 / 65536
    assert abs(found.mean() - 1) <= (4 * deviation + 1 / 65536) / (1 - probability)
    of_units = np.sqrt(probability * (1 - probability) / n)
    assert np.abs((found == 0).mean(axis=0) - probability).max() <= 5 * of_units  # every unit, whatever its place in a word
    pairs = np.corrcoef((found == 0).T.astype(float))[np.triu_indices(units, 1)]
    assert np.abs(pairs).max() <= 5 / np.sqrt(n)  # and no two of them together


def test_samples_have_the_same_mask_in_any_block():
    x = np.ones((29, 17))
    whole = dropped(x, 0.5, first=40)
    for edges in ([0, 1, 29], [0, 13, 13, 28, 29]):
        parts = [dropped(x[a:b], 0.5, first=40 + a) for a, b in zip(edges, edges[1:], strict=False)]
        assert np.array_equal(np.concatenate(parts), whole)


def test_every_circumstance_has_a_mask_of_its_own():
    x, others = np.ones((29, 17)), [{}, {"step": 4}, {"name": "layer.1"}, {"seed": SEED + 1}, {"first": 129}]
    masks = [dropped(x, 0.5, **other) != 0 for other in others]
    for a, one in enumerate(masks):
        assert len(np.unique(one, axis=0)) == len(one)  # of samples
        for other in masks[:a]:
            assert 0.3 < (one == other).mean() < 0.7  # 493 fair coins: half, +- 0.09 for four standard deviations


def test_nothing_is_dropped_in_evaluation():
    x = numbers(29, 17)
    assert np.array_equal(dropped(x, 0.5, train=False), x)


@pytest.mark.parametrize("probability", [1e-9, 0.999999])
def test_extreme_chances(probability):
    """As near as 16 bits come: nothing dropped, or all but one number in 65536."""
    found = dropped(np.ones((100, 33)), probability)
    assert np.isfinite(found).all() and set(np.unique(found)) <= {0.0, 1.0, 65536.0}
    assert (found == 0).mean() in (0, 1) or probability > 0.5


@pytest.mark.parametrize("fresh, narrow", WAYS)
def test_gradients(fresh, narrow):
    """Of the fixed mask of its step."""
    for n, columns in [(5, 17), (1, 33), (5, 3), (0, 3)]:
        wanted = (columns - 2,) if narrow else ()
        Case(dropout(0.4), [numbers(n, columns)], wanted=wanted, fresh=fresh, blocks=3 if n == 5 else 1).check()
