"""Rows travel to the samples, where whole samples are computed: the same operators run on received rows."""

import numpy as np

from deshpc.backend.arguments import Occurrences
from deshpc.backend.record import cache_lines
from deshpc.comm.ledger import Traffic
from deshpc.exchange.contract import Partials
from deshpc.table.table import ShardRows


class RowExchange:
    """The rows of the share's unique keys travel home, where whole samples are computed; row gradients travel back.

    Forward: owner -> home, the weights of each requested key.  Backward: home -> owner, the gradient sums of the same
    keys in the same order; the owner adds them up in home-rank order.

            rank 0 (rows a)      rank 1 (rows b)         home 0            home 1
            asked: a1 | a2       asked: b1 b2 | b1   ->  a1  b1 b2         a2  b1
            da1 | da2            db1 db2 | db1       <-  da1 db1 db2       da2 db1

    A gradient is that of w, then of v; in fixed point, where keys have values, sum(g x A) and sum(g x^2) travel
    instead of dv, since only integers add up to the same bits in any order.
    """

    whole_top, moves_rows = False, True

    def __init__(self, backend, group, operators):
        self._backend, self._group, self._operators = backend, group, operators
        self._tables, self._sums_type = operators.table.of_shards, operators.table.sums_type
        self._row_bytes = np.array([one.layout.weights * np.dtype(one.layout.precision).itemsize for one in self._tables])
        self._scratch = backend.buffers()
        self._of_shards = [backend.buffers() for _ in self._tables]

    def start(self, found, scale):
        """Start sending rows; partials of whole samples are computed when they are there.  Collective."""
        requests, row_bytes = found.routed.requests, self._row_bytes
        message = self._message("rows out", requests.asked, row_bytes)

        def send(s, shard):
            layout, targets = shard.table.layout, self._addresses("targets", s, message, requests.asked, row_bytes)
            self._backend.rows.send_rows(
                layout.number, layout.first_weight, layout.weights, cache_lines(layout.weights_end),
                shard.occurrences.local, shard.occurrences.addresses, targets,
            )  # fmt: skip

        self._backend.each(send, list(enumerate(found.rows)))
        incoming = self._message("rows in", requests.asking, row_bytes)
        traffic = Traffic(self._operators.name, "rows", found.direction)
        travelling = self._exchange(message, requests.asked, incoming, requests.asking, row_bytes, traffic)

        def compute(received):
            shards = self._backend.each(
                lambda s, keys: self._home_rows(s, keys, received, requests.asking), list(enumerate(requests.home))
            )
            return Partials(self._operators.partial(shards, len(found.routed.home), scale, found, stays=True), shards)

        return travelling.then(compute)

    def give_back(self, found, partials, gradient, scale):
        """Sum the gradients of the share's unique rows at home and send them to the owners.  Collective."""
        shards = partials.rows
        self._operators.partial_adjoint(shards, gradient, scale)
        requests, kernels = found.routed.requests, self._backend.rows
        integers = self._sums_type.kind == "i"
        weighted = shards[0].sums.square is not None
        send_squares = weighted and integers
        gradient_bytes = np.array([(table.layout.weights + send_squares) * self._sums_type.itemsize for table in self._tables])
        message = self._message("gradients out", requests.asking, gradient_bytes)

        def send(s, shard):
            table = shard.table
            if weighted and not integers:
                kernels.subtract_squares(table.form, shard.occurrences.addresses, shard.sums.vector, shard.sums.square)
            targets = self._addresses("targets", s, message, requests.asking, gradient_bytes)
            kernels.send_gradients(table.layout.dim, *shard.sums, send_squares, targets)

        self._backend.each(send, list(enumerate(shards)))
        incoming = self._message("gradients in", requests.asked, gradient_bytes)
        traffic = Traffic(self._operators.name, "gradients", "backward")
        received = self._exchange(message, requests.asking, incoming, requests.asked, gradient_bytes, traffic).wait()

        def add(s, shard):
            sources = self._addresses("sources", s, received, requests.asked, gradient_bytes)
            sums = shard.sums if send_squares else shard.sums._replace(square=None)
            kernels.add_gradients(sources, shard.table.layout.dim, shard.occurrences.local, *sums)

        self._backend.each(add, list(enumerate(found.rows)))
        return found.rows

    def _home_rows(self, s, keys, received, asking):
        """ShardRows of shard s at home: the received rows stand for records."""
        table, buffers = self._tables[s], self._of_shards[s]
        places = self._addresses("addresses", s, received, asking, self._row_bytes)
        addresses = self._backend.rows.home_addresses(table.layout, places, buffers)
        sums = table.zero_sums(buffers, keys.unique, keys.values is not None)
        grouping, fields = self._backend.lookup.group(keys.offsets, keys.occurrences, addresses, buffers), None
        if table.by_field:
            fields = buffers.array("fields", keys.unique, np.uint16)
            self._backend.rows.requested_fields(keys.counts, fields)
        occurrences = Occurrences(keys.offsets, keys.occurrences, keys.values, addresses, fields, grouping=grouping)
        return ShardRows(table, occurrences, sums, buffers)

    def _message(self, name, counts, sizes):
        """counts (N, S) of the elements of each rank and shard;  sizes (S) : bytes of an element"""
        return self._scratch.array(name, int((counts * sizes).sum()), np.uint8)

    def _addresses(self, name, s, message, counts, sizes):
        """Where the elements of shard s lie in a message: rank by rank, inside a rank shard by shard."""
        size, lengths = int(sizes[s]), counts * sizes
        begins = (np.cumsum(lengths.ravel()) - lengths.ravel()).reshape(counts.shape)[:, s]
        mine = np.ascontiguousarray(counts[:, s])
        result = self._of_shards[s].array(name, int(mine.sum()), np.int64)
        self._backend.rows.segment_addresses(message, np.ascontiguousarray(begins), mine, size, result)
        return result

    def _exchange(self, send, sending, receive, receiving, sizes, traffic):
        out, into = (sending * sizes).sum(axis=1), (receiving * sizes).sum(axis=1)
        return self._group.exchange_bytes(send, out, receive, into, [(traffic, out)])
