"""Fixed point: the same bits for any number of ranks (`train.accumulate = "int64"`).

Every term of a sum is rounded to a multiple of 1 / scale before any addition, also inside a rank; integers add in any
order.  Partials have the scale 2^32.  Gradients have the scale 2^(61 - ceil log2 T - ceil log2 M) of their step, T the
number of entries of the global batch (a dense feature's included) and M a bound of all |terms| that does not depend on
how the batch is split, so no sum can pass 2^61.  What cannot be represented is an error on every rank.
"""

import math

import numpy as np

from deshpc.comm.ledger import Traffic
from deshpc.errors import DeshpcError

PARTIAL_SCALE = 2.0**32
MOST = 2.0**30  # of a sample's partial over all owners: 2^62 in int64
_LARGEST_EXPONENT = 1000  # of a scale: beyond it a float64 overflows
_CURE = "the model diverges, or values are too large: lower optimizer.learning_rate, or train with train.accumulate = 'float64'"


class FixedPoint:
    """The scales of a run's sums, agreed on by all ranks of `group`; partials are those of `owners` shards."""

    def __init__(self, group, owners):
        self._group, self._limit = group, MOST / owners  # then no sum over owners can pass MOST

    def check_partials(self, step, magnitude):
        """Raise on every rank if a partial may leave the range.  magnitude : of `OperatorSet`.  Collective."""
        found = self._group.gather_numbers(np.array(magnitude, np.float64), Traffic("batch", "control", "eval")).wait()
        self._require_range(step, found)

    def gradient_scale(self, step, magnitude, largest, terms):
        """The scale of a step's gradients, the same on all ranks; raises on all where numbers leave their range.

        magnitude, largest : (number, sample of the batch) of this rank's partials and terms of gradients
        terms : entries of this rank's share of the batch.  Sent: 40 (N - 1) bytes.  Collective.
        """
        numbers = np.array([*magnitude, *largest, terms], np.float64)
        found = self._group.gather_numbers(numbers, Traffic("batch", "control", "backward")).wait()
        self._require_range(step, found[:, :2])
        finite = np.isfinite(found[:, 2])
        if not finite.all():
            rank = int(np.argmin(finite))
            self._fail(f"step {step}: the gradient of sample {int(found[rank, 3])} of the batch is {found[rank, 2]} on rank {rank}")
        return scale_for(found[:, 2].max(), found[:, 4].sum())

    def sum(self, numbers):
        """Sum over all ranks of non-negative float64 numbers (n) of each, the same bits however they are split.  Collective."""
        traffic = Traffic("batch", "control", "backward")
        found = self._group.gather_numbers(np.array([numbers.max(initial=0.0), len(numbers)]), traffic).wait()
        scale = scale_for(found[:, 0].max(), found[:, 1].sum())
        total = self._group.sum(np.rint(numbers * scale).astype(np.int64).sum(), traffic)[0]
        return float(total) / scale

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
