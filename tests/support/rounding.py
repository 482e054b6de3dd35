"""Running error analysis: float64 arrays that carry a bound on how far a coarser computation may be from them.

`Rounded(value, error, unit)` stands for the results of a computation whose every operation rounds with unit roundoff
`unit` (2^-24 for float32): it may be anywhere within value +- error.  Each operation passes the errors of its operands on
and adds its own rounding; the reference's own float64 rounding is counted in.  Fused operations round less.
"""

import numpy as np

UNIT = {"float32": 2.0**-24, "float64": 2.0**-53}
OWN = 2.0**-52  # of the reference, and of sums of squares of bounds, with room


class Rounded:
    """See the module."""

    def __init__(self, value, error=0.0, unit=0.0):
        self.value = np.asarray(value, np.float64)
        self.error, self.unit = np.broadcast_to(np.asarray(error, np.float64), self.value.shape), unit

    @classmethod
    def constant(cls, value, unit):
        """A number that was rounded once."""
        return cls(value, unit * np.abs(value), unit)

    def __add__(self, other):
        return self._result(other, self.value + other.value, self.error + other.error)

    def __sub__(self, other):
        return self._result(other, self.value - other.value, self.error + other.error)

    def __mul__(self, other):
        error = np.abs(self.value) * other.error + np.abs(other.value) * self.error + self.error * other.error
        return self._result(other, self.value * other.value, error)

    def __truediv__(self, other):
        smallest = np.abs(other.value) - other.error
        assert (smallest > 0).all()
        value = self.value / other.value
        return self._result(other, value, (self.error + np.abs(value) * other.error) / smallest)

    def root(self):
        """Square root: |sqrt(a + e) - sqrt(a)| is at most sqrt(e) and at most e / sqrt(a)."""
        value = np.sqrt(self.value)
        slope = np.divide(self.error, value, out=np.full_like(value, np.inf), where=value > 0)
        return self._result(self, value, np.minimum(np.sqrt(self.error), slope))

    def between(self, limit):
        """The nearest number of [-limit, limit]: nothing is rounded, and nothing moves apart."""
        value = np.clip(self.value, -limit.value, limit.value)
        return Rounded(value, self.error + limit.error, self.unit)

    def mean(self):
        """Mean of all, added in any order."""
        value, count = self.value.mean(), self.value.size
        return self._result(self, value, self.error.mean() + count * self.unit * np.abs(self.value).mean())

    def stored(self, unit):
        """The same, rounded once more."""
        return Rounded(self.value, self.error + unit * (np.abs(self.value) + self.error), self.unit)

    def holds(self, actual):
        """Whether numbers of any type are within the bounds."""
        return (np.abs(np.asarray(actual, np.float64) - self.value) <= self.error).all()

    def _result(self, other, value, error):
        unit = max(self.unit, other.unit)
        return Rounded(value, error + (unit + OWN) * (np.abs(value) + error), unit)
