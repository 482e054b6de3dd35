"""Keys that training has never had: which share of a part's keys has no row in the table.

A pass of its own over the keys, in blocks of rows.  Each rank takes its share of a block and asks for its distinct keys at ranks that
know of them, one bit a key comes back, and the asking ranks count occurrences.  The asked ranks remember the distinct keys, 8 bytes
each, and count them at the end.  It depends neither on the exchange, nor on how rows are split.
"""

import numpy as np

from deshpc.comm.ledger import Traffic
from deshpc.comm.shares import slice_of
from deshpc.config.schema import OF_VALUES
from deshpc.data.reader import Reader
from deshpc.hashing.key_fields import fields_of
from deshpc.metrics.results import UnseenKeys
from deshpc.metrics.sorted_scores import exchange_records

_BLOCK_ROWS = 16_384  # of a rank
_BLOCK_KEYS = 65_536
_COUNTED = (*OF_VALUES, "cross")  # any number has a bucket, and nearly every bucket has a row
_KEYS = Traffic("unseen keys", "metrics", "eval")


def unseen_keys(model, dataset, fields, block_rows=_BLOCK_ROWS):
    """[UnseenKeys] of those key fields whose keys are hashes of values, with those of fields that share them.  Collective; no batch may be under way.

    model : Model;  dataset : Dataset, the same on all ranks
    fields : FieldConfigs and CrossConfigs of all fields that have keys, in their order
    block_rows : rows of a rank that are worked on at a time
    Sent: each distinct key of a rank's share of a block once, 8 bytes, and a bit for each.
    """
    group, counted = model.group, np.array([field.kind in _COUNTED for field in fields], bool)
    if not counted.any():
        return []
    reader = Reader(dataset, block_rows * group.size, lambda total: slice_of(total, group.size, group.rank), model.backend.host_buffers)
    occurrences, asked = np.zeros((2, len(fields)), np.int64), _Distinct()
    for batch in reader.epoch(0):
        model.enter("look for unseen keys")
        keys, counts = np.unique(_keys(batch, counted), return_counts=True)
        held = _ask(group, model.table, keys, asked)
        of_field = fields_of(keys)
        np.add.at(occurrences[0], of_field, counts)
        np.add.at(occurrences[1], of_field[~held], counts[~held])
    distinct = np.zeros((2, len(fields)), np.int64)
    for keys in asked.blocks():
        of_field = fields_of(keys)
        distinct[0] += np.bincount(of_field, minlength=len(fields))
        distinct[1] += np.bincount(of_field[~model.table.holds(keys, of_field)], minlength=len(fields))
    found = group.sum(np.concatenate([occurrences, distinct]).reshape(-1), _KEYS).reshape(4, -1)
    own = np.array([not field.share for field in fields], bool)
    return [UnseenKeys(fields[number].name, *found[:, number].tolist()) for number in np.flatnonzero(counted & own).tolist()]


def _keys(batch, counted):
    """Keys of the counted fields of a batch, whose occurrences lie side by side."""
    if not len(batch):
        return np.zeros(0, np.uint64)
    own = slice(int(batch.begins[0]), int(batch.ends[-1]))
    return batch.keys[own] if counted.all() else batch.keys[own][counted[batch.fields[own]]]


def _ask(group, table, keys, asked):
    """(n) bool, whether keys (n), distinct ones, have rows; those that this rank is asked for are remembered.  Collective."""
    rank = table.asked(keys, fields_of(keys))
    order = np.argsort(rank, kind="stable")
    counts = np.bincount(rank, minlength=group.size)
    if group.size == 1:
        asked.add(keys)
        return table.holds(keys, fields_of(keys))
    received, of_ranks = exchange_records(group, keys[order], counts, _KEYS)
    asked.add(received)
    answers = [np.packbits(one) for one in np.split(table.holds(received, fields_of(received)), np.cumsum(of_ranks)[:-1])]
    sizes = -(-counts // 8)
    bits = np.empty(int(sizes.sum()), np.uint8)
    sent = np.array([len(one) for one in answers], np.int64)
    group.exchange_bytes(np.concatenate(answers), sent, bits, sizes, [(_KEYS, sent)]).wait()
    parts = np.split(bits, np.cumsum(sizes)[:-1])
    held = np.empty(len(keys), bool)
    held[order] = np.concatenate([np.unpackbits(part, count=count) for part, count in zip(parts, counts.tolist(), strict=True)]).astype(bool)
    return held


class _Distinct:
    """Distinct keys of what is added, block by block: in time that hardly depends on the number of blocks."""

    def __init__(self):
        self._keys, self._waiting, self._waiting_keys = np.zeros(0, np.uint64), [], 0

    def add(self, keys):
        self._waiting.append(np.unique(keys))
        self._waiting_keys += len(self._waiting[-1])
        if self._waiting_keys > len(self._keys):
            self._join()

    def blocks(self):
        """Yield all keys, so many at a time."""
        self._join()
        for begin in range(0, len(self._keys), _BLOCK_KEYS):
            yield self._keys[begin : begin + _BLOCK_KEYS]

    def _join(self):
        self._keys = np.unique(np.concatenate([self._keys, *self._waiting]))
        self._waiting, self._waiting_keys = [], 0
