"""Updates of rows and of dense parameters on a device: the operations of `backend.cpu.update`."""

import numpy as np

from deshpc.backend.cuda import elementwise
from deshpc.backend.cuda.buffers import Buffers
from deshpc.backend.cuda.groups import lanes_of
from deshpc.backend.cuda.kinds import kind
from deshpc.backend.exact_norm import TERMS, total

_FIELDS = 8  # numbers of a rule, as in rules.cuh
_NONE = -1, 0.0  # place and sight of decayed counts that nobody keeps
_MOST_BLOCKS = 256  # that add norms up: each adds its own terms to all


class UpdateOperations:
    """Rows: kernels/update.cu;  dense parameters: elementwise."""

    LANES = 1  # of dense parameters: each is a thread's

    def __init__(self, kernels, worst):
        self._kernels, self._device, self._worst = kernels, kernels.device, worst
        self._from_fixed_point = self._device.elementwise(elementwise.from_fixed_point)
        self._add_rounded = self._device.elementwise(elementwise.add_rounded)
        self._sizes = self._device.elementwise(elementwise.sizes)
        self._squares = self._device.elementwise(elementwise.squares)
        self._dense = self._device.elementwise(elementwise.update_dense)
        self._uploaded, self._scratch = {}, Buffers(kernels.device)

    def rows(self, rule, form, linear_state, tail, lines, addresses, sums, inverse_scale, step, clip, l2, decay, rounding):
        kernels, n = self._of(rule, form, sums), addresses.size
        fields, (place, sight) = [*rule, *[type(clip)(0)] * (_FIELDS - len(rule))], decay or _NONE
        kernels.rows(n * lanes_of(form.dim, form.number), addresses, n, inverse_scale, *sums, step, clip, l2, *fields, place, sight)

    def square_norms(self, form, addresses, sums, inverse_scale, norms):
        n = addresses.size
        self._of(None, form, sums).square_norms(n * lanes_of(form.dim, form.number), addresses, n, inverse_scale, *sums, norms)

    def add_exactly(self, numbers, terms):
        kernel = self._kernels("norm.cu").add_exactly
        kernel.blocks(min(_MOST_BLOCKS, -(-numbers.size // kernel.threads)), numbers, numbers.size, terms)

    def sum_parts(self, sums, total):
        """total (n) = sums (parts, ...) over all parts, in order; they become zero."""
        compute = "double" if sums.dtype == np.int64 else kind(sums)
        kernels = self._kernels("loss.cu", COMPUTE=compute, SUM=kind(sums), VALUES=0)
        kernels.sum_parts(total.size, sums, len(sums), total.size, total)

    def set_numbers(self, sums, inverse_scale, numbers):
        """numbers = the values of sums, which are fixed point of this inverse scale unless they are of the same type."""
        factor = np.float64(inverse_scale) if sums.dtype != numbers.dtype else numbers.dtype.type(1)
        self._from_fixed_point(numbers.size, sums.reshape((sums.size,)), factor, numbers.reshape((numbers.size,)))

    def add_rounded(self, numbers, scale, sums):
        self._add_rounded(numbers.size, numbers, np.float64(scale), sums)

    def largest(self, numbers):
        """As on the CPU.  Reads the device, and waits for it."""
        sizes = self._scratch.array("sizes", numbers.size, np.float64)
        self._sizes(numbers.size, numbers, sizes)
        return self._worst(sizes)[0]

    def square_norm(self, numbers):
        """As on the CPU.  Reads the device, and waits for it."""
        squares, terms = self._scratch.array("squares", numbers.size, np.float64), self._scratch.array("terms", TERMS, np.int64)
        terms.fill(0)
        self._squares(numbers.size, numbers, squares)
        self.add_exactly(squares, terms)
        return total(self._device.to_host(terms))

    def dense(self, rule, lanes, zero, values, state, gradient, clip, begin, end):
        """All parameters at once: lanes is None, and begin .. end are all."""
        numbers, fields = elementwise.RULES.index(type(rule).__name__), self._fields(rule, zero)
        self._dense(gradient.size, np.int32(numbers), fields, clip, values, state, gradient)

    def _fields(self, rule, zero):
        """The rule's numbers on the device, uploaded when they change."""
        held = self._uploaded.get(zero.dtype)
        if held is None or held[0] != rule:
            array = held[1] if held else self._device.empty((_FIELDS,), zero.dtype)
            self._device.to_device(np.array([*rule, *[0] * (_FIELDS - len(rule))], zero.dtype), array)
            held = self._uploaded[zero.dtype] = rule, array
        return held[1]

    def _of(self, rule, form, sums):
        like = sums.scalar if sums.scalar is not None else sums.vector
        return self._kernels(
            "update.cu", NUMBER=kind(form.number), COMPUTE=kind(form.zero), SUM=kind(like), DIM=form.dim, VALUES=0,
            SCALARS=int(sums.scalar is not None), RULE=0 if rule is None else elementwise.RULES.index(type(rule).__name__),
        )  # fmt: skip
