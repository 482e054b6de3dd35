"""Updates of rows and of dense parameters, by every rule: against the formulas in float64 with a bound on what each rounding
may do (`rounding.Rounded`), and against the CPU backend, whose records have the same bytes.
"""

import math
from fractions import Fraction

import numpy as np
import pytest
from device_rows import (
    DOUBLE,
    FIXED,
    FIXED_DOUBLE,
    MIXED,
    SINGLE,
    Records,
    assert_same_bits,
    assert_within,
    is_power_of_two,
)
from rounding import UNIT, Rounded

from deshpc.backend.arguments import Sums
from deshpc.backend.cpu import update as on_cpu
from deshpc.backend.cuda.backend import CudaBackend
from deshpc.backend.exact_norm import TERMS, total
from deshpc.backend.record import RecordLayout
from deshpc.backend.rules import Adagrad, Adam, Ftrl, RowwiseAdagrad, Sgd

STEP, BEYOND = 1234, 3  # the step of the update;  addresses without a row behind the last
PLANES = {Sgd: 0, Adagrad: 1, RowwiseAdagrad: 1, Adam: 2, Ftrl: 2}
RULES = {
    "sgd": Sgd(0.3),
    "adagrad": Adagrad(0.05, 1e-3),
    "rowwise": RowwiseAdagrad(0.07, 1e-3),
    "adam": Adam(0.02, 0.8, 0.95, 0.2, 0.05, 1 / (1 - 0.8**3), 1 / (1 - 0.95**3), 1e-3),
    "ftrl": Ftrl(0.1, 0.5, 1.5, 0.2),
}
PLAIN, REGULARISED = (1.0, 0.0), (0.25, 0.03)  # clip, l2


def formula(rule, unit, w, g, state):
    """(weights, state planes) after one update, all `Rounded`, by the docstrings of `backend.rules`."""
    field = type(rule)(*[Rounded.constant(float(number), unit) for number in rule])
    if isinstance(rule, Sgd):
        return w - field.rate * g, []
    if isinstance(rule, Adagrad | RowwiseAdagrad):
        squares = g * g
        total = state[0] + (squares if isinstance(rule, Adagrad) else squares.mean())
        return w - field.rate * g / (total.root() + field.epsilon), [total]
    if isinstance(rule, Adam):
        mean = field.beta1 * state[0] + field.rest1 * g
        square = field.beta2 * state[1] + field.rest2 * g * g
        return w - field.rate * field.correction1 * mean / ((field.correction2 * square).root() + field.epsilon), [mean, square]
    grown = state[1] + g * g
    z = state[0] + (g - (grown.root() - state[1].root()) / field.alpha * w)
    return (z.between(field.l1) - z) / ((field.beta + grown.root()) / field.alpha + field.l2), [z, grown]


def layout_of(rule, scalars, dim, storage):
    planes = PLANES[type(rule)]
    rowwise = isinstance(rule, RowwiseAdagrad)
    return RecordLayout(scalars, dim, storage, planes * scalars, planes * (min(dim, 1) if rowwise else dim))


