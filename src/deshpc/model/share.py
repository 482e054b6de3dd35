"""What a rank's rows hold of every sample's embeddings, where operators above them are computed by owners."""

from typing import NamedTuple

import numpy as np

from deshpc.comm.shares import slice_of


class Share(NamedTuple):
    """A rank's fields and columns of the F k pooled embeddings.

    split : "key" (every owner has a part of everything), "field" or "column"
    fields : int64, ascending
    columns : (begin, end) of each embedding's k
    has_rest : whether the share has whatever is nobody's: that of rank 0
    inputs : rows of a layer's weights, F k of them and more, that belong to these: a slice, or int64 numbers
    """

    split: str
    fields: np.ndarray
    columns: tuple[int, int]
    has_rest: bool
    inputs: object

    @property
    def n_fields(self):
        return len(self.fields)

    @property
    def dim(self):
        return self.columns[1] - self.columns[0]

    @classmethod
    def of(cls, split, partition, rank, n_fields, dim):
        """The share of `rank`; there are as many columns as ranks at least."""
        fields, columns = np.arange(n_fields), (0, dim)
        if split == "field":
            fields = partition.fields_of(rank)
        elif split == "column":
            columns = slice_of(dim, partition.ranks, rank)
        inputs = (dim * fields[:, None] + np.arange(*columns)).ravel()
        if (np.diff(inputs) == 1).all():  # read where they lie, not copied
            inputs = slice(int(inputs[0]), int(inputs[-1]) + 1) if len(inputs) else slice(0, 0)
        return cls(split, fields, columns, rank == 0, inputs)
