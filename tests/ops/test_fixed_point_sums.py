"""Fixed-point accumulation, a type of the kernels' arguments: the bits of every sum do not depend on order or split.

Each term is rounded to a multiple of 1 / scale before it is added, so integer sums of any split of the occurrences
over owners add up to the very same integers, and lie within half a unit a term of the exact sum.
"""

import numpy as np
import pytest

from deshpc.backend import arguments
from deshpc.backend.arguments import Sums
from deshpc.backend.cpu import fm, linear
from deshpc.backend.cpu.simd import Lanes
from deshpc.backend.record import EMBEDDING
from deshpc.backend.weight_form import WeightForm

DIM, ROWS, SAMPLES, SCALE = 5, 40, 13, 2.0**32
FIRST, RECORD = EMBEDDING - 4, EMBEDDING + 4 * DIM
FORM = WeightForm(Lanes(DIM, "float32", "float64", "int64"), np.float32(0), np.float64(0), DIM)


class Occurrences:
    """Random rows in records of their own, and occurrences of them, all of a sample together."""

    def __init__(self, seed, weighted):
        rng = np.random.default_rng(seed)
        self.weights = rng.standard_normal((ROWS, 1 + DIM)).astype(np.float32)
        self.records = np.zeros((ROWS, RECORD), np.uint8)
        self.records[:, FIRST:] = self.weights.view(np.uint8)
        self.addresses = self.records.ctypes.data + RECORD * np.arange(ROWS)
        self.sample = np.sort(rng.integers(0, SAMPLES, 200))
        self.local = rng.integers(0, ROWS, 200).astype(np.int32)
        self.values = (rng.random((200, 2)[:weighted]) + 0.5).astype(np.float32) if weighted else None

    def columns(self):
        """(x of the embeddings, x of the linear weights), each (200, 1) float64."""
        both = np.ones((200, 1)) if self.values is None else self.values.astype(np.float64).reshape(200, -1)
        return both[:, :1], both[:, -1:]

    def chosen(self, which):
        """The occurrences `which`, in the order given inside each sample, as operators take them."""
        which = which[np.argsort(self.sample[which], kind="stable")]
        offsets = np.searchsorted(self.sample[which], np.arange(SAMPLES + 1)).astype(np.int64)
        values = None if self.values is None else self.values[which]
        return arguments.Occurrences(offsets, self.local[which], values, self.addresses)


def fm_partial(occurrences, which):
    state = np.zeros((SAMPLES, DIM + 1), np.int64)
    fm.partial(FORM, occurrences.chosen(which), state, 0, SCALE)
    return state


def linear_partial(occurrences, which):
    state = np.zeros((SAMPLES, 1), np.int64)
    weights = np.empty(len(occurrences.addresses))
    linear.partial(FORM, occurrences.chosen(which), weights, state, 0, SCALE)
    return state


def fm_adjoint(occurrences, which, upstream):
    square = None if occurrences.values is None else np.zeros(ROWS, np.int64)
    sums = Sums(np.zeros(ROWS, np.int64), np.zeros((ROWS, DIM), np.int64), square)
    fm.partial_adjoint(FORM, occurrences.chosen(which), upstream, 0, sums, SCALE)
    return [one for one in sums if one is not None]


@pytest.mark.parametrize("weighted", [0, 1, 2])
@pytest.mark.parametrize("partial", [fm_partial, linear_partial])
def test_partials_of_any_split_and_order_add_up_to_the_same_bits(partial, weighted):
    occurrences, rng = Occurrences(1, weighted), np.random.default_rng(2)
    whole = partial(occurrences, np.arange(200))
    assert np.array_equal(whole, partial(occurrences, rng.permutation(200)))
    for owners in (2, 3, 4):
        owner = rng.integers(0, owners, 200)
        assert np.array_equal(whole, sum(partial(occurrences, np.flatnonzero(owner == o)) for o in range(owners)))


@pytest.mark.parametrize("weighted", [0, 1, 2])
def test_partials_lie_within_half_a_unit_a_term_of_the_exact_sums(weighted):
    occurrences = Occurrences(3, weighted)
    state = fm_partial(occurrences, np.arange(200)) / SCALE
    x, xl = occurrences.columns()
    terms = occurrences.weights.astype(np.float64)[occurrences.local] * np.hstack([xl, np.tile(x, DIM)])
    for i in range(SAMPLES):
        mine = terms[occurrences.sample == i]
        exact = np.append(mine[:, 1:].sum(axis=0), mine[:, 0].sum() - 0.5 * (mine[:, 1:] ** 2).sum())
        bound = 0.5 / SCALE * len(mine) * np.append(np.ones(DIM), 1 + DIM)  # c has 1 + k terms a key
        assert (np.abs(state[i] - exact) <= bound + 1e-14).all()


@pytest.mark.parametrize("weighted", [0, 1, 2])
def test_gradient_sums_do_not_depend_on_order_and_are_exact_to_half_a_unit_a_term(weighted):
    occurrences, rng = Occurrences(4, weighted), np.random.default_rng(5)
    upstream = rng.standard_normal((SAMPLES, DIM + 1))
    whole = fm_adjoint(occurrences, np.arange(200), upstream)
    for one, other in zip(whole, fm_adjoint(occurrences, rng.permutation(200), upstream), strict=True):
        assert np.array_equal(one, other)
    x, xl = occurrences.columns()
    exact = [np.zeros(ROWS), np.zeros((ROWS, DIM)), np.zeros(ROWS)]
    u = upstream[occurrences.sample]
    np.add.at(exact[0], occurrences.local, u[:, DIM] * xl[:, 0])
    np.add.at(exact[1], occurrences.local, u[:, :DIM] * x)
    np.add.at(exact[2], occurrences.local, u[:, DIM] * x[:, 0] ** 2)
    terms = np.bincount(occurrences.local, minlength=ROWS)
    for sums, sure in zip(whole, exact, strict=False):
        bound = 0.5 / SCALE * terms + 1e-13
        assert (np.abs(sums / SCALE - sure) <= (bound if sums.ndim == 1 else bound[:, None])).all()


def test_sums_must_be_fixed_point_or_of_the_compute_type():
    with pytest.raises(ValueError, match="int64"):
        Lanes(4, "float32", "float64", "float32")
    with pytest.raises(ValueError, match="cannot accumulate float64 in float32"):
        Lanes(4, "float64", "float32")