class Case:
    """Records with state, sums of their gradients, and the arguments of an update."""

    def __init__(self, rule, kind, dim, scalars, square_sums, clip, l2, rows=19):
        rng = np.random.default_rng(dim + scalars + len(rule))
        self.kind, self.dim, self.scalars, self.rows = kind, dim, scalars, rows
        compute = np.dtype(kind.compute).type
        self.rule, self.clip, self.l2 = type(rule)(*map(compute, rule)), compute(clip), compute(l2)
        self.layout = layout_of(rule, scalars, dim, kind.storage)
        numbers = rng.standard_normal((rows, self.layout.numbers))
        planes = self.layout.state and PLANES[type(rule)]
        for part in self.parts():  # sums of squares are not negative
            for plane in part[1][planes - 1 :]:
                numbers[:, plane] = np.abs(numbers[:, plane])
        self.records = Records(rng, self.layout, rows, numbers)
        self.inverse_scale = 2.0**-30 if kind.fixed else 1.0
        shapes = [(rows + BEYOND,) if scalars else None, (rows + BEYOND, dim) if dim else None]
        drawn = [None if shape is None else rng.standard_normal(shape) * np.exp(rng.standard_normal(shape)) for shape in shapes]
        for sums in drawn:
            if sums is not None:
                sums[0] = 0  # a gradient of zero
        own = {"none": None, "scalar": drawn[0], "own": rng.standard_normal(rows + BEYOND)}[square_sums]
        self.shared = square_sums == "scalar"
        self.sums = [None if sums is None else self.as_sums(sums) for sums in (*drawn, own)]

    def as_sums(self, drawn):
        return np.rint(drawn / self.inverse_scale).astype(np.int64) if self.kind.fixed else drawn.astype(self.kind.sums)

    def parts(self):
        """[(places of the weights, [places of each state plane])] of the linear weight and of the embedding."""
        layout, parts = self.layout, []
        linear_state = [np.s_[layout.weights + i : layout.weights + i + 1] for i in range(layout.scalar_state)]
        if self.scalars:
            parts.append((np.s_[:1], linear_state))
        if self.dim:
            begin, planes = layout.weights + layout.scalar_state, PLANES[type(self.rule)]
            each = layout.vector_state // planes if planes else 0
            parts.append((np.s_[self.scalars : self.scalars + self.dim], [np.s_[begin + i * each : begin + (i + 1) * each] for i in range(planes)]))
        return parts

    def gradients(self):
        """[(rows, 1 or dim) Rounded] of the linear weight and of the embedding, before clipping and l2."""
        unit, rows = UNIT[self.kind.compute], self.rows
        values = [None if sums is None else sums[:rows] * self.inverse_scale for sums in self.sums]
        # a fixed-point sum is rounded to the type of arithmetic
        scalar, vector, own = [
            None if value is None else Rounded(value, np.abs(value) * unit * self.kind.fixed, unit) for value in values
        ]
        found = [] if scalar is None else [Rounded(scalar.value[:, None], scalar.error[:, None], unit)]
        if self.dim:
            v = Rounded(self.records.weights()[:, self.scalars :], 0.0, unit)
            if own is not None:
                vector = vector - Rounded(own.value[:, None], own.error[:, None], unit) * v
            found.append(vector)
        return found

    def on(self, backend):
        """(memory, addresses, sums) on a device."""
        memory, addresses = self.records.on(backend, BEYOND)
        sums = [None if one is None else backend.array(one) for one in self.sums]
        if self.shared:
            sums[2] = sums[0]  # sums of g x^2 that are those of g x
        return memory, addresses, sums

    def update(self, backend, memory, addresses, sums):
        layout = self.layout
        backend.update.rows(
            self.rule, self.kind.form(self.dim), layout.linear_state, layout.tail, 1, addresses, Sums(*sums), self.inverse_scale,
            STEP, self.clip, self.l2, None, None,
        )  # fmt: skip

    def check_formula(self, after):
        """Weights and state after the update, byte by byte of all records besides."""
        before, numbers = self.records.numbers().astype(np.float64), self.records.numbers(after)
        unit, storage = UNIT[self.kind.compute], UNIT[self.kind.storage]
        clip, l2 = (Rounded.constant(float(one), unit) for one in (self.clip, self.l2))
        for (weights, planes), gradient in zip(self.parts(), self.gradients(), strict=True):
            for c in range(self.rows):
                w, state = Rounded(before[c, weights], 0.0, unit), [Rounded(before[c, plane], 0.0, unit) for plane in planes]
                whole = clip * Rounded(gradient.value[c], gradient.error[c], unit) + l2 * w
                new, new_state = formula(self.rule, unit, w, whole, state)
                assert new.stored(storage).holds(numbers[c, weights])
                for plane, expected in zip(planes, new_state, strict=True):
                    assert expected.stored(storage).holds(numbers[c, plane])
                if isinstance(self.rule, Ftrl):
                    z = new_state[0]
                    dead, alive = np.abs(z.value) + z.error <= self.rule.l1, np.abs(z.value) - z.error > self.rule.l1
                    assert not numbers[c, weights][dead].any() and not np.signbit(numbers[c, weights][dead]).any()
                    assert numbers[c, weights][alive].all()
        self.check_bytes(after, numbers)

    def check_bytes(self, after, numbers):
        """Last step is this one, count one more; other records, padding, key and field as they were."""
        tails = self.records.tails()
        tails = np.stack([np.full(self.rows, STEP, np.uint32), tails[:, 1] + np.uint32(1)], axis=1)
        expected = self.records.bytes.copy()
        self.records.set_numbers(expected, numbers)
        expected[self.records.rows, self.layout.tail : self.layout.tail + 8] = tails.view(np.uint8).reshape(self.rows, 8)
        assert_same_bits(after, expected)

    def check_sums(self, found, emptied):
        """Zero where there is a row, else as they were: all of them, where the sums are not `emptied`."""
        for sums, before in zip(found, self.sums, strict=True):
            assert (sums is None) == (before is None)
            if sums is not None:
                expected = before.copy()
                expected[: self.rows * emptied] = 0
                assert_same_bits(sums, expected)

    def on_host(self):
        """(bytes, addresses, sums) for the CPU backend."""
        memory, addresses = self.records.on_host()
        sums = [None if one is None else one[: self.rows].copy() for one in self.sums]
        if self.shared:
            sums[2] = sums[0]
        return memory, addresses, sums


