"""How a batch's keys reach the shards that own them.

    broadcast   every rank reads the whole global batch; each shard looks up what it owns.  No key travels.
    routed      each rank reads its share; unique keys and occurrences travel to their owners (one all-to-all-v);
                labels, weights and dense features are all-gathered where every rank computes the top for all samples
                inside a node nothing is sent: see `route.near`

            home rank 0          home rank 1                shard 0 (keys a)        shard 1 (keys b)
            s0: a1 b1            s2: b1                 ->  s0: a1  s1: a1          s0: b1  s1: b2
            s1: a1 b2            s3: a2                     s2: -   s3: a2          s2: b1  s3: -

Either way a shard sees its occurrences sample by sample in global order, so sums per key are added in the same
order for any number of ranks.  Where rows travel instead of partials, see `route.requests`.
"""

from typing import NamedTuple

import numpy as np

from deshpc.backend.arguments import Messages, MessageValues, Unpacked
from deshpc.backend.values import value_width
from deshpc.comm.handle import done
from deshpc.comm.ledger import Traffic
from deshpc.comm.shares import slice_of, slices
from deshpc.errors import DataError
from deshpc.route.distinct import Deduplication
from deshpc.route.key_numbers import open_key_numbers
from deshpc.route.near import RoutedNear
from deshpc.route.requests import BroadcastRequests, RoutedRequests
from deshpc.route.routed import KeyCounts, OwnedKeys, RoutedBatch, WholeBatch, turns_of_buffers, values_like
from deshpc.route.value_tables import open_value_tables


class Broadcast:
    """Every rank holds the whole global batch.  Not collective."""

    reads_whole_batch, travels_ahead = True, False

    def __init__(self, backend, group, partition, n_fields, exchange, valid=2, seats=None):
        self._group, self._partition, self._whole_top, self._seats = group, partition, exchange.whole_top, seats
        self._sets = turns_of_buffers(backend, 1, valid)
        self.counts = KeyCounts()

    def route(self, batch, direction):
        """function() -> Handle of the RoutedBatch of a batch of all B samples, which is done."""
        first_shard, shards = self._group.rank * self._partition.shards, range(self._partition.shards)
        home = batch.share(*slice_of(len(batch), self._group.size, self._group.rank))
        top = batch if self._whole_top else home
        owned = [WholeBatch(batch, self._partition, first_shard + s, self._seats) for s in shards]
        lengths = self._seats and self._seats.lengths(top)
        routed = RoutedBatch(batch.step, len(batch), home, top.labels, top.dense, owned, weights=top.weights, lengths=lengths)
        return lambda: done(routed)


