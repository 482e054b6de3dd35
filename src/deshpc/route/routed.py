"""What routing a global batch gives a rank, whatever the way the keys took."""

from collections import Counter
from dataclasses import dataclass
from itertools import cycle

import numpy as np

from deshpc.backend.arguments import KeyLists
from deshpc.backend.values import value_shape
from deshpc.data.batch import Batch
from deshpc.route.seats import Seats


@dataclass(frozen=True)
class OwnedKeys:
    """What one shard has been sent of a global batch.

    keys (n) uint64, fields (n) uint16;  weighted : whether the batch's occurrences have values
    offsets : (B + 1) int64, occurrences of each sample, or None: occurrences stay with their samples (`Requests`)
    occurrences : (nnz) int32, which of `keys` each occurrence is, or None
    values : of the occurrences, see `backend.values`
    """

    keys: np.ndarray
    fields: np.ndarray
    weighted: bool
    offsets: np.ndarray | None = None
    occurrences: np.ndarray | None = None
    values: np.ndarray | None = None


@dataclass(frozen=True)
class WholeBatch:
    """What one shard owns of a batch that this rank holds: it is picked out of all samples while it is looked up.

    seats : Seats, None where every occurrence has that of its key's field
    """

    batch: Batch
    partition: tuple
    owner: int
    seats: Seats | None = None


@dataclass(frozen=True)
class ListedKeys:
    """What one shard owns of a batch whose keys lie in lists.

    lists : KeyLists
    samples : B
    like : None, or values of other occurrences, in the form that these have
    """

    lists: KeyLists
    samples: int
    like: np.ndarray | None


@dataclass(frozen=True)
class HomeKeys:
    """This rank's samples as one of its threads sees them: the occurrences whose owner is shard s of any rank.

    offsets : (b + 1) int64
    occurrences : (nnz) int32, place in the list of unique keys
    values : of these
    unique : length of that list, which is grouped by owner rank, inside a rank as the request lists them
    counts : (N, F) int32, keys of each owner rank and field, in which order the list has them
    seats : (nnz) uint16, see `backend.arguments.Occurrences`
    """

    offsets: np.ndarray
    occurrences: np.ndarray
    values: np.ndarray | None
    unique: int
    counts: np.ndarray
    seats: np.ndarray | None = None


@dataclass(frozen=True)
class Requests:
    """Who asks whom for how many rows.  home : HomeKeys of each thread
    asked : (N, shards) int64, keys that each home rank asks of this rank's shards
    asking : (N, shards) int64, keys that this rank asks of each rank's shards
    """

    home: list
    asked: np.ndarray
    asking: np.ndarray


@dataclass(frozen=True)
class RoutedBatch:
    """A global batch of `samples` samples at this rank.

    home : the rank's share of the batch
    shards : OwnedKeys, WholeBatch or ListedKeys of each of its shards
    labels (n), dense (n, n_dense) : of the samples that this rank's top works on, all of them or its share
    requests : where rows travel, else None
    replicated : occurrences of replicated fields in the samples of this rank's top, where there are such fields
    weights : (n) float32 of the same samples as labels, where they are learnt from; None where all are 1
    lengths : (n, S) int32 of the same samples, in host memory, see `Seats.lengths`;  None where no sequence's values stay apart
    """

    step: int
    samples: int
    home: Batch
    labels: np.ndarray
    dense: np.ndarray
    shards: list
    requests: Requests | None = None
    replicated: Batch | None = None
    weights: np.ndarray | None = None
    lengths: np.ndarray | None = None


class KeyCounts:
    """How many keys home ranks have met: what bytes of routing depend on.  Kept by direction, "forward" or "eval".

    steps;  unique : distinct keys of this rank's shares, 0 where all occurrences travel;  occurrences : every one
    (unique, level), (occurrences, level) : those of another rank's, which is on that level: see `comm.levels`
    (whole, level), (short, level) : of keys on such ways, those that travel as they are, and bytes of the numbers of the others
    (numbers, level), (values, level) : bytes of what occurrences are in messages to such ranks, and of their values
    """

    def __init__(self):
        self._counts = {}

    def add(self, direction, unique, occurrences, away):
        """Count one batch.  away : {name: {level: number}}"""
        counts = self._counts.setdefault(direction, Counter())
        counts["steps"] += 1
        counts["unique"] += unique
        counts["occurrences"] += occurrences
        for name, numbers in away.items():
            for level, number in numbers.items():
                counts[name, level] += number

    def of(self, direction):
        """Counter of the numbers, by their names."""
        return self._counts.get(direction, Counter())


def values_like(values, occurrences, buffers):
    """Room for values of so many occurrences in the form of `values`: None where there are none."""
    return None if values is None else buffers.array("values", value_shape(values, occurrences), np.float32)


def turns_of_buffers(backend, count, valid):
    """Endless turns of lists of `count` sets of buffers.  valid : batches that are routed or worked on at a time, a list for each"""
    return cycle([[backend.buffers() for _ in range(count)] for _ in range(valid)])
