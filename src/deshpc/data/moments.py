"""Count, mean, spread and range of numbers, of which some are missing, block by block."""

import numpy as np

from deshpc.jit import kernel


class Moments:
    """count, mean, squares (sum of squared deviations from the mean), low and high of the numbers added so far.

    Blocks are merged by the update of Chan, Golub and LeVeque, which loses no digits to a large mean.
    """

    def __init__(self):
        self.count, self.mean, self.squares, self.low, self.high = 0, 0.0, 0.0, np.inf, -np.inf

    def add(self, numbers):
        """Take (n) float32 or float64, NaN where missing."""
        count, mean, squares, low, high = _moments(numbers)
        if count == 0:
            return
        difference, total = mean - self.mean, self.count + count
        self.squares += squares + difference * difference * self.count * (count / total)
        self.mean = self.mean * (self.count / total) + mean * (count / total)
        self.count, self.low, self.high = total, min(self.low, low), max(self.high, high)


@kernel
def _moments(numbers):
    count = 0
    low, high = np.inf, -np.inf
    for x in numbers:
        if not np.isnan(x):
            count += 1
            low = min(low, np.float64(x))
            high = max(high, np.float64(x))
    mean = 0.0
    for x in numbers:
        if not np.isnan(x):
            mean += np.float64(x) / count  # a sum of large numbers might overflow
    squares = 0.0
    for x in numbers:
        if not np.isnan(x):
            squares += (np.float64(x) - mean) ** 2
    return count, mean, squares, low, high
