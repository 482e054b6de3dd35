"""Routing inside a node: keys are written once, into lists of their owners in the node's memory, and looked up where they lie.

            home rank 0                  home rank 1                  shard 0 (keys a)     shard 1 (keys b)
            s0: a1 b1  ->  a1 a1 | b1 b2      s2: b1  ->  a2 | b1  ->      a1 a1, then a2       b1 b2, then b1
            s1: a1 b2                         s3: a2

A rank's threads take a part of its samples each.  A list has every occurrence: to find those that are the same first, as messages
between nodes have it, takes longer than to look them all up.  Labels, dense features and weights that every rank needs lie on the same
board.  All lists have room for as many occurrences; where a batch needs more, all ranks see it, and write it again.

The threads of a rank that is alone share a batch in the same way: else each would read all of it for the keys of its shard.
"""

from functools import cached_property, lru_cache, partial
from math import prod
from typing import NamedTuple

import numpy as np

from deshpc.backend.arguments import KeyLists
from deshpc.backend.record import CACHE_LINE
from deshpc.backend.values import value_width
from deshpc.comm.ledger import Traffic
from deshpc.comm.shares import slice_of, slices
from deshpc.route.routed import KeyCounts, ListedKeys, RoutedBatch

_LEAST_ROOM = 64
_MOST_FORMS = 8  # of batches that are remembered: whole ones and last ones, to learn from and to score
_HEADER = 8  # bytes of a slot: how much room its lists need, where they have too little


