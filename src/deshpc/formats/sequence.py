"""Sequences: which values of a sample are taken, its newest ones, and what each counts.  NumPy alone, since a predictor does the same."""

import numpy as np


def recency_weights(field):
    """(length) float32: the weights of a sequence's values, the newest first.  field : FieldConfig"""
    return (field.recency ** np.arange(field.length, dtype=np.float64)).astype(np.float32)


def newest(offsets, field):
    """(places (taken) int64, offsets of these (n + 1) int64, weights (taken) float32, None where all are 1) of a sequence's newest values.

    offsets : (n + 1) int64, of all values of n samples
    field : FieldConfig
    Values stay in their order.
    """
    lengths = np.diff(offsets)
    taken = np.minimum(lengths, field.length)
    ends = np.cumsum(taken)
    begins = offsets[:-1] + (lengths - taken if field.newest == "last" else 0)
    position = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - taken, taken)
    age = np.repeat(taken, taken) - 1 - position if field.newest == "last" else position
    weights = recency_weights(field)[age] if field.recency < 1 else None
    return np.repeat(begins, taken) + position, np.concatenate([[0], ends]).astype(np.int64), weights
