"""Samples of norm 1 (`data.normalise_samples`): what stands beside a sample's keys, and its dense features, divided by

    sqrt(sum of x^2 over its keys + sum of x_d^2 over its dense features)

x being the values for embeddings, also of crosses.  Values for linear weights are divided by the same number.  A sample of zeros stays as it is.
"""

import math

import numpy as np

from deshpc.jit import kernel


def normalise(offsets, values, dense):
    """Divide in place: values (nnz) or (nnz, 2) float32, those of sample i at offsets[i] .. offsets[i + 1], and dense (n, n_dense) float32."""
    _normalise(offsets, values if values.ndim == 2 else values[:, None], dense)


@kernel
def _normalise(offsets, values, dense):
    for row in range(len(dense)):
        total = 0.0
        for i in range(offsets[row], offsets[row + 1]):
            total += np.float64(values[i, 0]) * np.float64(values[i, 0])
        for d in range(dense.shape[1]):
            total += np.float64(dense[row, d]) * np.float64(dense[row, d])
        if total > 0:
            norm = math.sqrt(total)
            for i in range(offsets[row], offsets[row + 1]):
                for j in range(values.shape[1]):
                    values[i, j] = np.float64(values[i, j]) / norm
            for d in range(dense.shape[1]):
                dense[row, d] = np.float64(dense[row, d]) / norm
