"""Rows travel to the samples, where whole samples are computed: the same operators run on received rows."""

import numpy as np

from deshpc.backend.arguments import Occurrences
from deshpc.backend.record import cache_lines
from deshpc.comm.handle import all_of
from deshpc.comm.ledger import Traffic
from deshpc.exchange.contract import Partials
from deshpc.exchange.parted import PartedMessage
from deshpc.table.table import ShardRows

_PARTS = 4  # of a message between nodes


class RowExchange:
    """The rows of the share's unique keys travel home, where whole samples are computed; row gradients travel back.

    Forward: owner -> home, the weights of each requested key.  Backward: home -> owner, the gradient sums of the same
    keys in the same order; the owner adds them up in home-rank order.

            rank 0 (rows a)      rank 1 (rows b)         home 0            home 1
            asked: a1 | a2       asked: b1 b2 | b1   ->  a1  b1 b2         a2  b1
            da1 | da2            db1 db2 | db1       <-  da1 db1 db2       da2 db1

    A gradient is that of w, then of v; in fixed point, where keys have values, sum(g x A) and sum(g x^2) travel
    instead of dv, since only integers add up to the same bits in any order.

    Between nodes a message is written in parts, each of which travels while the next is written.
    """

    whole_top, moves_rows = False, True

    def __init__(self, backend, group, operators):
        self._backend, self._group, self._operators = backend, group, operators
        self._tables, self._sums_type = operators.table.of_shards, operators.table.sums_type
        self._row_bytes = np.array([one.layout.weights_bytes for one in self._tables])
        self._parts = _PARTS if len(group.nodes.members) > 1 and backend.device is None else 1
        self._scratch = backend.buffers()
        self._of_shards = [backend.buffers() for _ in self._tables]

    def start(self, found, scale):
        """Start sending rows; partials of whole samples are computed when they are there.  Collective."""
        requests = found.routed.requests
        out, into = (PartedMessage(counts, self._row_bytes, self._parts) for counts in (requests.asked, requests.asking))

        def write(shard, targets, part):
            layout, occurrences = shard.table.layout, shard.occurrences
            self._backend.rows.send_rows(
                layout.number, layout.first_weight, layout.weights_bytes // layout.number.itemsize, cache_lines(layout.weights_end),
                occurrences.local[part], occurrences.addresses, targets[part],
            )  # fmt: skip

        traffic = Traffic(self._operators.name, "rows", found.direction)
        travelling = self._send("rows", found.rows, self._row_bytes, out, into, write, traffic, self._tables[0].layout.halves)

        def compute(received):
            shards = self._backend.each(
                lambda s, keys: self._home_rows(s, keys, received, into), list(enumerate(requests.home))
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
        out, into = (PartedMessage(counts, gradient_bytes, self._parts) for counts in (requests.asking, requests.asked))

        def write(shard, targets, part):
            table, sums = shard.table, [numbers if numbers is None else numbers[part] for numbers in shard.sums]
            if weighted and not integers:
                kernels.subtract_squares(table.form, shard.occurrences.addresses[part], sums[1], sums[2])
            kernels.send_gradients(table.layout.dim, *sums, send_squares, targets[part])

        traffic = Traffic(self._operators.name, "gradients", "backward")
        received = self._send("gradients", shards, gradient_bytes, out, into, write, traffic).wait()

        def add(s, shard):
            sources = self._addresses("sources", s, received, into, gradient_bytes)
            sums = shard.sums if send_squares else shard.sums._replace(square=None)
            kernels.add_gradients(sources, shard.table.layout.dim, shard.occurrences.local, *sums)

        self._backend.each(add, list(enumerate(found.rows)))
        return found.rows

    def _send(self, name, shards, sizes, out, into, write, traffic, whole=False):
        """Write the message `out`, a PartedMessage, and start to send it part by part; Handle of what comes, as `into` says.

        write : function(ShardRows, addresses of its elements' places, slice of the elements that it is to write)
        whole : as of `Group.exchange_bytes`
        """
        message, incoming = (
            self._scratch.array(f"{name} {way}", parted.nbytes, np.uint8) for way, parted in (("out", out), ("in", into))
        )
        targets = self._backend.each(lambda s: self._addresses("targets", s, message, out, sizes), [(s,) for s in range(len(shards))])
        travelling = []
        for p in range(self._parts):

            def write_part(s, shard, p=p):
                for part in out.ranges(p, s):
                    write(shard, targets[s], part)

            self._backend.each(write_part, list(enumerate(shards)))
            sending, receiving = out.rank_bytes[p], into.rank_bytes[p]
            travelling.append(
                self._group.exchange_bytes(
                    message[out.of_part(p)], sending, incoming[into.of_part(p)], receiving, [(traffic, sending)], whole=whole
                )
            )
        return all_of(travelling, incoming)

    def _home_rows(self, s, keys, received, message):
        """ShardRows of shard s at home: the received rows stand for records."""
        table, buffers = self._tables[s], self._of_shards[s]
        places = self._addresses("addresses", s, received, message, self._row_bytes)
        addresses = self._backend.rows.home_addresses(table.layout, places, buffers)
        sums = table.zero_sums(buffers, keys.unique, keys.values is not None)
        grouping, fields = self._backend.lookup.group(keys.offsets, keys.occurrences, addresses, buffers), None
        if table.by_field:
            fields = buffers.array("fields", keys.unique, np.uint16)
            self._backend.rows.requested_fields(keys.counts, fields)
        occurrences = Occurrences(keys.offsets, keys.occurrences, keys.values, addresses, fields, grouping=grouping, seats=keys.seats)
        return ShardRows(table, occurrences, sums, buffers)

    def _addresses(self, name, s, memory, message, sizes):
        """Where in `memory` the elements of shard s of a PartedMessage lie, rank by rank."""
        begins, counts = message.stretches(s)
        result = self._of_shards[s].array(name, int(counts.sum()), np.int64)
        self._backend.rows.segment_addresses(memory, begins, counts, int(sizes[s]), result)
        return result
