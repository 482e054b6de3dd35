"""Fields whose rows every rank has: pooled at the samples of its top, from its own copy of the rows.

Forward: nothing travels; E_f of replicated fields, and their rows' terms of the first column, are added to what the exchange of
the other fields has given.  Backward: a rank adds up the gradients of its samples' rows; where the top works on its own share,
the sums of all ranks are all-gathered, and every rank adds them up in rank order and makes the same update of every row.

        rank 0 (samples s0)    rank 1 (samples s1)           rank 0 and rank 1
        da da' db              db' dc                   ->   da + da', db + db', dc: rows that a rank lacks are inserted

Sent by a rank in a step: (N - 1) times 10 bytes a row and its sums, of the distinct rows of its share.
"""

import numpy as np

from deshpc.comm.handle import done
from deshpc.comm.ledger import Traffic
from deshpc.nn.parts import shares
from deshpc.table.replicated import PartlyRows

TRAFFIC = Traffic("pool", "replicated", "backward")
_KEY, _FIELD, _ALIGNED = 8, 2, 8  # bytes


class WithReplicated:
    """The exchange of the other fields, and replicated fields beside it: an `Exchange`.

    `found.rows` are PartlyRows.
    """

    def __init__(self, exchange, backend, group, table, pool, places, room):
        """exchange : of the sharded fields
        table : ReplicatedTable
        pool : Pool of states in which all fields have their columns
        places : columns of a whole state, see `state_places`, None where rows travel: then states have them already
        room : columns behind the states that the tower wants in the same array
        """
        self.whole_top, self.moves_rows = exchange.whole_top, exchange.moves_rows
        self._exchange, self._backend, self._group, self._table, self._pool = exchange, backend, group, table, pool
        self._places, self._room, self._scratch = places, room, backend.buffers()
        self._threads = [backend.buffers() for _ in range(backend.threads)]
        self.rows_met = 0  # distinct rows of this rank's shares, whose sums have travelled

    def start(self, found, scale):
        """Start the exchange of the sharded fields; the others are added when it is complete.  Collective."""
        sharded, replicated = found.rows
        travelling = self._exchange.start(found._replace(rows=sharded), scale)
        return travelling.then(lambda partials: partials._replace(state=self._add(partials.state, replicated)))

    def give_back(self, found, partials, gradient, scale):
        """Give the gradients of the sharded fields back; those of the others are added up over ranks meanwhile.  Collective."""
        sharded, replicated = found.rows
        self._backend.each(
            lambda shard: self._pool.partial_adjoint(shard, gradient, 1.0), [(shard,) for shard in replicated]
        )
        travelling = done(replicated) if self.whole_top else self._gathered(replicated, found.routed.step)
        sharded = self._exchange.give_back(found._replace(rows=sharded), partials, self._sharded(gradient), scale)
        return PartlyRows(sharded, travelling.wait())

    def row_bytes(self, weighted):
        """Bytes of a row in a message: key, field and sums.  weighted : whether occurrences have values"""
        own = self._pool.own_terms and (weighted or not self._table.layout.scalars)
        return _KEY + _FIELD + (self._table.layout.weights + own) * self._table.sums_type.itemsize

    def _add(self, state, rows):
        """Whole states (n, >= s), from those of the sharded fields and the ShardRows `rows`; valid until the next call."""
        whole, n = state, len(state)
        if self._places is not None:
            whole = self._scratch.array("state", (n, self._pool.width + self._room), state.dtype)

        def work(begin, end):
            for first, last, place in self._places or ():
                whole[begin:end, first:last] = 0 if place is None else state[begin:end, place : place + last - first]
            for shard in rows:
                self._pool.add(shard, whole, 1.0, begin, end)

        self._backend.each(work, shares(n, self._backend.threads))
        return whole

    def _sharded(self, gradient):
        """Of the gradient (n, s) of whole states the columns of sharded fields, side by side."""
        if self._places is None:
            return gradient
        held = [(first, last, place) for first, last, place in self._places if place is not None]
        part = self._scratch.array("gradient", (len(gradient), sum(last - first for first, last, _ in held)), gradient.dtype)
        for first, last, place in held:
            part[:, place : place + last - first] = gradient[:, first:last]
        return part

    def _gathered(self, rows, step):
        """Start the all-gather of keys, fields and sums of all ranks; a Handle of their ShardRows."""
        layout, kernels = self._table.layout, self._backend.rows
        numbers = layout.weights + (rows[0].sums.square is not None)
        size, weighted = numbers * self._table.sums_type.itemsize, rows[0].occurrences.values is not None
        counts = self._group.gather_numbers([len(shard.occurrences.addresses) for shard in rows], TRAFFIC).wait()
        self.rows_met += int(counts[self._group.rank].sum())
        lengths = np.array([_message_bytes(int(n), size) for n in counts.sum(axis=1)])
        edges = np.concatenate([np.zeros((len(counts), 1), np.int64), counts.cumsum(axis=1)], axis=1)
        rank, begins = self._group.rank, np.cumsum(lengths) - lengths
        message = self._scratch.array("message", int(lengths[rank]), np.uint8)
        keys, fields = _sections(message, int(edges[rank, -1]), size)

        def write(s, shard):
            first, last = edges[rank, s : s + 2]
            self._backend.selection.row_keys(shard.occurrences.addresses, keys[first:last])
            fields[first:last] = shard.occurrences.fields
            begin = np.array([_KEY * edges[rank, -1] + size * first])
            targets = self._addresses("targets", s, message, begin, counts[rank, s : s + 1], size)
            kernels.send_gradients(layout.dim, *shard.sums, True, targets)

        self._backend.each(write, list(enumerate(rows)))
        whole = self._scratch.array("messages", int(lengths.sum()), np.uint8)

        def read(s):
            mine = counts[:, s].copy()
            all_keys = self._threads[s].array("keys", int(mine.sum()), np.uint64)
            all_fields, end = self._threads[s].array("fields", int(mine.sum()), np.uint16), 0
            for r, (begin, length) in enumerate(zip(begins, lengths, strict=True)):
                keys, fields = _sections(whole[begin : begin + length], int(edges[r, -1]), size)
                first, last = edges[r, s : s + 2]
                begin, end = end, end + int(last - first)
                all_keys[begin:end], all_fields[begin:end] = keys[first:last], fields[first:last]
            places = begins + _KEY * edges[:, -1] + size * edges[:, s]
            sources = self._addresses("sources", s, whole, places, mine, size)
            found = self._table.listed(s, all_keys, all_fields, step, weighted)
            kernels.add_gradients(sources, layout.dim, found.occurrences.local, *found.sums)
            return found

        travelling = self._group.gather_bytes(message, lengths, whole, TRAFFIC)
        return travelling.then(lambda _: self._backend.each(read, [(s,) for s in range(len(rows))]))

    def _addresses(self, name, s, message, begins, counts, size):
        """Where the sums lie in a message: counts[r] of `size` bytes each from byte begins[r] on."""
        result = self._threads[s].array(name, int(counts.sum()), np.int64)
        self._backend.rows.segment_addresses(message, np.ascontiguousarray(begins), np.ascontiguousarray(counts), size, result)
        return result


def state_places(fields, embeddings_at, dim):
    """[(first, last, place)]: columns of a whole state, and where they begin in one of sharded fields alone, None if nowhere.

    fields (F) bool : the replicated ones
    embeddings_at : columns in front of the embeddings, which both states have
    """
    places, place = [(0, embeddings_at, 0)] if embeddings_at else [], embeddings_at
    edges = np.flatnonzero(np.diff(fields, prepend=~fields[:1], append=~fields[-1:]))
    for begin, end in zip(edges, edges[1:], strict=False):
        columns = embeddings_at + dim * int(begin), embeddings_at + dim * int(end)
        places.append((*columns, None if fields[begin] else place))
        place += 0 if fields[begin] else columns[1] - columns[0]
    return places


def _message_bytes(rows, size):
    """Bytes of a message of so many rows, with `size` bytes of sums each: keys, sums, fields, up to a multiple of 8."""
    return -(-rows * (_KEY + size + _FIELD) // _ALIGNED) * _ALIGNED


def _sections(message, rows, size):
    """(keys (rows) uint64, fields (rows) uint16) of a message; between them are the sums."""
    begin = rows * (_KEY + size)
    return message[: _KEY * rows].view(np.uint64), message[begin : begin + _FIELD * rows].view(np.uint16)
