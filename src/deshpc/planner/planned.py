"""A model as ranks would have it that are not there: built by this process alone, without MPI, and never trained."""

import math
from functools import cache
from typing import NamedTuple

import numpy as np

from deshpc.backend.open import open_backend
from deshpc.comm.levels import OneLevel, TwoLevels
from deshpc.comm.node_map import NodeMap
from deshpc.model.build import build_model, replicated_fields
from deshpc.plan.cost import KeysAway, training_bytes
from deshpc.planner.key_numbers import whole_and_short
from deshpc.planner.shape import run_of
from deshpc.route.key_numbers import bytes_of_rank

INDEX_BYTES = 21
"""Of a row in its table's index: buckets of 64 bytes hold 7 rows and are between 31 and 62 % full, since their number doubles."""


class PlannedGroup:
    """What a model asks of a `Group` before it exchanges anything.  rank 0 of `nodes`, a NodeMap"""

    rank = 0

    def __init__(self, nodes, levels):
        self.nodes, self.size = nodes, nodes.size
        self.levels = TwoLevels(nodes) if levels == "two" else OneLevel(nodes.size, 0)


class Need(NamedTuple):
    """What a training step of a Choice needs.

    run : `plan.cost.Run`, of one step
    sent : [`plan.cost.Bytes`] of all ranks in that step, in expectation
    memory : {what: bytes of a rank}
    top, of_owners : multiplications of the dense layers for one sample, forward: at the top, and of an owner's part
    owned_rows : distinct keys of the global batch at the busiest owner
    uneven : `Uneven`
    """

    run: object
    sent: list
    memory: dict
    top: int
    of_owners: float
    owned_rows: float
    uneven: object


class Uneven(NamedTuple):
    """What the busiest rank has over the mean of all, of key occurrences, of a local batch's distinct keys, and of pooled numbers.

    Split by key, frequent keys make it busy; by field, fields with many keys.
    """

    occurrences: float = 1.0
    distinct: float = 1.0
    pooled: float = 1.0


