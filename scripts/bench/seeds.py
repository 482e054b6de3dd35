"""Runs that differ in their seed alone, as text."""

import statistics


def spread(numbers):
    """Mean and standard deviation of numbers, one of each seed: "0.7465 (0.0008)"."""
    return f"{statistics.mean(numbers):.4f} ({statistics.stdev(numbers) if len(numbers) > 1 else 0.0:.4f})"