def check(device, case):
    backend = CudaBackend(device)
    memory, addresses, sums = case.on(backend)
    case.update(backend, memory, addresses, sums)
    after = backend.host(memory)
    case.check_formula(after)
    case.check_sums([None if one is None else backend.host(one) for one in sums], emptied=True)
    if not isinstance(case.rule, RowwiseAdagrad) or not case.dim or is_power_of_two(case.dim):
        host_memory, host_addresses, host_sums = case.on_host()
        layout = case.layout
        on_cpu.rows(
            case.rule, case.kind.form(case.dim), layout.linear_state, layout.tail, 1, host_addresses, Sums(*host_sums),
            case.inverse_scale, np.uint32(STEP), case.clip, case.l2, None, None,
        )  # fmt: skip
        assert_same_bits(after, host_memory)


@pytest.mark.parametrize(
    "rule, kind, dim, scalars, square_sums, factors",
    [
        ("sgd", SINGLE, 4, 1, "scalar", REGULARISED),
        ("sgd", SINGLE, 0, 1, "none", PLAIN),
        ("adagrad", MIXED, 5, 1, "own", REGULARISED),
        ("adagrad", SINGLE, 12, 0, "none", REGULARISED),
        ("adagrad", FIXED, 16, 1, "scalar", PLAIN),
        ("rowwise", SINGLE, 8, 1, "own", REGULARISED),
        ("rowwise", DOUBLE, 12, 1, "scalar", REGULARISED),
        ("rowwise", FIXED, 0, 1, "none", REGULARISED),
        ("adam", SINGLE, 16, 1, "own", REGULARISED),
        ("adam", FIXED_DOUBLE, 10, 1, "own", PLAIN),
        ("adam", SINGLE, 0, 1, "none", REGULARISED),
        ("ftrl", SINGLE, 10, 1, "own", (0.25, 0.0)),
        ("ftrl", DOUBLE, 4, 0, "none", PLAIN),
        ("ftrl", SINGLE, 0, 1, "none", PLAIN),
    ],
    ids=str,
)  # fmt: skip
def test_rows(device, rule, kind, dim, scalars, square_sums, factors):
    check(device, Case(RULES[rule], kind, dim, scalars, square_sums, *factors))


@pytest.mark.parametrize(
    "rule, kind, dim, scalars, square_sums, factors",
    [
        ("sgd", DOUBLE, 64, 1, "scalar", REGULARISED),
        ("rowwise", SINGLE, 256, 1, "own", PLAIN),
        ("rowwise", SINGLE, 5, 0, "none", PLAIN),
        ("rowwise", MIXED, 64, 1, "own", PLAIN),
        ("adam", FIXED, 256, 1, "scalar", REGULARISED),
        ("ftrl", SINGLE, 64, 1, "scalar", PLAIN),
        ("adagrad", SINGLE, 1, 1, "own", REGULARISED),
        ("rowwise", SINGLE, 516, 1, "none", REGULARISED),
    ],
    ids=str,
)  # fmt: skip
def test_rows_of_other_dimensions(few, rule, kind, dim, scalars, square_sums, factors):
    check(few, Case(RULES[rule], kind, dim, scalars, square_sums, *factors, rows=7))


def test_ftrl_gives_weights_of_exactly_zero():
    """Or the check of them would be empty."""
    case = Case(RULES["ftrl"], SINGLE, 10, 1, "own", 0.25, 0.0)
    z = case.records.numbers()[:, case.parts()[1][1][0]]
    assert (np.abs(z) < 1.0).sum() > 20 and (np.abs(z) > 1.7).sum() > 5


@pytest.mark.parametrize("rows", [0, 1])
def test_no_row_and_one(few, rows):
    check(few, Case(RULES["adagrad"], SINGLE, 4, 1, "own", *PLAIN, rows=rows))


NORMS = [
    (SINGLE, 4, 1, "own"), (MIXED, 5, 1, "scalar"), (FIXED, 8, 1, "own"), (DOUBLE, 12, 0, "none"), (SINGLE, 0, 1, "none"),
    (FIXED_DOUBLE, 10, 1, "scalar"), (SINGLE, 64, 1, "own"), (SINGLE, 256, 0, "own"), (SINGLE, 516, 1, "none"),
]  # fmt: skip


