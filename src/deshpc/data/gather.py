"""Copy chosen rows of a data set into contiguous arrays: the samples of a batch, in their order."""

import numpy as np

from deshpc.jit import kernel


@kernel
def gathered_offsets(rows, offsets, out_offsets):
    """out_offsets (n + 1) of the rows (n) taken in order; returns their number of occurrences."""
    total = 0
    out_offsets[0] = 0
    for i in range(len(rows)):
        total += offsets[rows[i] + 1] - offsets[rows[i]]
        out_offsets[i + 1] = total
    return total


@kernel
def gather_rows(
    rows, offsets, keys, fields, values, dense, labels, truth,
    out_offsets, out_keys, out_fields, out_values, out_dense, out_labels, out_truth,
):  # fmt: skip
    """Fill the outputs with the given rows; values and truth may be None."""
    n_dense = dense.shape[1]
    for i in range(len(rows)):
        row = rows[i]
        shift = out_offsets[i] - offsets[row]
        for j in range(offsets[row], offsets[row + 1]):
            out_keys[j + shift] = keys[j]
            out_fields[j + shift] = fields[j]
            if values is not None:
                out_values[j + shift] = values[j]
        for f in range(n_dense):
            out_dense[i, f] = dense[row, f]
        out_labels[i] = labels[row]
        if truth is not None:
            out_truth[i] = truth[row]
    return np.int64(len(rows))
