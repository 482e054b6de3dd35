"""Run one operator through a `Tape`, as a tower does, and read out everything that its adjoint leaves behind.

The operator is taken as a function of its inputs and parameters with one number as result: the sum of its output times fixed
random numbers.  `slope` is that function's slope along a direction, by a central difference; `gradients` is what the adjoint
says.  Both give dictionaries of arrays by name: parameters by their own, inputs by "input 0", "input 1", ...

Inputs and their gradients lie in arrays with longer rows, whose other columns must stay as they are.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from deshpc.backend.open import open_backend
from deshpc.config.load import build
from deshpc.nn.first_values import FirstValues
from deshpc.nn.lockstep import lockstep
from deshpc.nn.parameters import Parameters
from deshpc.nn.slot_sums import SlotSums
from deshpc.nn.tape import Gradient, Tape
from deshpc.table.optimizer import open_optimizer

BEFORE, BEHIND = 3, 2  # columns of other things in front of an input, and behind it

# Of a slope along a direction of length 1 through all inputs and parameters, relative to the gradient's length or, where that
# is less, to the function's size: rounding 1.1e-16 / STEP = 1e-11, truncation STEP^2 / 6 times the third derivative.
# Measured 7e-11 at most; a part of a gradient that is wrong by 0.1 % is off by 1e-3 of its own share.
STEP, TOLERANCE = 1e-5, 1e-9


@dataclass
class Case:
    """make(backend, values) : the operator, whose parameters it declares in a FirstValues;  inputs : arrays (n, columns) or (n)

    uses : which inputs the operator is applied to, where that is not each once
    wanted : columns of each input whose gradient is wanted, from the first on: None all, 0 none
    packed : inputs whose rows, and those of their gradients, lie side by side, since other operators make them
    fresh : whether nothing has been added to the gradients before;  blocks : into how many the samples are split
    """

    make: object
    inputs: list
    uses: tuple = ()
    wanted: tuple = ()
    packed: tuple = ()
    fresh: bool = True
    blocks: int = 1
    step: int = 7

    def __post_init__(self):
        self.backend, values = _backend(), FirstValues(3)
        self.operator = self.make(self.backend, values)
        self.uses = self.uses or tuple(range(len(self.inputs)))
        self.wanted = self.wanted or (None,) * len(self.inputs)
        self.shapes, self._statistics = values.shapes, values.statistics
        rng = np.random.default_rng(len(self.shapes))
        self.point = {f"input {i}": one for i, one in enumerate(self.inputs)}
        self.point |= {name: 0.7 * rng.standard_normal(shape) for name, shape in self.shapes.items()}
        self.upstream = rng.standard_normal(self.forward(self.point)[0].shape)

    def forward(self, point, prior=None):
        """(output, walk): walk() gives the gradients, less what was there before."""
        slots = SlotSums(self.backend, self.shapes, "float64", 1)
        optimizer = open_optimizer(build({"data": {"format": "synthetic"}}).optimizer)
        parameters = Parameters(self.backend, self.shapes, "float64", optimizer, slots=slots, statistics=self._statistics)
        for name in self.shapes:
            parameters.set(name, point[name])
        n = len(self.inputs[0])
        edges = [n * b // self.blocks for b in range(self.blocks + 1)]
        held = [_Held(point[f"input {i}"], wanted, self.fresh, i in self.packed) for i, wanted in enumerate(self.wanted)]
        tapes, starts = [], []
        for block, (begin, end) in enumerate(zip(edges, edges[1:], strict=False)):
            tape = Tape(self.backend, self.backend.buffers(), parameters, slots, 0, self.step, 100 + begin, True, block == 0)
            nodes = [tape.input(one.array[begin:end], one.block(begin, end)) for one in held]
            tapes.append(tape)
            starts.append(tape.apply_in_step(self.operator, *(nodes[i] for i in self.uses)))
        results = lockstep(self.backend, starts, sum)
        output = np.concatenate([result.array for result in results])

        def walk():
            before = {}
            if not self.fresh:
                for name in self.shapes:
                    sums, _ = slots.of(0, name)
                    sums[...] = before[name] = np.random.default_rng(5).standard_normal(sums.shape)
            walks = [
                tape.backward(result, self.upstream[begin:end].copy())
                for tape, result, begin, end in zip(tapes, results, edges, edges[1:], strict=False)
            ]
            lockstep(self.backend, walks, sum)
            total = np.full(sum(int(np.prod(shape)) for shape in self.shapes.values()), np.nan)
            slots.close()
            slots.take(total, 0, len(total), 1.0)
            found, begin = {f"input {i}": one.take() for i, one in enumerate(held) if one.gradient is not None}, 0
            for name, shape in self.shapes.items():
                end = begin + int(np.prod(shape))
                found[name] = total[begin:end].reshape(shape) - before.get(name, 0.0)
                begin = end
            return found

        return output, walk

    def value(self, point):
        """The function of all inputs and parameters."""
        return float((self.forward(point)[0] * self.upstream).sum())

    def gradients(self):
        """{name: the function's gradient}, of the columns that are wanted."""
        return self.forward(self.point)[1]()

    def slope(self, direction):
        """The function's slope along {name: direction}."""
        ends = [
            self.value({name: one + h * direction.get(name, 0.0) for name, one in self.point.items()}) for h in (STEP, -STEP)
        ]
        return (ends[0] - ends[1]) / (2 * STEP)

    def check(self):
        """Assert that the gradients are slopes, in one random direction through all of them, and that wrong ones would not be."""
        gradients, rng = self.gradients(), np.random.default_rng(11)
        assert set(gradients) == set(self.shapes) | {f"input {i}" for i, columns in enumerate(self.wanted) if columns != 0}
        parts = {name: rng.standard_normal(one.shape) for name, one in gradients.items()}
        length = np.sqrt(sum((one**2).sum() for one in parts.values()))
        parts = {name: one / length for name, one in parts.items()} if length else parts
        slope = self.slope({name: self._whole(name, one) for name, one in parts.items()})
        shares = {name: float((one * parts[name]).sum()) for name, one in gradients.items()}
        size = max(np.sqrt(sum((one**2).sum() for one in gradients.values())), abs(self.value(self.point)))
        error = abs(slope - sum(shares.values()))
        assert error <= TOLERANCE * size, (error / size, {name: one.shape for name, one in gradients.items()})
        for name, share in shares.items():
            wrong = abs(slope - sum(shares.values()) - 1e-3 * share)
            assert not gradients[name].any() or wrong > TOLERANCE * size, f"a wrong gradient of {name} would pass: {share / size}"
        return gradients

    def _whole(self, name, direction):
        """A direction through the wanted columns, as one through all columns."""
        columns = self.point[name].shape[-1] if self.point[name].ndim else 0
        if not name.startswith("input") or direction.shape[-1] == columns:
            return direction
        return np.pad(direction, [(0, 0), (0, columns - direction.shape[1])])


@cache
def _backend():
    return open_backend("cpu", 1)


class _Held:
    """An input inside an array with longer rows, and its gradient inside another one."""

    def __init__(self, array, wanted, fresh, packed):
        self._flat, self._fresh, self._ends = array.ndim == 1, fresh, (0, 0) if packed else (BEFORE, BEHIND)
        columns = 1 if self._flat else array.shape[1]
        self.array = self._place(np.full((len(array), columns + sum(self._ends)), np.nan))
        self.array[...] = array
        columns, self.gradient = columns if wanted is None else wanted, None
        if columns:
            self._before = np.random.default_rng(columns).standard_normal((len(array), columns + sum(self._ends)))
            self._around = self._before.copy()
            self.gradient = self._place(self._around)
            if fresh:
                self.gradient[...] = np.nan  # to be written, not added to

    def block(self, begin, end):
        return None if self.gradient is None else Gradient(self.gradient[begin:end], self._fresh)

    def take(self):
        """The gradient, less what was there before; nothing else may have changed."""
        changed = self._around != self._before
        self._place(changed)[...] = False
        assert not changed.any()
        return self.gradient.copy() if self._fresh else self.gradient - self._place(self._before)

    def _place(self, around):
        """The columns of an array that are this input's."""
        own = around[:, self._ends[0] : around.shape[1] - self._ends[1]]
        return own[:, 0] if self._flat else own


def numbers(n, *shape, seed=1):
    """Random inputs (n, ...)."""
    return np.random.default_rng([seed, n, *shape]).standard_normal((n, *shape))


WAYS = [(fresh, narrow) for fresh in (True, False) for narrow in (False, True)]
"""(whether gradients are fresh, whether an input's last columns are left out)."""
