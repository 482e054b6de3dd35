"""The values of occurrences: what stands beside each key of a sample, in one of three forms of one array.

    values            value of the embedding   value of the linear weight   value_width
    None              1                        1                            0
    (nnz) float32     values[j]                values[j]                    1
    (nnz, 2) float32  values[j, 0]             values[j, 1]                 2
"""

FEW_VALUES = 256
"""Distinct values that a message may have where they travel as numbers of a table, at most."""


def value_width(values):
    """Numbers that each occurrence has: 0, 1 or 2.  Also inside kernels, where it is a constant."""
    return 0 if values is None else values.ndim


def value_shape(values, occurrences):
    """Shape of an array of the form of `values` (not None) for so many occurrences."""
    return (occurrences, *values.shape[1:])
