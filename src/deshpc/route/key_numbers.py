"""What a rank remembers of keys that have travelled between nodes, so that they travel as short numbers from then on.

A run begins with nothing, whether it goes on from a checkpoint or not.  Evaluation uses the numbers, and adds none.
See `backend.cpu.key_numbers`.
"""

from typing import NamedTuple

import numpy as np

from deshpc.backend.arguments import ReceivedKeys, SentKeys

MOST_KEYS = 1 << 21
"""That a rank remembers as a home, and as an owner: at most 64 MiB of hash table, 8 MiB of places, and 16 MiB of keys."""

_WORD, _SLOTS, _FEWEST_BUCKETS = 64, 4, 64
_LOAD_LIMIT = 0.6


class Numbered(NamedTuple):
    """The distinct keys of a batch, some of which have numbers.

    numbers : (unique) int32, -1 where a key travels whole
    known, held : (N) int64, of each rank, its keys that have numbers, and numbers that there were before
    key_bytes : (N) int64, that all its keys take
    """

    numbers: np.ndarray
    known: np.ndarray
    held: np.ndarray
    key_bytes: np.ndarray


class KeyNumbers:
    """Numbers of the keys that one home thread sends to all ranks, and of those that one shard gets from them."""

    def __init__(self, kernels, far, dictionaries):
        """kernels : `KeyNumbers` of backend.operations
        far : (N) bool, ranks whose keys have numbers
        dictionaries : of this rank, which share its memory
        """
        self._kernels, self._far = kernels, far
        most = most_of_pair(len(far), dictionaries)
        self._sent = SentKeys(
            np.zeros(8 * _FEWEST_BUCKETS, np.uint64), np.zeros(len(far), np.int64), np.zeros(len(far) * most // _WORD, np.uint64),
            np.zeros((len(far), most), np.int32),
        )  # fmt: skip
        self._received = ReceivedKeys(np.zeros(len(far), np.int64), np.zeros((len(far), most), np.uint64))

    def number(self, unique, counts, direction, buffers):
        """Numbered of a batch's UniqueKeys.  counts : (N) int64, keys of each rank;  direction : "forward" gives numbers, "eval" none"""
        self._make_room(len(unique.keys))
        held, known = self._sent.counts.copy(), np.empty(len(self._far), np.int64)
        numbers = buffers.array("numbers", len(unique.keys), np.int32)
        self._kernels.number(unique.keys, unique.ranks, self._far, direction == "forward", self._sent, numbers, known)
        return Numbered(numbers, known, held, self._bytes(counts, known, held))

    def write(self, unique, counts, numbered, firsts, begins, places, message):
        """Write the keys of all messages, and their places; see `backend.cpu.key_numbers.write`.  After `number` of the same batch."""
        _, known, held, _ = numbered
        self._kernels.write(unique, counts, self._far, self._sent, numbered.numbers, known, held, firsts, begins, places, message)

    def bytes_of(self, counts, known):
        """(N) int64, bytes of the keys that come from each rank, before `read`.  counts, known : (N) int64, of their messages"""
        return self._bytes(counts, known, self._received.counts)

    def read(self, message, begins, counts, known, direction, keys, fields):
        """Read the keys of all messages, rank by rank and field by field; see `backend.cpu.key_numbers.read`."""
        self._kernels.read(message, begins, counts, self._far, known, direction == "forward", self._received, keys, fields)

    def _bytes(self, counts, known, held):
        found = np.empty(len(counts), np.int64)
        self._kernels.key_bytes(counts, self._far, known, held, found)
        return found

    def _make_room(self, more):
        buckets, keys = self._sent.buckets, min(int(self._sent.counts.sum()) + more, self._sent.local.size)
        larger = len(buckets)
        while keys > larger // 8 * _SLOTS * _LOAD_LIMIT:
            larger *= 2
        if larger > len(buckets):
            self._sent = self._sent._replace(buckets=np.zeros(larger, np.uint64))
            self._kernels.grow(buckets, self._sent.buckets)


def most_of_pair(ranks, dictionaries):
    """Keys that one of a rank's dictionaries has of each of so many ranks, at most."""
    return max(1, MOST_KEYS // dictionaries // ranks // _WORD) * _WORD


def bytes_of_rank(keys, ranks):
    """Bytes that a rank's memory of keys takes, once it has met so many of other ranks' as a home, and as many as an owner."""
    keys, buckets = min(keys, MOST_KEYS), _FEWEST_BUCKETS
    while keys > buckets // 8 * _SLOTS * _LOAD_LIMIT:
        buckets *= 2
    return 8 * buckets + round(keys * (4 + 8)) + MOST_KEYS // 8


def open_key_numbers(backend, group, dictionaries):
    """A list of so many KeyNumbers; None where keys travel whole: inside a node, and on a device."""
    if backend.key_numbers is None or len(group.nodes.members) == 1:
        return None
    return [KeyNumbers(backend.key_numbers, ~group.nodes.is_near, dictionaries) for _ in range(dictionaries)]
