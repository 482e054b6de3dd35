"""The tape: which operators are walked back, where gradients go, and that they are let go when they have been used."""

import gc
import itertools
import weakref

import numpy as np
import pytest

from deshpc.backend.open import open_backend
from deshpc.nn.slot_sums import SlotSums
from deshpc.nn.tape import Gradient, Operator, Tape

N = 5


class Times(Operator):
    """x -> factor x, elementwise; keeps account of what it was asked."""

    def __init__(self, factor):
        self.factor, self.asked = factor, []

    def forward(self, tape, x):
        return self.factor * x, None

    def backward(self, tape, saved, gradient, into):
        self.asked.append(None if into is None else into.fresh)
        if into is not None:
            into.add(tape, self.factor * gradient)


class Product(Operator):
    """(x, y) -> x y."""

    def forward(self, tape, x, y):
        return x * y, (x, y)

    def backward(self, tape, saved, gradient, into_x, into_y):
        x, y = saved
        into_x.add(tape, gradient * y)
        into_y.add(tape, gradient * x)


class Learner(Times):
    """A Times whose factor is a parameter."""

    learns = True

    def backward(self, tape, saved, gradient, into):
        super().backward(tape, saved, gradient, into)
        tape.add("factor", lambda out: np.copyto(out, gradient.sum()))


@pytest.fixture
def backend():
    return open_backend("cpu", 1)


def new_tape(backend, train=True, sums=None):
    return Tape(backend, backend.buffers(), None, sums, 0, 0, 0, train, True)


def walk(tape, node, gradient=None):
    assert list(tape.backward(node, np.ones_like(node.array) if gradient is None else gradient)) == []  # nothing yields here


def an_input(tape, columns=3, seed=1):
    x = np.random.default_rng(seed).standard_normal((N, columns))
    target = Gradient(np.full((N, columns), np.nan))
    return x, target, tape.input(x, target)


def test_a_chain(backend):
    tape = new_tape(backend)
    _, target, node = an_input(tape)
    walk(tape, tape.apply(Times(3.0), tape.apply(Times(2.0), node)))
    assert (target.array == 6).all() and not target.fresh


def test_a_node_that_is_used_twice(backend):
    """f = 2 x + 5 (2 x) 3, through a node of its own and as an input: everything adds up."""
    tape = new_tape(backend)
    _, target, node = an_input(tape)
    twice, product = Times(2.0), Product()
    inner = tape.apply(twice, node)
    result = tape.apply(product, tape.apply(Times(5.0), inner), tape.apply(Times(3.0), inner))
    walk(tape, result)
    x = node.array
    assert np.allclose(target.array, 2 * 5 * 3 * 2 * (2 * x), rtol=1e-14)
    assert twice.asked == [True]  # once, when all of its output's gradient was there


def test_one_node_as_both_inputs(backend):
    tape = new_tape(backend)
    x, target, node = an_input(tape)
    walk(tape, tape.apply(Product(), node, node))
    assert np.allclose(target.array, 2 * x, rtol=1e-14)


def test_a_branch_that_leads_nowhere(backend):
    tape, unused = new_tape(backend), Times(7.0)
    _, target, node = an_input(tape)
    tape.apply(unused, node)
    result = tape.apply(Times(2.0), node)
    tape.apply(unused, result)
    walk(tape, result)
    assert (target.array == 2).all() and unused.asked == []


def test_what_nobody_wants_is_not_walked_back(backend):
    tape, of_constant = new_tape(backend), Times(2.0)
    _, target, node = an_input(tape)
    constant = tape.input(np.ones((N, 3)))
    walk(tape, tape.apply(Sum(), tape.apply(of_constant, constant), tape.apply(Times(3.0), node)))
    assert of_constant.asked == [] and (target.array == 3).all()


class Sum(Operator):
    """(x, y) -> x + y, of which either may want nothing."""

    def forward(self, tape, x, y):
        return x + y, None

    def backward(self, tape, saved, gradient, *into):
        for one in into:
            if one is not None:
                one.add(tape, gradient)


def test_who_learns_is_walked_back_all_the_same(backend):
    sums = SlotSums(backend, {"factor": ()}, "float64", 1)
    tape, learner = new_tape(backend, sums=sums), Learner(2.0)
    walk(tape, tape.apply(learner, tape.input(np.ones((N, 3)))))
    assert learner.asked == [True]  # it is given something to write to, which nobody reads
    assert sums.of(0, "factor")[0] == N * 3


def test_who_can_skip_what_nobody_wants_is_told_so(backend):
    tape, learner = new_tape(backend, sums=SlotSums(backend, {"factor": ()}, "float64", 1)), Learner(2.0)
    learner.skips_unwanted = True
    walk(tape, tape.apply(learner, tape.input(np.ones((N, 3)))))
    assert learner.asked == [None]


