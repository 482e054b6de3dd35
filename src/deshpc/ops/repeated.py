"""Fields of which a batch has few distinct rows: their products with a first layer's weights are made once a row.

A layer's product with a row costs as much as adding it to some samples, so it pays where a row repeats more often than that.
Chosen fields come first in a state, so that what is left of x_0 is one matrix:   [ c | chosen E | other E | dense ]
"""

import numpy as np

from deshpc.comm.ledger import Traffic

REPEATS = 8
"""Occurrences that a field's rows must have on average, to be chosen."""

MOST_ROWS = 4096
"""Rows of all chosen fields together: their products should stay in a core's cache."""


_TRAFFIC = Traffic("batch", "control", "forward")


class RepeatedRows:
    """What a batch repeats: fields, and the rows of each shard.

    fields : [(field, first slot, end)], in their order
    rows (R, k) : their embeddings, of the compute type
    shards : [(ShardRows, slots (distinct) int32)]
    order (F) : all fields, in the order in which a state has them
    """

    def __init__(self, fields, rows, shards, order):
        self.fields, self.rows, self.shards, self.order = fields, rows, shards, order

    @property
    def columns(self):
        """Numbers of the chosen fields' embeddings in a sample."""
        return len(self.fields) * self.rows.shape[1]

    def remaining_inputs(self, n_dense):
        """(n) int64: the inputs of x_0 that are left, by their numbers in the order of fields."""
        dim, others = self.rows.shape[1], self.order[len(self.fields) :]
        pooled = dim * others[:, None] + np.arange(dim)
        return np.concatenate([pooled.ravel(), dim * len(self.order) + np.arange(n_dense)]).astype(np.int64)


def find_repeated(backend, form, n_fields, shards, scratch, group):
    """The RepeatedRows of a batch's ShardRows; None where no field is worth it.

    form : WeightForm of the table
    All ranks choose the same fields, so that a sample is rounded alike at each of them.  Sent: 8 (F + 1) (N - 1) bytes.  Collective.
    """
    own = np.zeros(n_fields + 1, np.int64)
    distinct = own[:-1]
    for shard in shards:
        occurrences = shard.occurrences
        backend.repeated.count_rows(occurrences.fields, distinct)
        own[-1] += int(occurrences.offsets[-1] - occurrences.offsets[0])
    chosen = _chosen(group.gather_numbers(own, _TRAFFIC).wait())
    if not chosen:
        return None
    stretches, next_slot, begin = [], np.full(n_fields, -1, np.int64), 0
    for field in chosen:
        stretches.append((field, begin, begin + int(distinct[field])))
        next_slot[field] = begin
        begin += int(distinct[field])
    rows, of_shards = scratch.array("repeated", (begin, form.dim), form.zero.dtype), []
    for s, shard in enumerate(shards):
        fields, addresses = shard.occurrences.fields, shard.occurrences.addresses
        slots = scratch.array(f"slots {s}", len(addresses), np.int32)
        backend.repeated.take_rows(form, fields, addresses, next_slot, slots, rows)
        of_shards.append((shard, slots))
    others = [field for field in range(n_fields) if next_slot[field] < 0]
    return RepeatedRows(stretches, rows, of_shards, np.array(chosen + others, np.int64))


def _chosen(counts):
    """Numbers of the fields whose rows repeat enough, those of fewest rows first.

    counts (N, F + 1) : each rank's distinct rows of every field, and its occurrences
    One-hot fields have as many occurrences each; where fields differ this is an estimate, which costs time at worst.
    """
    distinct, occurrences, n_fields = counts[:, :-1].sum(axis=0), counts[:, -1].sum(), counts.shape[1] - 1
    chosen, rows = [], np.zeros(len(counts), np.int64)
    for field in np.argsort(distinct, kind="stable").tolist():
        rows += counts[:, field]
        if rows.max() > MOST_ROWS or distinct[field] * REPEATS * n_fields > occurrences:
            break
        if distinct[field]:
            chosen.append(field)
    return chosen
