"""Pooled embeddings: E_f = sum over the occurrences of field f of v_j x_j, the input of a deep model's tower.

partial  E (F k numbers), beside it c = sum w_j xl_j (linear) - 1/2 sum |v_j|^2 x_j^2 (squares, FM's own terms), if either
finish   the tower's affair (`top.tower`), which gives dE and g = dc
adjoint  dv_j = x_j dE_f [- g x_j^2 v_j], dw_j = g xl_j at the owner

A mean needs nothing more: its x_j are 1 / n_f, which the home rank has written (`formats`), unseen keys counted.
"""

import numpy as np

from deshpc.ops.repeated import find_repeated


class Pool:
    """The operator; its table has `dim` embedding weights a row and, if `linear`, a linear one."""

    name, by_field = "pool", True

    def __init__(self, backend, form, columns, linear, squares, scalar_column=None, of_rank=None):
        """form : WeightForm of the table
        columns : (F) int64, where each field's E begins among those of this rank's fields; -1 for a field of another rank
        scalar_column : whether there is a column for c, if not as linear and squares say
        of_rank : [(begin, end)] of the columns of every rank's fields among those of all, where ranks have different fields
        """
        self._backend, self._form, dim = backend, form, form.dim
        self.scalars, self.own_terms = int(linear), squares
        self._linear, self._squares = linear, squares
        self.embeddings_at = int(linear or squares if scalar_column is None else scalar_column)  # column where E begins
        # an unseen key of any field reads as zeros of field 0, which may be added anywhere
        self._n_fields = len(columns)
        self._by_field = self._columns = backend.array(np.maximum(columns, 0) + self.embeddings_at)
        self._scratch = backend.buffers()
        self.width = self.embeddings_at + int(columns[columns >= 0].max(initial=-dim)) + dim
        self._of_rank = of_rank

    def places_of_ranks(self):
        """[(begin, end)] of every rank's columns of a whole state: those that it has side by side."""
        return [[(self.embeddings_at + begin, self.embeddings_at + end) for begin, end in own] for own in self._of_rank]

    def begin(self, shards, group):
        """Choose the order of fields in the states to come.

        group : where RepeatedRows are wanted, which come first and are returned, the ranks that agree on their fields;  collective then
        """
        self._columns, repeated = self._by_field, None
        if group is not None and self._n_fields:
            repeated = find_repeated(self._backend, self._form, self._n_fields, shards, self._scratch, group)
        if repeated is not None:
            columns = np.empty(self._n_fields, np.int64)
            columns[repeated.order] = self.embeddings_at + self._form.dim * np.arange(self._n_fields)
            self._columns = self._backend.array(columns)
        return repeated

    def partial(self, shards, state, scale, begin, end):
        """Write samples begin .. end of the first columns of `state`: the partials of all `shards`' rows, added up."""
        cleared = self.width
        for shard in shards:
            self.add(shard, state, scale, begin, end, cleared)
            cleared = 0

    def add(self, shard, state, scale, begin, end, cleared=0):
        """Add the partials of one shard's rows to samples begin .. end of `state`, of which so many columns are zeroed before."""
        self._backend.pool.partial(
            self._form, self._linear, self._squares, shard.occurrences, self._columns, state, scale, begin, end, cleared
        )

    def partial_adjoint(self, shard, state, scale):
        """Add the gradients of one shard's rows to its sums; state : gradient of the states."""
        self._backend.pool.partial_adjoint(self._form, shard.occurrences, self._columns, state, shard.sums, scale)

    def magnitude(self, shard):
        """(largest sum of |terms| of a partial of one shard's rows, its sample)."""
        return self._backend.pool.magnitude(
            self._form, self._linear, self._squares, self._n_fields, shard.occurrences
        )

    def largest_factor(self, state, begin, end):
        """1: the terms of row gradients are x dE, g xl and g x^2."""
        return 1.0