@pytest.mark.parametrize("kind, dim, scalars, square_sums", NORMS, ids=str)
def test_square_norms(few, kind, dim, scalars, square_sums):
    case = Case(RULES["adagrad"], kind, dim, scalars, square_sums, *REGULARISED, rows=11)
    backend = CudaBackend(few)
    memory, addresses, sums = case.on(backend)
    held = backend.array(np.full(case.rows + BEYOND, 5.0))
    backend.update.square_norms(kind.form(dim), addresses, Sums(*sums), case.inverse_scale, held)
    norms = backend.host(held)
    case.check_sums([None if one is None else backend.host(one) for one in sums], emptied=False)
    assert_same_bits(backend.host(memory), case.records.bytes)
    assert (norms[case.rows :] == 0).all()  # where there is no row
    exact, bound = np.zeros(case.rows), np.zeros(case.rows)
    for part in case.gradients():
        squares = Rounded(part.value, part.error, UNIT["float64"])  # squared and added in float64
        squares = squares * squares
        exact += squares.value.sum(axis=1)
        bound += squares.error.sum(axis=1)
    # additions in a tree of the coordinates, and one of the linear weight's
    assert_within(norms[: case.rows], exact, bound + (2 + dim.bit_length()) * 2.0**-52 * exact)
    if is_power_of_two(dim):
        host_memory, host_addresses, host_sums = case.on_host()
        of_cpu = np.empty(case.rows)
        on_cpu.square_norms(kind.form(dim), host_addresses, Sums(*host_sums), case.inverse_scale, of_cpu)
        assert_same_bits(norms[: case.rows], of_cpu)


@pytest.mark.parametrize("compute", ["float32", "float64"])
def test_dense(few, compute):
    """Dense parameters: all rules that they have, since one accumulator a weight is adagrad's."""
    backend = CudaBackend(few)
    for rule in RULES:
        for clip in (1.0, 0.3):
            if rule != "rowwise":
                check_dense(backend, rule, compute, clip)


def check_dense(backend, rule, compute, clip):
    n, rng, unit = 57, np.random.default_rng(4), UNIT[compute]
    number = np.dtype(compute).type
    rule, clip = type(RULES[rule])(*map(number, RULES[rule])), number(clip)
    planes = PLANES[type(rule)]
    values, gradient = rng.standard_normal(n).astype(compute), (rng.standard_normal(n) * np.exp(rng.standard_normal(n))).astype(compute)
    gradient[5] = 0
    state = rng.standard_normal((planes, n)).astype(compute)
    state[planes - 1 :] = np.abs(state[planes - 1 :])
    held = backend.array(values), backend.array(state.ravel()), backend.array(gradient)
    other = type(rule)(*[field * 2 for field in rule])
    for fields in (other, rule):  # the fields on the device are those of the call
        backend.set(held[0], values), backend.set(held[1], state.ravel())
        backend.update.dense(fields, None, number(0), *held, clip, 0, len(held[0]))
    new_values, new_state = backend.host(held[0]), backend.host(held[1]).reshape(planes, n)
    assert_same_bits(backend.host(held[2]), gradient)
    whole = Rounded.constant(float(clip), unit) * Rounded(gradient, 0.0, unit)
    expected, of_state = formula(rule, unit, Rounded(values, 0.0, unit), whole, [Rounded(plane, 0.0, unit) for plane in state])
    assert expected.holds(new_values)
    for plane, one in zip(new_state, of_state, strict=True):
        assert one.holds(plane)
    of_cpu = values.copy(), state.ravel().copy()
    on_cpu.dense(rule, None, number(0), *of_cpu, gradient, clip, 0, n)
    assert_same_bits(new_values, of_cpu[0])
    assert_same_bits(new_state.ravel(), of_cpu[1])


@pytest.mark.parametrize("kind", [SINGLE, FIXED], ids=str)
@pytest.mark.parametrize("parts, shape", [(16, (7,)), (3, (5, 4)), (1, (1,)), (16, (300,))], ids=str)
def test_sums_over_parts(device, kind, parts, shape):
    rng = np.random.default_rng(parts)
    sums = (rng.standard_normal((parts, *shape)) * 1e6).astype(kind.sums)
    backend = CudaBackend(device)
    held, total = backend.array(sums), backend.array(np.full(int(np.prod(shape)) + 1, 9, kind.sums))
    backend.update.sum_parts(held, total[: int(np.prod(shape))])
    in_order = np.zeros(int(np.prod(shape)), kind.sums)
    for part in sums:
        in_order = in_order + part.ravel()
    result = backend.host(total)
    assert_same_bits(result[:-1], in_order)
    assert result[-1] == 9
    assert_same_bits(backend.host(held), np.zeros_like(sums))