def node_map(ranks, nodes):
    """The NodeMap of ranks in blocks on so many nodes."""
    return NodeMap(0, [rank * nodes // ranks for rank in range(ranks)])


def need_of(config, workload, nodes, backend=None):
    """(Need of a configuration whose options are chosen, bytes of a row's record).

    workload : Workload of the training part
    nodes : NodeMap
    """
    backend = backend or open_backend("cpu", config.compute.threads_per_rank or 1)
    group, batch = PlannedGroup(nodes, config.train.levels), config.train.global_batch_samples
    model = build_model(
        config, backend, group, len(workload.fields), workload.n_dense, field_names=workload.field_names, several_nodes=len(nodes.members) > 1,
        field_keys=np.array([field.keys_per_sample for field in workload.fields]), key_fields=workload.key_fields,
    )  # fmt: skip
    run = run_of(model, config, ((batch, 1),), len(workload.fields), workload.n_dense, workload.value_width, has_weights(config))
    partition, replicated = model.table.partition, replicated_fields(config.model, workload.field_names)
    away = keys_away(run, workload, nodes, replicated, config.train, _dealt_fields(partition))
    everyone_has_all = config.train.split == "column"
    owners, uneven = 1 if everyone_has_all else nodes.size, _uneven(partition, run, workload)
    need = Need(
        run, training_bytes(run, away) if nodes.size > 1 else [], _memory(model, run, workload, owners, batch),
        *_multiplications(model, config.train.split), uneven.distinct * workload.distinct(batch) / owners, uneven,
    )
    return need, model.table.layout.record_bytes


def _uneven(partition, run, workload):
    """The Uneven of a partition of a workload's keys."""
    n, widths = run.ranks, run.field_widths
    pooled = n * max(widths) / sum(widths) if widths and sum(widths) else 1.0
    if partition.split == "column" or n == 1:
        return Uneven(pooled=pooled)
    if partition.split == "key":
        return Uneven(workload.busiest(n), 1.0, pooled)
    rank_of, fields = partition.owner_of_field // partition.shards, workload.fields
    return Uneven(
        _over_mean(rank_of, [field.keys_per_sample for field in fields], n),
        _over_mean(rank_of, [workload.distinct_of(field, run.samples / n) for field in range(len(fields))], n), pooled,
    )  # fmt: skip


def _over_mean(ranks, counts, n):
    """The largest of n sums of counts by rank, over their mean."""
    return float(np.bincount(ranks, counts, n).max()) * n / max(1e-9, sum(counts))


def has_weights(config):
    """Whether samples that are learnt from have weights: of a column, of their class, or of negatives that stand for others."""
    train = config.train
    sampled = train.negative_sampling < 1 and train.sampling_correction == "weights"
    return bool(config.data.weight or train.class_weights) or sampled


def _dealt_fields(partition):
    """[fields of each rank], None where every rank has keys of all."""
    return [partition.fields_of(rank) for rank in range(partition.ranks)] if partition.split == "field" else None


def keys_away(run, workload, nodes, replicated=None, train=None, dealt=None):
    """{level: KeysAway} of one step, in expectation: every owner has an equal part of the keys, or those of its fields.

    replicated : (F) bool, of fields whose rows are everywhere, or None
    train : TrainConfig, of the run whose mean step it is: at first no key has a number, and later most have.  None: of one epoch
    dealt : [fields of each rank], where they are split by field
    """
    n, everywhere = nodes.size, np.zeros(len(workload.fields), bool) if replicated is None else replicated
    sharded = np.flatnonzero(~everywhere)

    def of_all(samples):
        return sum(workload.distinct_of(field, samples) for field in np.flatnonzero(everywhere))

    def distinct(samples):
        return workload.distinct(samples) - of_all(samples)

    shares = [samples for batch, _ in run.batches for samples in _shares(batch, n)]
    unique, samples = sum(map(distinct, shares)), sum(shares)
    occurrences = samples * sum(workload.fields[field].keys_per_sample for field in sharded)
    share, near = samples / max(1, len(shares)), sum(len(nodes.members[number]) - 1 for number in nodes.numbers) / n / n
    kinds = [_Message.of(workload, sharded, share, n)] if dealt is None else [_Message.of(workload, own[~everywhere[own]], share) for own in dealt]
    far, messages = (n - 1) / n - near, len(shares) * n / len(kinds)  # of a kind, to all ranks
    bits = 32
    if len(nodes.members) > 1:
        bits = sum(one.occurrences * _bits(one.unique) for one in kinds) * messages / max(1e-9, occurrences)
    whole, short, values = 1.0, 0.0, 4 * run.value_width * occurrences
    tabled = sum(one.value_bytes(run.value_width) for one in kinds) * messages if run.tabled else values
    if run.numbered:
        of_run = () if train is None else (train.epochs, train.shuffle)
        whole, short = whole_and_short(cache(distinct), workload.rows, run.samples, n, run.shards if run.moves_rows else 1, *of_run)
    if run.listed:
        unique, whole = occurrences, 1.0
    parts = {"inside": (near, 0.0), "between": (0.0, far)} if run.nodes else {"flat": (near, far)}
    return {
        level: KeysAway(
            unique=round(unique * (here + there)), whole=round(unique * (here + there * whole)), short=round(there * n * n * short),
            numbers=round(occurrences * (here + there) * bits / 8), values=round(values * here + tabled * there),
            replicated=round(sum(map(of_all, shares))),
        )
        for level, (here, there) in parts.items()
    }  # fmt: skip


class _Message(NamedTuple):
    """From a home to an owner, in expectation: its occurrences, distinct keys, and distinct values, None where they are many."""

    occurrences: float
    unique: float
    distinct_values: int | None

    @classmethod
    def of(cls, workload, fields, samples, parts=1):
        """Of so many samples, and one of so many equal parts of the keys of these fields."""
        own = [workload.fields[field] for field in fields]
        few = [field.distinct_values for field in own if field.keys_per_sample]
        return cls(
            samples * sum(field.keys_per_sample for field in own) / parts,
            sum(workload.distinct_of(field, samples) for field in fields) / parts, None if None in few else max(few, default=1),
        )  # fmt: skip

    def value_bytes(self, width):
        """Between nodes: a table and numbers of it, where that is shorter; see `backend.cpu.value_tables`."""
        whole = 4 * width * self.occurrences
        if self.distinct_values is None:
            return whole
        return min(whole, 4 * width * self.distinct_values + self.occurrences * (self.distinct_values - 1).bit_length() / 8)


def _bits(keys):
    """Bits of an occurrence in a message of about so many keys, in expectation: hashing deals them out, as a normal distribution has it."""
    spread = math.sqrt(2 * keys) or 1.0
    return sum(0.5 * math.erfc((2**k + 0.5 - keys) / spread) for k in range(32))


def _shares(samples, ranks):
    return [samples * (rank + 1) // ranks - samples * rank // ranks for rank in range(ranks)]


def _memory(model, run, workload, owners, batch):
    """Rows of the whole training part, dense parameters with their state, states of a batch, a batch's keys, and those that have numbers."""
    rows = workload.distinct(workload.rows) / owners
    record = model.table.layout.record_bytes
    samples = batch if run.whole_top else -(-batch // run.ranks)
    read = -(-batch // run.ranks) if run.routed else batch
    parameters = model.parameters
    return {
        "rows": round(rows * (record + INDEX_BYTES)),
        "dense": 3 * len(parameters.gradient) * run.sum_bytes,
        "states": 3 * (samples if run.moves_rows else batch) * run.state_width * run.sum_bytes,
        "keys": round(read * workload.keys_per_sample * 14),
        "key numbers": bytes_of_rank(workload.distinct(workload.rows), run.ranks) if run.numbered else 0,
    }


def _multiplications(model, split):
    """(at the top, at each owner) for a sample, forward.  Under key split every owner has a part of all inputs; else inputs of its own."""
    matrices = model.parameters.matrices
    owners = sum(count for name, count in matrices.items() if name in model.dense_sums.owner_names)
    return sum(matrices.values()) - owners, owners if split == "key" else owners / model.group.size
