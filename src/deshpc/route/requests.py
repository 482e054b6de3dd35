"""Routing where rows travel: each home rank asks the owners for the rows of its share's unique keys.

            home rank 0          home rank 1                shard 0 (keys a)         shard 1 (keys b)
            s0: a1 b1            s2: b1                 ->  rank 0 asks a1           rank 0 asks b1 b2
            s1: a1 b2            s3: a2                     rank 1 asks a2           rank 1 asks b1

Occurrences, values, labels and weights stay at home.  Routed: the keys travel, 8 bytes each, or between nodes as `key_numbers`
has them, beside the number of keys of each shard and field.  Broadcast: every rank reads the whole batch, so an owner knows what each home rank will ask.

A rank's T threads share its samples by key: thread s takes the occurrences whose owner is shard s of any rank.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from deshpc.comm.handle import done
from deshpc.comm.ledger import Traffic
from deshpc.comm.shares import slice_of
from deshpc.route.distinct import Deduplication
from deshpc.route.key_numbers import open_key_numbers
from deshpc.route.routed import HomeKeys, KeyCounts, OwnedKeys, Requests, RoutedBatch, turns_of_buffers


class _RequestRouting:
    """What both ways have in common: the unique keys of this rank's share, grouped into requests."""

    def __init__(self, backend, group, partition, n_fields, exchange, valid=2, seats=None):
        self._backend, self._group, self._partition, self._n_fields, self._seats = backend, group, partition, n_fields, seats
        self._deduplicate = Deduplication(backend.routing, partition, group.size, n_fields)
        self._sets = turns_of_buffers(backend, 1 + 2 * partition.shards, valid)
        self.counts = KeyCounts()

    def _unique(self, batch, modulus, residue, buffers, numbers=None, direction=None):
        """Unique keys of the batch's occurrences whose owner is `residue` modulo `modulus`: (counts (N, F) int32,
        function of (begins (N), message) that writes the requests, HomeKeys, Numbered or None).

        numbers : KeyNumbers of the keys, None where they travel whole
        """
        found, header = self._deduplicate(batch, buffers, modulus, residue, with_values=True)
        keys, fields, ranks, occurrences = found.keys, found.fields, found.ranks, found.occurrences
        counts = np.ascontiguousarray(header[:, :-1])
        of_ranks, places = counts.sum(axis=1, dtype=np.int64), buffers.array("places", len(keys), np.int32)
        numbered = numbers and numbers.number(found, of_ranks, direction, buffers)

        def write(begins, message):
            if numbered is None:
                self._backend.rows.group_requests(keys, fields, ranks, counts, places, begins, message)
            else:
                numbers.write(found, counts, numbered, np.cumsum(of_ranks) - of_ranks, begins, places, message)
            self._backend.routing.through(occurrences, places)

        return counts, write, HomeKeys(found.offsets, occurrences, found.values, len(keys), counts), numbered

    def _seated(self, home, keys, buffers):
        """([HomeKeys] of each thread with the seats of its occurrences, lengths of sequences), where there are seats.

        home : this rank's share of the batch
        buffers : of the batch, then of each thread
        """
        if self._seats is None:
            return keys, None
        shards = self._partition.shards
        found = self._backend.each(
            lambda s: replace(keys[s], seats=self._seats.of(home, self._partition, shards, s, buffers[1 + s])), [(s,) for s in range(shards)]
        )
        return found, self._seats.lengths(home)

    def _count(self, home, asking, direction, known=0, key_bytes=None):
        """Note how many keys this rank asks for, and of whom.

        asking (N, shards);  known : (N, shards), those that have numbers, where some have;  key_bytes : (N, shards), of all
        """
        whole = asking - known
        short = 0 * asking if key_bytes is None else key_bytes - 8 * whole
        away = {"unique": asking, "whole": whole, "short": short}
        away = {name: self._group.levels.of_messages(numbers.sum(axis=1)) for name, numbers in away.items()}
        self.counts.add(direction, int(asking.sum()), home.occurrences, away)


