"""A data set scored by a model, with what its metrics need of the samples."""

import numpy as np

from deshpc.comm.shares import slice_of
from deshpc.data.reader import Reader
from deshpc.metrics.scores import Scored
from deshpc.training.step import scores


def reads_of(model):
    """Function B -> (begin, end) of the samples that this rank reads of a batch of B."""
    if model.routing.reads_whole_batch:
        return lambda total: (0, total)
    return lambda total: slice_of(total, model.group.size, model.group.rank)


def scored_samples(model, dataset, batch_samples, fields=None):
    """This rank's share of a Dataset as Scored; nothing is inserted, unseen keys contribute zero.  Collective.

    fields : {name: number} of the key fields whose keys are wanted, of which every sample has one
    """
    share, own = _Share(model, dataset, fields or {}), []
    reader = Reader(dataset, batch_samples, reads_of(model), model.backend.host_buffers)
    for routed, logit in scores(model, share.noted(reader.epoch(0))):
        begin, end = slice_of(routed.samples, model.group.size, model.group.rank)
        if not model.exchange.whole_top:
            begin, end = 0, end - begin
        own.append(model.backend.host(logit[begin:end]))
    return share.scored(np.concatenate(own) if own else np.zeros(_like(model)))


def _like(model):
    """Shape of the labels and logits of no samples."""
    return (0, len(model.tasks)) if model.tasks else (0,)


class _Share:
    """Keeps what is to be known of the samples of this rank's share as batches are read, before their arrays are used again."""

    def __init__(self, model, dataset, fields):
        self._group, self._whole, self._fields = model.group, model.routing.reads_whole_batch, fields
        self._wanted = ["labels", *["weights"] * dataset.has_weights, *["truth"] * dataset.has_truth]
        self._parts = {name: [np.zeros(0, np.float32)] for name in self._wanted}
        self._parts["labels"] = [np.zeros(_like(model), np.float32)]
        self._keys = {name: [np.zeros(0, np.uint64)] for name in fields}

    def noted(self, batches):
        """Yield the batches."""
        for batch in batches:
            home = batch.share(*slice_of(len(batch), self._group.size, self._group.rank)) if self._whole else batch
            for name in self._wanted:
                self._parts[name].append(getattr(home, name).copy())
            for name, number in self._fields.items():
                self._keys[name].append(_keys_of(home, number))
            yield batch

    def scored(self, logits):
        """The Scored of all batches."""
        arrays = {name: np.concatenate(parts) for name, parts in self._parts.items()}
        return Scored(logits, keys={name: np.concatenate(parts) for name, parts in self._keys.items()}, **arrays)


def _keys_of(batch, field):
    """(n) uint64: each sample's key in a field of one key a sample, of a batch in order, whose occurrences lie side by side."""
    if not len(batch):
        return np.zeros(0, np.uint64)
    own = slice(int(batch.begins[0]), int(batch.ends[-1]))
    return batch.keys[own][batch.fields[own] == field]
