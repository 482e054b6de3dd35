"""One step's samples, or a rank's share of them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from deshpc.backend.arguments import SparseFeatures


@dataclass(frozen=True)
class Batch:
    """n samples, whose occurrences lie anywhere in shared arrays: usually those of the data set, nothing is copied.

    step           : number of the step, from 0, the same for any number of ranks
    global_samples : B, the samples of the whole step
    samples        : (n) int64   global sample ids: row numbers in the data set
    begins, ends   : (n) int64   sample i holds occurrences begins[i] .. ends[i] of keys, fields and values
    keys           : uint64
    fields : uint16
    values : see `backend.values`
    dense          : (n, n_dense) float32
    labels : (n) float32, or (n, T), see `Dataset`
    truth : (n) float32 or None
    weights : (n) float32, what each sample counts; None where all count 1
    host           : the same samples in host memory, where this batch's arrays are a device's; then its occurrences lie side
                     by side, and begins and ends are views of one array of offsets, whose first is that of the first key
    """

    step: int
    global_samples: int
    samples: np.ndarray
    begins: np.ndarray
    ends: np.ndarray
    keys: np.ndarray
    fields: np.ndarray
    values: np.ndarray | None
    dense: np.ndarray
    labels: np.ndarray
    truth: np.ndarray | None = None
    weights: np.ndarray | None = None
    host: "Batch | None" = None

    def __len__(self):
        return len(self.labels)

    @cached_property
    def occurrences(self):
        """Number of key occurrences of all samples."""
        return self.on_host.lengths(0, len(self))

    @property
    def sparse(self):
        """The SparseFeatures of the samples."""
        return SparseFeatures(self.begins, self.ends, self.keys, self.fields, self.values)

    def lengths(self, begin, end):
        """Occurrences of samples begin .. end of a batch in host memory."""
        return int((self.ends[begin:end] - self.begins[begin:end]).sum())

    @property
    def on_host(self):
        """This batch in host memory."""
        return self if self.host is None else self.host

    @property
    def _arrays(self):
        return self.begins, self.ends, self.keys, self.fields, self.values, self.dense, self.labels, self.weights

    def start_on(self, backend):
        """Start bringing this batch to where the backend computes; it is the next one that goes there."""
        backend.start_upload(self._arrays)

    def on(self, backend):
        """This batch where the backend computes; valid until three more have been put there."""
        arrays = self._arrays
        placed = backend.upload(arrays)
        if placed is arrays:
            return self
        *features, weights = placed
        return Batch(self.step, self.global_samples, self.samples, *features, self.truth, weights, self)

    def share(self, begin, end):
        """Samples begin .. end of this batch, as views; itself where these are all."""
        if begin == 0 and end == len(self):
            return self
        own = slice(None)
        if self.host is not None:
            first = self.host.lengths(0, begin)
            own = slice(first, first + self.host.lengths(begin, end))
        return Batch(
            self.step,
            self.global_samples,
            self.samples[begin:end],
            self.begins[begin:end],
            self.ends[begin:end],
            self.keys[own],
            self.fields[own],
            None if self.values is None else self.values[own],
            self.dense[begin:end],
            self.labels[begin:end],
            None if self.truth is None else self.truth[begin:end],
            None if self.weights is None else self.weights[begin:end],
            None if self.host is None else self.host.share(begin, end),
        )
