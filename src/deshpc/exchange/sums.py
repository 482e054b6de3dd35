"""How partial results become complete, and gradients reach the rows: forward and adjoint of every exchange.

    name             forward                                        top on       backward
    allreduce        all-reduce of partials (B, s)                  all samples  nothing travels
    reduce_scatter   reduce-scatter of partials (B, s) to home      own share    all-gather of the states' gradients (b, s)
    rows             rows of unique keys travel to home             own share    their gradients travel back, summed per key
    pooled           see `exchange.pooled`                      own share    the same way back

Bytes sent by a rank in a step, both directions, N ranks, b samples a rank, numbers of 4 or 8 bytes: the first two
2 (N - 1) b s; rows 2 b u w (N - 1) / N for u distinct keys a sample in a local batch and rows of w weights.  Where the
top works on a rank's own share, dense gradients are all-reduced besides (`top.dense_sums`).

`start` returns a Handle of Partials; `give_back` adds the rows' gradients to the sums of `found.rows`, at the owners.
"""

import numpy as np

from deshpc.backend.record import cache_lines
from deshpc.comm.ledger import Traffic
from deshpc.exchange.contract import Partials
from deshpc.exchange.pooled import PooledExchange
from deshpc.table.table import ShardRows


class AllReduce:
    """Every rank gets all B complete states and repeats the cheap top.

    Forward: all-reduce, consumer replicated.  Backward: identity, since every rank has computed the gradient of all B
    states itself.

            rank 0        rank 1                rank 0          rank 1
        s0  a             b            ->   s0  a + b           a + b
        s1  c             d                 s1  c + d           c + d
    """

    whole_top, moves_rows = True, False

    def __init__(self, backend, group, operators):
        self._group, self._operators = group, operators

    def start(self, found, scale):
        """Start the all-reduce of partials.  Collective."""
        samples, stays = found.routed.samples, self._group.size == 1
        state = self._operators.partial(found.rows, samples, scale, found, stays)
        traffic = Traffic(self._operators.name, "partials", found.direction)
        return self._group.sum_samples(state, traffic).then(lambda whole: Partials(whole, found.rows))

    def give_back(self, found, partials, gradient, scale):
        """Add the gradients of own rows, from the gradients (B, s) of all states.  Not collective."""
        self._operators.partial_adjoint(found.rows, gradient, scale)
        return found.rows


class ReduceScatter:
    """Every rank gets the complete states of its own samples; the top is data-parallel.

    Forward: reduce-scatter over samples.  Backward: all-gather of the states' gradients.

            rank 0        rank 1                rank 0          rank 1             rank 0     rank 1
        s0  a             b            ->   s0  a + b                      ->  s0  ds0        ds0
        s1  c             d                 s1                  c + d          s1  ds1        ds1
    """

    whole_top, moves_rows = False, False

    def __init__(self, backend, group, operators):
        self._group, self._operators, self._scratch = group, operators, backend.buffers()

    def start(self, found, scale):
        """Start the reduce-scatter of partials.  Collective."""
        state = self._operators.partial(found.rows, found.routed.samples, scale, found)
        traffic = Traffic(self._operators.name, "partials", found.direction)
        return self._group.reduce_samples(state, traffic).then(lambda share: Partials(share, found.rows))

    def give_back(self, found, partials, gradient, scale):
        """Add the gradients of own rows, from the gradients (b, s) of this rank's samples' states.  Collective."""
        whole = self._scratch.array("gradient", (found.routed.samples, gradient.shape[1]), gradient.dtype)
        traffic = Traffic(self._operators.name, "gradients", "backward")
        self._operators.partial_adjoint(found.rows, self._group.gather_samples(gradient, whole, traffic).wait(), scale)
        return found.rows


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
                shard.local, shard.addresses, targets,
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
        weighted = shards[0].self_sums is not None
        send_self = weighted and integers
        gradient_bytes = np.array([(table.layout.weights + send_self) * self._sums_type.itemsize for table in self._tables])
        message = self._message("gradients out", requests.asking, gradient_bytes)

        def send(s, shard):
            table, layout = shard.table, shard.table.layout
            if weighted and not integers:
                kernels.subtract_own(
                    table.lanes, layout.number, table.zero, layout.dim, shard.addresses, shard.vector_sums, shard.self_sums
                )
            targets = self._addresses("targets", s, message, requests.asking, gradient_bytes)
            kernels.send_gradients(
                layout.dim, shard.scalar_sums, shard.vector_sums, shard.self_sums, send_self, targets
            )

        self._backend.each(send, list(enumerate(shards)))
        incoming = self._message("gradients in", requests.asked, gradient_bytes)
        traffic = Traffic(self._operators.name, "gradients", "backward")
        received = self._exchange(message, requests.asking, incoming, requests.asked, gradient_bytes, traffic).wait()

        def add(s, shard):
            sources = self._addresses("sources", s, received, requests.asked, gradient_bytes)
            own = shard.self_sums if send_self else None
            kernels.add_gradients(sources, shard.table.layout.dim, shard.local, shard.scalar_sums, shard.vector_sums, own)

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
        return ShardRows(
            table, keys.offsets, keys.occurrences, keys.values, addresses, fields, False, grouping, buffers, *sums
        )

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


EXCHANGES = {"allreduce": AllReduce, "reduce_scatter": ReduceScatter, "rows": RowExchange, "pooled": PooledExchange}

