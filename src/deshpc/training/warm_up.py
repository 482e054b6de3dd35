"""Every kernel that a run needs is compiled before its first step, which nobody then waits for."""

from dataclasses import replace

import numpy as np

from deshpc.comm.group import Group
from deshpc.data.dataset import concatenate
from deshpc.data.reader import Reader
from deshpc.model.build import build_model
from deshpc.training.scored_samples import reads_of
from deshpc.training.step import scores, step

_OF_RANK = 64  # samples
_LARGEST_RATE, _LARGEST_STD = 1e-3, 0.01


def warm_up(config, sample, backend, source, nodes):
    """Make tiny steps and evaluations as this rank will, without the others, and read rows out and in.  Not collective.

    The model is thrown away.  What it learns cannot end a run: its samples have the run's keys and no values, its rates are small.
    What a step calls depends on how often the rows of its batch repeat.  So samples are learnt that differ, one sample again and again, and
    batches of one sample a rank.
    sample : Dataset, of which the keys of first rows are learnt
    source : the input, of which fields are
    nodes : NodeMap of the ranks
    """
    if len(sample) == 0:
        return
    config, sample = _calm(config), _without_values(sample.head(_OF_RANK * nodes.size))
    group = Group.mirrored(nodes, config.train.wire)
    group.take_arrays_of(backend)
    model = build_model(
        config, backend, group, source.n_fields, source.n_dense, 1, field_names=[field.name for field in source.schema.keyed_fields],
        key_fields=source.schema.keyed_fields,
    )  # fmt: skip
    rows = _OF_RANK * nodes.size  # as many of each rank
    many, one_a_rank = _first(sample, rows, rows), _first(sample, nodes.size, nodes.size)
    for samples, shuffle in ((many, True), (many, False), (_first(sample, 1, rows), False), (one_a_rank, False)):
        reader = Reader(samples, len(samples), reads_of(model), backend.host_buffers, shuffle=shuffle)
        for batch in reader.epoch(0):
            step(model, batch)
            for _ in scores(model, [batch]):
                pass
    model.table.load(model.table.widened(model.table.export()))
    if model.eviction is not None:
        model.eviction.meet_kernels()
    group.free()


def _first(sample, most, rows):
    """A Dataset of so many rows: the first of `sample`, `most` of them at most, again and again."""
    few = sample.head(most)
    return concatenate([few] * -(-rows // len(few))).head(rows)


def _calm(config):
    """The Config with small first weights and rates."""
    optimizer = config.optimizer
    rates = {name: min(getattr(optimizer, name), _LARGEST_RATE) for name in ("learning_rate", "dense_learning_rate")}
    return replace(
        config,
        model=replace(config.model, init_std=min(config.model.init_std, _LARGEST_STD)),
        optimizer=replace(optimizer, **rates),
    )


def _without_values(sample):
    """The Dataset with 0 for each label and dense feature and 1 for each weight and each key's value."""
    return replace(
        sample,
        values=None if sample.values is None else np.ones_like(sample.values),
        dense=np.zeros_like(sample.dense),
        labels=np.zeros_like(sample.labels),
        weights=None if sample.weights is None else np.ones_like(sample.weights),
    )