def test_parts_of_one_input_share_its_gradient(backend):
    """x_0 is the embeddings and the dense features; its gradient is that of the embeddings, so last columns are left out."""
    tape, target = new_tape(backend), Gradient(np.full((N, 2), np.nan))
    x = np.random.default_rng(1).standard_normal((N, 5))
    whole, embeddings = tape.input(x, target), tape.input(x[:, :2], target)
    both = tape.apply(Sum(), tape.apply(Columns(), tape.apply(Times(3.0), whole)), tape.apply(Times(4.0), embeddings))
    walk(tape, both)
    assert (target.array == 7).all()


class Columns(Operator):
    """The first two columns."""

    def forward(self, tape, x):
        return x[:, :2].copy(), x.shape

    def backward(self, tape, shape, gradient, into):
        whole = np.zeros(shape)
        whole[:, :2] = gradient
        into.add(tape, whole)


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("columns", [2, 5])
def test_a_gradient_by_a_matrix_product(backend, columns, fresh):
    tape, rng = new_tape(backend), np.random.default_rng(4)
    upstream, weights = rng.standard_normal((N, 3)), rng.standard_normal((5, 3))
    target = Gradient(np.full((N, columns), np.nan if fresh else 0.5), fresh)
    target.add_product(tape, upstream, weights)
    expected = np.array([[np.dot(one, row) for row in weights[:columns]] for one in upstream]) + (0 if fresh else 0.5)
    assert np.allclose(target.array, expected, rtol=1e-13) and not target.fresh


def test_gradients_are_let_go_as_they_are_used(backend):
    """The gradient of a result is gone when the operator that made it has been walked back."""
    tape, seen = new_tape(backend), []

    class Watch(Times):
        def backward(self, tape, saved, gradient, into):
            super().backward(tape, saved, gradient, into)
            seen.append([one() is not None for one in references])

    _, _, node = an_input(tape)
    nodes = [tape.apply(Watch(2.0), node)]
    nodes += [tape.apply(Watch(2.0), nodes[0])]
    nodes += [tape.apply(Watch(2.0), nodes[1])]
    references, take = [], tape._gradient

    def watched(one, skips_unwanted):
        target = take(one, skips_unwanted)
        references.append(weakref.ref(target.array))
        return target

    tape._gradient = watched
    walk(tape, nodes[-1])
    gc.collect()
    assert [one.target for one in nodes] == [None] * 3
    assert seen == [[True], [True, True], [False, True, True]]


def test_in_evaluation_nothing_is_recorded(backend):
    tape, operator = new_tape(backend, train=False), Learner(2.0)
    node = tape.apply(operator, tape.input(np.ones((N, 3))))
    assert (node.array == 2).all()
    walk(tape, node)
    assert operator.asked == []


def test_a_block_has_its_arrays_until_it_is_closed_and_the_next_one_gets_them_in_the_same_order(backend):
    """Also one with other samples; a block that runs between its first array and its end gets other memory."""
    scratch, kind = backend.buffers(), "float64"
    first, between, second = (Tape(backend, scratch, None, None, 0, step, 0, True, True) for step in (0, 1, 2))
    one, other, flat = first.array((N, 3), kind), first.array((N, 3), kind), first.array((N,), kind)
    elsewhere = between.array((N, 3), kind)
    for a, b in itertools.combinations([one, other, flat, elsewhere], 2):
        assert not np.shares_memory(a, b)
    first.close()
    again = [second.array((N - 1, 3), kind), second.array((N + 9, 3), kind), second.array((2 * N,), kind)]
    assert [array.shape for array in again] == [(N - 1, 3), (N + 9, 3), (2 * N,)]
    for before, after in zip((one, other, flat), again, strict=True):
        assert np.shares_memory(before, after)
    assert second.array((1000, 3), kind).shape == (1000, 3)  # larger than any before
    assert not any(np.shares_memory(elsewhere, array) for array in again)


def test_the_memory_of_a_gradient_is_used_again_in_the_same_walk(backend):
    tape, lent = new_tape(backend), []

    class Watch(Times):
        def backward(self, tape, saved, gradient, into):
            super().backward(tape, saved, gradient, into)
            lent.append(into.array.ctypes.data)

    _, target, node = an_input(tape)
    result = node
    for _ in range(5):
        result = tape.apply(Watch(2.0), result)
    walk(tape, result)
    assert len(set(lent[:-1])) == 2 and lent[-1] == target.array.ctypes.data  # to and fro; the input's gradient is its owner's
    assert (target.array == 2.0**5).all()


def test_who_yields_waits_for_an_answer(backend):
    class Asks(Times):
        def forward(self, tape, x):
            total = yield x.sum()
            return x + total, None

        def backward(self, tape, saved, gradient, into):
            total = yield gradient.sum()
            into.add(tape, gradient + total)

    tape = new_tape(backend)
    x, target, node = an_input(tape)
    applied = tape.apply_in_step(Asks(1.0), node)
    assert next(applied) == x.sum()
    with pytest.raises(StopIteration) as end:
        applied.send(10.0)
    result = end.value.value
    assert np.array_equal(result.array, x + 10)
    back = tape.backward(result, np.full((N, 3), 2.0))
    assert next(back) == 2 * N * 3
    with pytest.raises(StopIteration):
        back.send(0.5)
    assert (target.array == 2.5).all()
