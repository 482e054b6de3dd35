"""One step's samples, or a rank's share of them."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Batch:
    """n samples: rows of compressed sparse keys, as in `Dataset`.

    step           : number of the step, from 0, the same for any number of ranks
    global_samples : B, the samples of the whole step
    samples        : (n) int64      global sample ids: row numbers in the data set
    offsets        : (n + 1) int64  sample i holds occurrences offsets[i] .. offsets[i + 1]
    keys           : (nnz) uint64;  fields : (nnz) uint16;  values : (nnz) float32 or None (all 1)
    dense          : (n, n_dense) float32;  labels : (n) float32
    """

    step: int
    global_samples: int
    samples: np.ndarray
    offsets: np.ndarray
    keys: np.ndarray
    fields: np.ndarray
    values: np.ndarray | None
    dense: np.ndarray
    labels: np.ndarray
    truth: np.ndarray | None = None

    def __len__(self):
        return len(self.labels)

    def share(self, begin, end):
        """Samples begin .. end of this batch, as views."""
        first, last = self.offsets[begin], self.offsets[end]
        return Batch(
            self.step,
            self.global_samples,
            self.samples[begin:end],
            self.offsets[begin : end + 1] - first,
            self.keys[first:last],
            self.fields[first:last],
            None if self.values is None else self.values[first:last],
            self.dense[begin:end],
            self.labels[begin:end],
            None if self.truth is None else self.truth[begin:end],
        )
