"""Sums of a field-aware factorization machine that are added up over owners: S_f of each field, its vectors for all fields.

partial  S (F G k numbers), beside it c = sum w_j xl_j (linear) - 1/2 sum |v_{j, f_j}|^2 x_j^2, what the pairs inside a field have too much
finish   the tower's affair (`nn.field_aware`), which gives dS and z = dc
adjoint  dv_j = x_j dS_f, and - z x_j^2 v_{j, f_j} to the vector for the own field, dw_j = z xl_j at the owner

So a sample has F G k + 1 numbers, whatever keys it has: for few fields and small k.  Where ranks have whole samples, `ops.ffm` needs one.
"""

from deshpc.backend.weight_form import WeightForm
from deshpc.ops.pool import Pool


class FieldSums(Pool):
    """The operator, with the interface of a `Pool`; its table has G k embedding weights a row."""

    name = "ffm"

    def __init__(self, backend, form, vectors, types, columns, linear, scalar_column=None, of_rank=None):
        """form : WeightForm of the table
        vectors : G
        types : `Types`;  others : of a `Pool`
        """
        super().__init__(backend, form, columns, linear, True, scalar_column, of_rank)
        self.own_terms, self._vectors = False, vectors
        self._pair = WeightForm.of(backend, form.dim // vectors, *types)

    def begin(self, shards, group):
        """No row is worth a product of its own."""

    def add(self, shard, state, scale, begin, end, cleared=0):
        """As `Pool.add`."""
        self._backend.field_sums.partial(
            self._pair, self._vectors, self._linear, shard.occurrences, self._columns, state, begin, end, cleared
        )

    def partial_adjoint(self, shard, state, scale):
        """As `Pool.partial_adjoint`."""
        self._backend.field_sums.partial_adjoint(self._pair, self._vectors, shard.occurrences, self._columns, state, shard.sums)