@pytest.mark.parametrize("numbers", ["float32", "float64"])
@pytest.mark.parametrize("sums", ["same", "int64"])
def test_numbers_of_sums(few, sums, numbers):
    rng, backend = np.random.default_rng(5), CudaBackend(few)
    dtype = numbers if sums == "same" else sums
    drawn = (rng.standard_normal((9, 5)) * 1e15).astype(dtype)
    result = backend.zeros((9, 5), numbers)
    backend.update.set_numbers(backend.array(drawn), 2.0**-20, result)
    assert_same_bits(backend.host(result), drawn if sums == "same" else (drawn * 2.0**-20).astype(numbers))


@pytest.mark.parametrize("compute", ["float32", "float64"])
def test_numbers_to_sums(few, compute):
    """Rounded to whole numbers, halves to even, and added to those that are there."""
    rng, backend = np.random.default_rng(5), CudaBackend(few)
    numbers = np.append(rng.standard_normal(40) * 2.0 ** rng.integers(-30, 9, 40), [0.5, 1.5, -2.5]).astype(compute)
    before = rng.integers(-(2**60), 2**60, len(numbers))
    held, of_cpu, scale = backend.array(before), before.copy(), 2.0**50 if compute == "float64" else 1.0
    backend.update.add_rounded(backend.array(numbers), scale, held)
    on_cpu.add_rounded(numbers, scale, of_cpu)
    expected = [start + round(Fraction(number) * Fraction(scale)) for start, number in zip(before.tolist(), numbers.tolist(), strict=True)]
    assert backend.host(held).tolist() == of_cpu.tolist() == expected
    assert backend.update.largest(backend.array(numbers)) == on_cpu.largest(numbers) == float(np.abs(numbers).max())
    numbers[7] = np.nan
    assert np.isnan(backend.update.largest(backend.array(numbers)))


@pytest.mark.parametrize("compute", ["float32", "float64"])
def test_square_norm(few, compute):
    numbers = np.random.default_rng(6).standard_normal(301).astype(compute)
    backend = CudaBackend(few)
    exact = sum(map(Fraction, (numbers.astype(np.float64) ** 2).tolist()))
    assert backend.update.square_norm(backend.array(numbers)) == on_cpu.square_norm(numbers) == float(exact)
    large = backend.array(np.full(3, 1e30, compute))  # whose squares are no float32
    assert backend.update.square_norm(large) == pytest.approx(3e60, rel=1e-6)
    assert backend.update.square_norm(backend.array(np.zeros(0, compute))) == 0.0


def test_exact_sums(few):
    """Against fractions: rounded down to multiples of 2^-256, and once more at the end; in any order, from any exponent."""
    backend, rng = CudaBackend(few), np.random.default_rng(8)
    numbers = np.ldexp(rng.random(999), rng.integers(-300, 1000, 999))
    numbers[:6] = 0.0, 5e-324, 2.0**-256, 2.0**-255 - 2.0**-308, np.ldexp(1 - 2.0**-53, 1000), np.ldexp(1 - 2.0**-53, 32 - 256)
    exact = sum(Fraction(math.floor(Fraction(x) * 2**256), 2**256) for x in numbers.tolist())
    for some in (numbers, rng.permutation(numbers), numbers[:256]):
        terms, of_cpu = np.zeros((2, TERMS), np.int64)
        on_cpu.add_exactly(some[:300], of_cpu)
        on_cpu.add_exactly(some[300:], of_cpu)
        held = backend.array(terms)
        backend.update.add_exactly(backend.array(some[:300]), held)
        backend.update.add_exactly(backend.array(some[300:]), held)
        assert backend.host(held).tolist() == of_cpu.tolist()
        assert len(some) < 999 or total(of_cpu) == float(exact)


@pytest.mark.parametrize(("odd", "sum_of_all"), [([np.inf], np.inf), ([np.nan], np.nan), ([np.inf, np.nan], np.nan), ([1e308] * 2, np.inf)])
def test_exact_sums_of_what_is_not_finite(few, odd, sum_of_all):
    backend, numbers = CudaBackend(few), np.array([1.0, *odd, 2.0])
    held, of_cpu = backend.zeros(TERMS, np.int64), np.zeros(TERMS, np.int64)
    backend.update.add_exactly(backend.array(numbers), held)
    on_cpu.add_exactly(numbers, of_cpu)
    assert backend.host(held).tolist() == of_cpu.tolist()
    assert np.array_equal(total(of_cpu), sum_of_all, equal_nan=True)