class RoutedRequests(_RequestRouting):
    """Every rank holds its share of the batch and sends its unique keys to their owners."""

    reads_whole_batch, travels_ahead = False, False

    def __init__(self, backend, group, partition, n_fields, exchange, valid=2, key_numbers=True, seats=None):
        """valid, key_numbers : see `routing.Routed`"""
        super().__init__(backend, group, partition, n_fields, exchange, valid, seats)
        self._numbers = open_key_numbers(backend, group, partition.shards) if key_numbers else None

    def route(self, batch, direction):
        """Write the requests of the global batch of which `batch` is this rank's share: function() -> Handle of the RoutedBatch.

        Sent: 8 bytes a unique key of another rank's, or less where keys have numbers; 4 T F bytes to every other rank, and 4 T more
        where keys have numbers.  The function is collective.
        """
        shards, numbers = self._partition.shards, self._numbers or [None] * self._partition.shards
        buffers = next(self._sets)
        found = self._backend.each(self._unique, [(batch, shards, s, buffers[1 + s], numbers[s], direction) for s in range(shards)])
        counts = np.stack([one[0] for one in found], axis=1)  # (N, shards, F)
        asking, known, sizes = counts.sum(axis=2, dtype=np.int64), None, None
        if self._numbers:
            known, sizes = (np.stack([getattr(one[3], name) for one in found], axis=1) for name in ("known", "key_bytes"))
        self._count(batch, asking, direction, 0 if known is None else known, sizes)
        sizes = 8 * asking if sizes is None else sizes
        message = buffers[0].array("send", int(sizes.sum()), np.uint8)
        begins = _begins(sizes)
        self._backend.each(lambda s: found[s][1](begins[:, s].copy(), message), [(s,) for s in range(shards)])
        homes, lengths = self._seated(batch, [one[2] for one in found], buffers)
        return lambda: self._send(batch, buffers, direction, message, _Asking(homes, counts, asking, known, sizes), lengths)

    def _send(self, batch, buffers, direction, message, own, lengths):
        """Send every owner rank its requests; returns a Handle of the RoutedBatch."""
        group, shards, numbers = self._group, self._partition.shards, self._numbers or [None] * self._partition.shards
        traffic = Traffic("batch", "keys", direction)
        headers, known = self._exchange_headers(own.counts, own.known, traffic)
        asked = headers.sum(axis=2, dtype=np.int64)
        came = 8 * asked
        if self._numbers:
            came = np.stack([numbers[s].bytes_of(asked[:, s].copy(), known[:, s].copy()) for s in range(shards)], axis=1)
        incoming = buffers[0].array("receive", int(came.sum()), np.uint8)
        sent = own.sizes.sum(axis=1)
        travelling = group.exchange_bytes(message, sent, incoming, came.sum(axis=1), [(traffic, sent)])
        places = _begins(came)

        def owned(s):
            keys, fields = buffers[1 + shards + s].array("asked keys", n[s], np.uint64), buffers[1 + shards + s].array("asked fields", n[s], np.uint16)
            begins, counts = places[:, s].copy(), np.ascontiguousarray(headers[:, s])
            if numbers[s] is None:
                self._backend.rows.read_requests(incoming, begins, counts, keys, fields)
            else:
                numbers[s].read(incoming, begins, counts, known[:, s].copy(), direction, keys, fields)
            return OwnedKeys(keys, fields, batch.values is not None)

        n = asked.sum(axis=0).tolist()
        requests = Requests(own.homes, asked, own.asking)
        return travelling.then(
            lambda _: RoutedBatch(
                batch.step, batch.global_samples, batch, batch.labels, batch.dense,
                self._backend.each(owned, [(s,) for s in range(shards)]), requests, weights=batch.weights, lengths=lengths,
            )
        )  # fmt: skip

    def _exchange_headers(self, counts, known, traffic):
        """(counts (N, shards, F) that come, keys of them that have numbers (N, shards) int64, or None).  Collective."""
        if known is None:
            return self._group.exchange_counts(counts, traffic), None
        came = self._group.exchange_counts(np.concatenate([counts, known[:, :, None].astype(np.int32)], axis=2), traffic)
        return np.ascontiguousarray(came[:, :, :-1]), came[:, :, -1].astype(np.int64)


class _Asking(NamedTuple):
    """What this rank asks for.

    homes : HomeKeys of each thread
    counts : (N, shards, F) int32, keys of each owner and field
    asking : (N, shards) int64, keys of each owner
    known : (N, shards) int64, those that have numbers, or None
    sizes : (N, shards) int64, bytes of the requests
    """

    homes: list
    counts: np.ndarray
    asking: np.ndarray
    known: np.ndarray | None
    sizes: np.ndarray


class BroadcastRequests(_RequestRouting):
    """Every rank holds the whole batch: an owner works out itself what each home rank asks for.  Not collective."""

    reads_whole_batch, travels_ahead = True, False

    def route(self, batch, direction):
        """function() -> Handle of the RoutedBatch of a batch of all B samples, which is done."""
        group, shards = self._group, self._partition.shards
        buffers = next(self._sets)
        home = batch.share(*slice_of(len(batch), group.size, group.rank))
        asking = np.zeros((group.size, shards), np.int64)
        asked = np.zeros((group.size, shards), np.int64)

        def of_home(s):
            counts, write, keys, _ = self._unique(home, shards, s, buffers[1 + s])
            asking[:, s] = counts.sum(axis=1)
            write(_begins(8 * asking[:, s : s + 1])[:, 0], buffers[1 + s].array("request", 8 * keys.unique, np.uint8))
            return keys

        def of_owner(s):
            return self._asked_of(batch, s, asked, buffers[1 + shards + s])

        home_keys = self._backend.each(of_home, [(s,) for s in range(shards)])
        owned = self._backend.each(of_owner, [(s,) for s in range(shards)])
        self._count(home, asking, direction)
        home_keys, lengths = self._seated(home, home_keys, buffers)
        requests = Requests(home_keys, asked, asking)
        routed = RoutedBatch(
            batch.step, len(batch), home, home.labels, home.dense, owned, requests, weights=home.weights, lengths=lengths
        )
        return lambda: done(routed)

    def _asked_of(self, batch, s, asked, buffers):
        """The keys that all home ranks ask of this rank's shard s, home rank by home rank; fills asked (N, shards)."""
        group, owner = self._group, self._group.rank * self._partition.shards + s
        n = 0
        keys = buffers.array("asked keys", batch.occurrences, np.uint64)
        fields = buffers.array("asked fields", batch.occurrences, np.uint16)
        request = buffers.array("request", 8 * batch.occurrences, np.uint8)
        for home_rank in range(group.size):
            share = batch.share(*slice_of(len(batch), group.size, home_rank))
            counts, write, found, _ = self._unique(share, self._partition.owners, owner, buffers)
            write(np.zeros(group.size, np.int64), request)
            end = n + found.unique
            mine = counts[group.rank : group.rank + 1]
            self._backend.rows.read_requests(request, np.zeros(1, np.int64), mine, keys[n:end], fields[n:end])
            asked[home_rank, s], n = found.unique, end
        return OwnedKeys(keys[:n], fields[:n], batch.values is not None)


def _begins(byte_counts):
    """(N, shards) int64: where each stretch begins, rank by rank, inside a rank shard by shard."""
    ends = np.cumsum(byte_counts.ravel())
    return (ends - byte_counts.ravel()).reshape(byte_counts.shape)