class Routed:
    """Every rank holds its share of the global batch; keys travel to their owners."""

    reads_whole_batch, travels_ahead = False, False

    def __init__(self, backend, group, partition, n_fields, exchange, valid=2, key_numbers=True):
        """valid : batches that are valid at a time
        key_numbers : whether keys may have numbers
        """
        self._backend, self._group, self._partition, self._n_fields = backend, group, partition, n_fields
        self._whole_top, self._narrow = exchange.whole_top, len(group.nodes.members) > 1
        self._deduplicate = Deduplication(backend.routing, partition, group.size, n_fields)
        self._sets = turns_of_buffers(backend, 1 + partition.shards, valid)
        (self._numbers,) = (open_key_numbers(backend, group, 1) if key_numbers else None) or (None,)
        self._tables = open_value_tables(backend, group)
        self.counts = KeyCounts()

    def route(self, batch, direction):
        """Write the messages of the global batch of which `batch` is this rank's share: function() -> Handle of the RoutedBatch.

        direction : "forward" or "eval", for the ledger.  Sent: see `backend.cpu.routing`.  The function is collective.
        """
        home, *buffers = next(self._sets)
        packed, first_shard = self._pack(batch, home, direction), self._group.rank * self._partition.shards

        def send():
            labels, dense, weights = self._gather_top(batch, home, direction)

            def unpacked(messages):
                shards = self._backend.each(
                    self._unpack, [(messages, batch.values, first_shard + s, buffers[s]) for s in range(self._partition.shards)]
                )
                return RoutedBatch(
                    batch.step, batch.global_samples, batch, labels.wait(), dense.wait(), shards, weights=weights.wait()
                )  # fmt: skip

            return self._send(packed, batch, home, direction).then(unpacked)

        return send

    def _gather_top(self, batch, home, direction):
        """Start the all-gathers of labels, dense features and weights, where the top works on all samples.

        Weights travel to be learnt by, and not where samples are only scored.
        """
        if not self._whole_top:
            return done(batch.labels), done(batch.dense), done(batch.weights)
        traffic = Traffic("batch", "labels", direction)

        def gather(name, own):
            whole = home.array(name, (batch.global_samples, *own.shape[1:]), np.float32)
            return self._group.gather_samples(own, whole, traffic) if whole.size else done(whole)

        weighs = batch.weights is not None and direction == "forward"
        return gather("labels", batch.labels), gather("dense", batch.dense), gather("weights", batch.weights) if weighs else done(None)

    def _pack(self, batch, home, direction):
        """_Packed: this rank's message to each owner rank."""
        kernels, group, numbers = self._backend.routing, self._group, self._numbers
        width = value_width(batch.values)
        tables = self._tables if width else None
        unique, header = self._deduplicate(batch, home, whole=True)
        mine, count, of_ranks = np.full(group.size, len(batch), np.int64), len(unique.keys), _keys_of(header)
        numbered = numbers and numbers.number(unique, of_ranks, direction, home)
        values = tables and tables.number(batch, unique, _occurrences_of(header), home)
        sections = self._sections(header, mine, width, numbered and numbered.key_bytes, values and values.distinct)
        self._count(direction, batch.occurrences, of_ranks, header, sections, numbered)
        sent = Messages(home.zeros("send", int(sections[:, 3].sum()), np.uint8), header, sections, mine, self._narrow, values=values)
        places = home.array("places", count, np.int32)
        if numbers:
            begins, counts = _begins(sections), np.ascontiguousarray(header[:, :-1])
            numbers.write(unique, counts, numbered, np.zeros(group.size, np.int64), begins, places, sent.bytes)
            sent = sent._replace(keys=sent.bytes.ctypes.data + begins)
        too_many = kernels.pack(batch.sparse, unique, places, sent)
        if too_many >= 0:
            header[:, -1] = -1  # tells all ranks
        return _Packed(sent, numbered and numbered.known, values and values.distinct, too_many)

    def _send(self, packed, batch, home, direction):
        """Send each owner rank its message; returns a Handle of the Messages received."""
        group, numbers, sent = self._group, self._numbers, packed.messages
        width, traffic, samples = value_width(batch.values), Traffic("batch", "keys", direction), slices(batch.global_samples, group.size)
        tables = self._tables if width else None
        headers, known, distinct = self._exchange_headers(sent.header, packed.known, packed.distinct, traffic)
        if (headers[:, -1] < 0).any():
            most = self._backend.routing.MOST_IN_SAMPLE
            group.agree(None if packed.too_many < 0 else _too_many(batch.samples[packed.too_many], most))
        received = self._sections(headers, samples, width, numbers and numbers.bytes_of(_keys_of(headers), known), distinct)
        incoming = home.array("receive", int(received[:, 3].sum()), np.uint8)
        sizes = sent.sections[:, 3]
        travelling = group.exchange_bytes(sent.bytes, sizes.copy(), incoming, received[:, 3].copy(), [(traffic, sizes)])

        def read(incoming):
            keys = numbers and self._read_keys(incoming, _begins(received), headers, known, direction, home)
            values = tables and MessageValues(distinct, np.empty(0, np.uint64), np.empty(0, np.uint8))
            return Messages(incoming, headers, received, samples, self._narrow, keys, values)

        return travelling.then(read)

    def _sections(self, header, samples, width, key_bytes, distinct):
        """(N, 4) of messages.  key_bytes : (N), None where keys travel whole;  distinct : (N) of `MessageValues`, None where values do"""
        sections = np.empty((self._group.size, 4), np.int64)
        self._backend.routing.section_bytes(header, samples, width, self._narrow, sections)
        if key_bytes is not None:
            sections[:, 0] = key_bytes
        if distinct is not None:
            sections[:, 2] = self._tables.bytes_of(_occurrences_of(header), width, distinct)
        sections[:, 3] = -(-(sections[:, :3].sum(axis=1) + 2 * samples) // 8) * 8
        return sections

    def _exchange_headers(self, header, known, distinct, traffic):
        """(headers that come, `known` of them, `distinct` of them).  Collective.

        known, distinct : (N) int64 of each message, keys that have numbers and values that its table has; None where none ever do
        """
        beside = [one for one in (known, distinct) if one is not None]
        if not beside:
            return self._group.exchange_counts(header, traffic), None, None
        came = self._group.exchange_counts(np.column_stack([header, *beside]).astype(np.int32), traffic)
        more = [one.astype(np.int64) for one in came[:, header.shape[1] :].T]
        headers = np.ascontiguousarray(came[:, : header.shape[1]])
        return headers, None if known is None else more.pop(0), None if distinct is None else more.pop(0)

    def _read_keys(self, incoming, begins, headers, known, direction, buffers):
        """(N) int64: where the keys of each message are that has come, all of them whole."""
        of_ranks = _keys_of(headers)
        n = int(of_ranks.sum())
        keys, fields = buffers.array("their keys", n, np.uint64), buffers.array("their fields", n, np.uint16)
        self._numbers.read(incoming, begins, np.ascontiguousarray(headers[:, :-1]), known, direction, keys, fields)
        return keys.ctypes.data + 8 * (np.cumsum(of_ranks) - of_ranks)

    def _count(self, direction, occurrences, of_ranks, header, sections, numbered):
        """Note how many keys this rank sends, and to whom."""
        whole = of_ranks if numbered is None else of_ranks - numbered.known
        away = {
            "unique": of_ranks, "whole": whole, "short": sections[:, 0] - 8 * whole, "occurrences": header[:, -1], "numbers": sections[:, 1],
            "values": sections[:, 2],
        }  # fmt: skip
        away = {name: self._group.levels.of_messages(numbers) for name, numbers in away.items()}
        self.counts.add(direction, int(of_ranks.sum()), occurrences, away)

    def _unpack(self, messages, home_values, owner, buffers):
        header, array = messages.header, buffers.array
        n_keys, n_occurrences = int(header[:, :-1].sum()), int(header[:, -1].sum())
        unpacked = Unpacked(
            array("keys", n_keys + 1, np.uint64), array("fields", n_keys + 1, np.uint16),
            array("offsets", int(messages.samples.sum()) + 1, np.int64), array("occurrences", n_occurrences, np.int32),
            values_like(home_values, n_occurrences, buffers),
        )  # fmt: skip
        most = int(header[:, :-1].sum(axis=1).max())
        kept, count = self._backend.routing.unpack(
            messages, self._partition, owner, array("places", most, np.int32), array("unique fields", most, np.uint16), unpacked
        )
        keys, fields, offsets, occurrences, values = unpacked
        weighted = values is not None
        return OwnedKeys(
            keys[:kept], fields[:kept], weighted, offsets, occurrences[:count], values[:count] if weighted else None
        )


class _Packed(NamedTuple):
    """Messages that are written, before they are sent.

    known, distinct : (N) int64, of each its keys that have numbers and its distinct values, or None
    too_many : a sample of the batch with too many keys at one owner, or -1
    """

    messages: Messages
    known: np.ndarray | None
    distinct: np.ndarray | None
    too_many: int


def _keys_of(header):
    """(N) int64: keys of messages, of their headers (N, F + 1)."""
    return header[:, :-1].sum(axis=1, dtype=np.int64)


def _occurrences_of(header):
    """(N) int64: occurrences of messages, of their headers."""
    return header[:, -1].astype(np.int64)


def _begins(sections):
    """(N) int64: where messages begin, one after another."""
    return np.cumsum(sections[:, 3]) - sections[:, 3]


def _too_many(sample, most):
    return DataError(
        f"sample {sample} has more than {most} keys at one owner; train it with train.routing = 'broadcast'"
    )


def routings(exchange):
    """(routing that reads whole batches, routing that sends keys), as the exchange needs them."""
    return (BroadcastRequests, RoutedRequests) if exchange.moves_rows else (Broadcast, Routed)


def open_routing(name, backend, group, partition, n_fields, exchange, valid=2, key_numbers=True, seats=None):
    """The routing that a configuration names.  One rank needs none: it reads every batch whole, but for threads that share it.

    key_numbers : whether keys may have numbers
    valid : batches that are valid at a time
    seats : Seats, None where every occurrence has that of its key's field; where partials travel, keys do not say it, so batches are read whole
    """
    whole, sends_keys = routings(exchange)
    near = backend.lists is not None and len(group.nodes.members) == 1 and not exchange.moves_rows and seats is None
    if name == "broadcast" or (group.size == 1 and not (near and backend.threads > 1)):
        return whole(backend, group, partition, n_fields, exchange, valid, seats)
    if seats is not None:
        return RoutedRequests(backend, group, partition, n_fields, exchange, valid, key_numbers, seats)
    if near:
        return RoutedNear(backend, group, partition, exchange, valid)
    return sends_keys(backend, group, partition, n_fields, exchange, valid, key_numbers)
