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
        self.merge(*_moments(numbers))

    def merge(self, count, mean, squares, low, high):
        """Take the moments of a block."""
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


@kernel
def column_moments(matrix):
    """count, mean, squares, low and high of each column, as `Moments` has them: (n, k) float32, NaN where missing, of numbers
    whose sum does not overflow  ->  (k, 5) float64

    Without branches, since which numbers are missing cannot be predicted.
    """
    n, k = matrix.shape
    count, total, squares = np.zeros(k), np.zeros(k), np.zeros(k)
    low, high = np.full(k, np.inf, np.float32), np.full(k, -np.inf, np.float32)
    for i in range(n):
        row = matrix[i]
        for j in range(k):
            x = row[j]
            present = not np.isnan(x)
            count[j] += 1.0 if present else 0.0
            total[j] += np.float64(x) if present else 0.0
            low[j] = x if x < low[j] else low[j]
            high[j] = x if x > high[j] else high[j]
    mean = total / np.maximum(count, 1.0)
    for i in range(n):
        row = matrix[i]
        for j in range(k):
            difference = np.float64(row[j]) - mean[j]
            squares[j] += difference * difference if not np.isnan(row[j]) else 0.0
    moments = np.empty((k, 5))
    moments[:, 0], moments[:, 1], moments[:, 2], moments[:, 3], moments[:, 4] = count, mean, squares, low, high
    return moments
