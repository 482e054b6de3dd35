"""Fixed point: the same bits for any number of ranks (`train.accumulate = "int64"`).

Every term of a sum is rounded to a multiple of 1 / scale before any addition, also inside a rank; integers add in any
order.  Partials have the scale 2^32.  Gradients have the scale 2^(61 - ceil log2 T - ceil log2 M) of their step, T the
number of entries of the global batch (a dense feature's included) and M a bound of all |terms| that does not depend on
how the batch is split, so no sum can pass 2^61.  What cannot be represented is an error on every rank.

The terms of a tower's dense gradients are what its blocks add up to in floating point: blocks are the same on any number of
ranks (`nn.blocks.fixed_edges`).  T is their number, and M the largest of these sums.
"""

import math

import numpy as np

from deshpc.comm.ledger import Traffic
from deshpc.comm.shares import slice_of
from deshpc.errors import DeshpcError
from deshpc.nn.blocks import fixed_edges

MOST = 2.0**30  # of a sample's partial over all owners: 2^62 in int64
_LARGEST_EXPONENT = 1000  # of a scale: beyond it a float64 overflows
_CURE = "the model diverges, or values are too large: lower optimizer.learning_rate, or train with train.accumulate = 'float64'"


class FixedPoint:
    """The scales of a run's sums, agreed on by all ranks: an `Accumulation`."""

    partial_scale, scales_follow = 2.0**32, True

    def __init__(self, backend, group, operators, parameters, exchange):
        self._backend, self._group, self._operators, self._parameters = backend, group, operators, parameters
        self._whole_top, self._moves_rows, self._scratch = exchange.whole_top, exchange.moves_rows, backend.buffers()
        self._limit = MOST / (group.size * len(operators.table.of_shards))  # of one shard: then no sum over all of them can pass MOST

    def numbers(self, state):
        """The states as float64.  Valid until the next call."""
        numbers = self._scratch.array("numbers", state.shape, np.float64)
        self._backend.update.set_numbers(state, 1.0 / self.partial_scale, numbers)
        return numbers

    def check(self, found, rows):
        """Raise on every rank if a partial may leave the range.  Sent: 16 (N - 1) bytes.  Collective."""
        magnitude = np.array(self._magnitude(found.routed, rows), np.float64)
        everywhere = self._group.gather_numbers(magnitude, Traffic("batch", "control", "eval")).wait()
        self._require_range(found.routed.step, everywhere)

    def gradient_scales(self, found, rows, state, gradient, largest=None):
        """The scales of a step's gradients of rows, and of dense parameters.  Sent: 56 (N - 1) bytes.  Collective."""
        routed, home = found.routed, found.routed.home
        home_begin, home_end = self._home_samples(routed)
        begin, end = (home_begin, home_end) if self._whole_top else (0, home_end - home_begin)
        values = self._scratch.array("largest values", len(home), np.float64)
        self._backend.loss.largest_values(home.begins, home.ends, home.values, home.dense, values)
        term, sample = self._operators.largest_term(state, gradient, self._parameters, values, begin, end)
        factor, entries = self._operators.largest_factor(state, begin, end), home.occurrences + len(home)
        numbers = np.array(
            [*self._magnitude(routed, rows), term, sample - begin + home_begin, entries, factor, largest or 0.0], np.float64
        )
        everywhere = self._group.gather_numbers(numbers, Traffic("batch", "control", "backward")).wait()
        self._require_range(routed.step, everywhere[:, :2])
        finite = np.isfinite(everywhere[:, 2])
        if not finite.all():
            rank = int(np.argmin(finite))
            term, sample = everywhere[rank, 2:4]
            self._fail(f"step {routed.step}: the gradient of sample {int(sample)} of the batch is {term} on rank {rank}")
        _, _, term, _, _, factor, of_blocks = everywhere.max(axis=0)
        if not np.isfinite(term * factor + of_blocks):
            self._fail(f"step {routed.step}: gradients of rows are up to {term * factor:.3g}, those of dense parameters to {of_blocks:.3g}")
        scale = scale_for(term * factor, everywhere[:, 4].sum())
        return scale, scale if largest is None else scale_for(of_blocks, len(fixed_edges(routed.samples, self._backend)) - 1)

    def _magnitude(self, routed, rows):
        """(largest sum of |terms| of a partial at this rank, its sample in the batch)."""
        magnitude, sample = self._operators.magnitude(rows)
        return magnitude, sample + (self._home_samples(routed)[0] if self._moves_rows else 0)

    def _home_samples(self, routed):
        return slice_of(routed.samples, self._group.size, self._group.rank)

    def _require_range(self, step, found):
        """found : (N, 2), the largest sum of |terms| of a partial at each rank, and its sample."""
        for rank, (magnitude, sample) in enumerate(found):
            if not magnitude < self._limit:
                self._fail(
                    f"step {step}: the terms of sample {int(sample)} of the batch add up to {magnitude:.3g} on rank {rank}; "
                    f"fixed point holds less than {self._limit:.3g} there"
                )

    def _fail(self, text):
        self._group.agree(DeshpcError(f"{text}: {_CURE}"))


def scale_for(largest, terms):
    """A power of two by which `terms` numbers up to `largest` can be multiplied, rounded and added within 2^61."""
    if largest == 0:
        return 1.0
    return 2.0 ** min(_LARGEST_EXPONENT, 61 - _ceil_log2(max(1.0, float(terms))) - _ceil_log2(float(largest)))


def _ceil_log2(number):
    mantissa, exponent = math.frexp(number)
    return exponent - (mantissa == 0.5)
