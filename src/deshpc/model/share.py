"""What a rank's rows hold of every sample's embeddings, where operators above them are computed by owners."""

from typing import NamedTuple

import numpy as np

from deshpc.comm.shares import slice_of


class Share(NamedTuple):
    """A rank's fields and columns of the F k pooled embeddings.

    split : "key" (every owner has a part of everything), "field" or "column"
    fields : (begin, end)
    columns : (begin, end) of each embedding's k
    has_rest : whether the share has whatever is nobody's: that of rank 0
    inputs : rows of a layer's weights, F k of them and more, that belong to these: a slice, or int64 numbers
    """

    split: str
    fields: tuple[int, int]
    columns: tuple[int, int]
    has_rest: bool
    inputs: object

    @property
    def n_fields(self):
        return self.fields[1] - self.fields[0]

    @property
    def dim(self):
        return self.columns[1] - self.columns[0]

    @classmethod
    def of(cls, split, partition, rank, n_fields, dim):
        """The share of `rank`; there are as many columns as ranks at least."""
        fields, columns = (0, n_fields), (0, dim)
        inputs = slice(0, n_fields * dim)
        if split == "field":
            fields = partition.fields_of(rank)
            inputs = slice(fields[0] * dim, fields[1] * dim)
        elif split == "column":
            columns = slice_of(dim, partition.ranks, rank)
            inputs = (dim * np.arange(n_fields)[:, None] + np.arange(*columns)).ravel()
        return cls(split, fields, columns, rank == 0, inputs)