class RoutedNear:
    """Every rank of a node holds its share of the global batch; keys lie in lists of their owners, which all may read."""

    reads_whole_batch = False

    def __init__(self, backend, group, partition, exchange, valid=3):
        """valid : batches that are valid at a time"""
        several = group.size > 1
        self._backend, self._group, self._partition, self._whole_top = backend, group, partition, exchange.whole_top and several
        self.travels_ahead = several  # nobody else is waited for
        self._room, self._placed, self._turns = _LEAST_ROOM, {}, 2 * valid - 1 if several else valid
        self._form = lru_cache(_MOST_FORMS)(lambda *form: _Form(*form, group.size, backend.threads, partition.owners))
        self.counts = KeyCounts()

    @cached_property
    def _boards(self):
        """In so many turns that a batch is there until `valid` more are routed.  A rank that writes a board has waited for the batch before,
        or for the one before that, where batches are written ahead: so all ranks have published that one, and are done with those `valid`
        before it.
        """
        return self._group.boards(self._turns)

    def route(self, batch, direction):
        """Write the lists of the global batch of which `batch` is this rank's share: function() -> Handle of the RoutedBatch.

        direction : "forward" or "eval", for the ledger
        Counted as sent, once for each rank that it is for: 8 bytes an occurrence, 4 each value, 4 a sample and shard, and 8 beside.
        The function is collective.
        """
        places = self._write(batch, direction, self._boards.next)
        return lambda: self._boards.publish(places.board).then(lambda _: self._read(batch, direction, places))

    def _write(self, batch, direction, board_of):
        """Write this rank's part of board_of(bytes of a slot, bytes of the part shared out): the _Places of the board."""
        places, threads = self._places(batch, direction, board_of), self._backend.threads
        places.headers[self._group.rank][0] = max(self._backend.each(self._divide, [(batch, places, one) for one in range(threads)]))
        for own, whole in zip(places.own_top, (batch.labels, batch.dense, batch.weights), strict=False):
            own[...] = whole
        return places

    def _divide(self, batch, places, thread):
        threads = self._backend.threads
        part = batch if threads == 1 else batch.share(*slice_of(len(batch), threads, thread))
        return self._backend.lists.divide(
            part.sparse, self._partition, places.lists[thread], places.ends[thread], places.owned[0].room, places.counts[thread]
        )

    def _read(self, batch, direction, places):
        """The RoutedBatch, when every rank has published its lists.  Collective where their room does not suffice."""
        while room := max(int(header[0]) for header in places.headers):
            self._room = max(self._room, room + room // 4)  # the batch before may have made it larger
            places = self._write(batch, direction, partial(self._boards.again, places.board))
            self._boards.publish(places.board).wait()
        self._count(batch, direction, places)
        labels, dense, weights = places.top if self._whole_top else (batch.labels, batch.dense, batch.weights)
        shards = [ListedKeys(lists, batch.global_samples, batch.values) for lists in places.owned]
        return RoutedBatch(batch.step, batch.global_samples, batch, labels, dense, shards, weights=weights)

    def _places(self, batch, direction, board_of):
        """The _Places of a board, see `_write`.  Collective where that has to grow."""
        weighs = batch.weights is not None and direction == "forward"
        shared = (batch.labels, batch.dense, *([batch.weights] if weighs else [])) if self._whole_top else ()
        form = (batch.global_samples, tuple(array.shape[1:] for array in shared), value_width(batch.values), self._room)
        shape = self._form(*form)
        board = board_of(shape.slot_bytes, shape.shared_bytes)
        before, of_forms = self._placed.get(board.turn, (None, None))
        if before is not board or len(of_forms) > _MOST_FORMS:  # what is known of a board that has been replaced holds its memory
            of_forms = {}
            self._placed[board.turn] = board, of_forms
        places = of_forms.get(form)
        if places is None:
            places = of_forms[form] = shape.places(board, self._group.rank, self._partition.shards)
        return places

    def _count(self, batch, direction, places):
        """Note what this rank has written for others."""
        group, shards, width = self._group, self._partition.shards, value_width(batch.values)
        first, others = group.rank * shards, group.size - 1
        counts = [count.tolist() for count in places.counts]
        occurrences = sum(map(sum, counts))
        away = occurrences - sum(sum(count[first : first + shards]) for count in counts)
        group.count_flat(Traffic("batch", "keys", direction), (8 + 4 * width) * away + others * (4 * len(batch) * shards + _HEADER))
        group.count_flat(Traffic("batch", "labels", direction), others * sum(own.nbytes for own in places.own_top))
        self.counts.add(direction, 0, occurrences, {"whole": {"flat": away}, "values": {"flat": 4 * width * away}})


class _Places(NamedTuple):
    """Where everything is on a board.

    board : Board
    headers : [(1) int64 of each rank]
    lists : [(owners) int64 of each thread of this rank], addresses of its lists;  ends : [address of their ends];  counts : [(owners) int64]
    owned : [KeyLists of each shard of this rank]
    top : labels (B, ..), dense (B, n_dense) and weights (B) or None, of all samples, where every rank's top works on all
    own_top : [this rank's share of each of these]
    """

    board: object
    headers: list
    lists: list
    ends: list
    counts: list
    owned: list
    top: tuple
    own_top: list


class _Form:
    """How a board is divided: a function of what all ranks know."""

    def __init__(self, samples, shapes, width, room, ranks, threads, owners):
        """samples : B;  shapes : of a sample's numbers in each array that every rank's top needs
        width : values of an occurrence;  room : of each list, in occurrences
        """
        self._shapes, self._room, self._threads, self._owners = [(samples, *shape) for shape in shapes], room, threads, owners
        self._shares = [slice_of(samples, ranks, rank) for rank in range(ranks)]
        self._of_parts = np.concatenate([slices(end - begin, threads) for begin, end in self._shares])
        self._list_bytes, self._ends_bytes = _lines((8 + 4 * width) * room), _lines(4 * owners * int(self._of_parts.max()))
        self._part_bytes = self._ends_bytes + owners * self._list_bytes
        self.slot_bytes = CACHE_LINE + threads * self._part_bytes
        self.shared_bytes = sum(_lines(4 * prod(shape)) for shape in self._shapes)

    def places(self, board, rank, shards):
        """The _Places of a board, for a rank with so many shards."""
        threads = self._threads
        starts = np.array([slot.ctypes.data for slot in board.of_ranks], np.int64)[:, None] + CACHE_LINE + self._part_bytes * np.arange(threads)
        lists = starts[..., None] + self._ends_bytes + self._list_bytes * np.arange(self._owners)
        ends = starts[..., None] + 4 * self._of_parts.reshape(-1, threads, 1) * np.arange(self._owners)
        owned = [
            KeyLists(lists[:, :, owner].ravel(), ends[:, :, owner].ravel(), self._of_parts, self._room)
            for owner in range(rank * shards, (rank + 1) * shards)
        ]
        top, begin = [], 0
        for shape in self._shapes:
            top.append(board.shared[begin : begin + 4 * prod(shape)].view(np.float32).reshape(shape))
            begin += _lines(top[-1].nbytes)
        share = slice(*self._shares[rank])
        return _Places(
            board, [slot[:_HEADER].view(np.int64) for slot in board.of_ranks], list(lists[rank]), [int(one) for one in starts[rank]],
            [np.zeros(self._owners, np.int64) for _ in range(threads)], owned, (*top, None)[:3] if top else (), [one[share] for one in top],
        )  # fmt: skip


def _lines(nbytes):
    """So many bytes in whole cache lines."""
    return -(-nbytes // CACHE_LINE) * CACHE_LINE
