"""A table: this rank's shards of the rows of one dimension and optimizer, and the gradient sums of a batch."""

import math
from dataclasses import dataclass, replace
from itertools import chain, cycle

import numpy as np

from deshpc.backend.arguments import Decay, Occurrences, Rounding, Sums
from deshpc.backend.exact_norm import TERMS
from deshpc.backend.record import CHUNK_ROWS, RecordLayout, cache_lines
from deshpc.backend.room import require_room
from deshpc.backend.weight_form import WeightForm
from deshpc.hashing.key_fields import fields_of
from deshpc.hashing.partition import owners
from deshpc.hashing.splitmix import fold_words
from deshpc.hashing.spread import spread
from deshpc.route.routed import ListedKeys, WholeBatch
from deshpc.table.columns import own_places, widened
from deshpc.table.decay import DecayedCounts
from deshpc.table.merging import merged
from deshpc.table.shard import BLOCK_ROWS, Initialisation, Rows, Shard
from deshpc.table.sights import Sights
from deshpc.table.waiting import WaitingKeys

_ROUNDING = 0x726F756E  # of the chances of rounding, which are to have nothing in common with first weights


@dataclass(frozen=True)
class ShardRows:
    """A batch at one shard: which rows its occurrences touch, and the sums of their gradients.

    table : the Table whose rows they are, or stand for
    occurrences : Occurrences; where rows travel, one is a requested key, and there are no offsets
    sums : Sums, zero
    scratch : reusable arrays of whoever works on this shard
    first : place of the first row; the one before, if any, stands for keys that wait for a row, and is not to be updated
    """

    table: "Table"
    occurrences: Occurrences
    sums: Sums
    scratch: object
    first: int = 0


class Table:
    """Rows `[w, v_1 .. v_dim]` (w only if `scalars` = 1) split by `partition`; this rank holds its shards."""

    def __init__(
        self, backend, group, partition, scalars, dim, precision, compute, optimizer, seed, init_std, sums=None,
        own_terms=True, by_field=False, columns=None, shards=None, living=None,
    ):  # fmt: skip
        """precision : type of weights and state, of `train.precision`
        compute : of arithmetic
        sums : of sums, if not as compute

        own_terms : an embedding's gradient has the term - v sum g x^2
        by_field : operators ask for the rows' fields
        columns : (begin, end) of the embedding's columns that this rank's rows have, None for all;  with column 0 goes w
        shards : range of those of the rank's shards that are this table's, None for all
        living : TableConfig: which keys get rows, and whether counts of their sights decay;  None: all, and none does
        """
        self._backend, self._group, self.partition, self.optimizer = backend, group, partition, optimizer
        state = optimizer.state_numbers
        decays = living is not None and living.half_life_steps > 0
        self.whole_layout = RecordLayout(scalars, dim, precision, state(scalars), state(dim), decays)
        self._own_places, self._has_first_column, first_column = None, columns is None or columns[0] == 0, 0
        if columns is not None:
            self._own_places = own_places(scalars, dim, optimizer.state_start.planes, *columns, optimizer.row_wise)
            first_column, dim, scalars = columns[0], columns[1] - columns[0], scalars if columns[0] == 0 else 0
        self.layout = RecordLayout(scalars, dim, precision, state(scalars), state(dim), decays)
        self._decays = DecayedCounts(living.half_life_steps) if decays else None
        self._living, self._seed = living, seed
        chunk = f"model.dim = {dim}: the first {CHUNK_ROWS:,} rows of a shard"
        require_room(CHUNK_ROWS * self.layout.record_bytes, chunk)
        self.sums_type = np.dtype(sums or compute)
        self.form = WeightForm.of(backend, dim, precision, compute, sums)
        self.own_terms, self.by_field = own_terms, by_field
        self._start = Initialisation(seed, init_std, optimizer.state_start, first_column)
        self._numbers = range(partition.shards) if shards is None else shards
        self._shards = [self._new_shard() for _ in self._numbers]
        self._scratch = [cycle([backend.buffers(), backend.buffers()]) for _ in self._shards]

    @property
    def of_shards(self):
        """[the Table] of each of the rank's shards."""
        return [self] * len(self._shards)

    @property
    def shards(self):
        """[Shard] of this rank."""
        return self._shards

    @property
    def parts(self):
        """[Table] whose rows are divided among ranks: itself."""
        return [self]

    @property
    def whole_rows(self):
        """What says how whole rows are put together: {"split", "scalars", "dim", "planes"}; planes : numbers of state a weight."""
        layout = self.whole_layout
        return {
            "split": self.partition.split, "scalars": layout.scalars, "dim": layout.dim,
            "planes": self.optimizer.state_start.planes,
        }  # fmt: skip

    def __len__(self):
        """Rows at this rank."""
        return sum(map(len, self._shards))

    @property
    def first_rows(self):
        """Rows at this rank whose first column it holds: added up over ranks, those of the model."""
        return len(self) if self._has_first_column else 0

    @property
    def waiting_keys(self):
        """Keys at this rank that wait for a row: added up over ranks, those of the model."""
        return sum(shard.waiting.keys for shard in self._shards if shard.waiting and self._has_first_column)

    @property
    def nbytes(self):
        """Bytes of rows and index at this rank."""
        return sum(shard.nbytes for shard in self._shards)

    def look_up(self, routed, insert):
        """[ShardRows of each shard] of a RoutedBatch; unseen keys are inserted, or read as zeros.

        Valid until the call after the next one: a batch is looked up while the one before is worked on.
        Not collective.
        """
        return self._backend.each(self._look_up, [(s, routed, insert) for s in range(len(self._shards))])

    def update(self, rows, step, clip=1.0, inverse_scale=1.0):
        """Apply the optimizer to the rows that the batch touched, with `clip` times their gradients.

        The sums become zero again.  inverse_scale : value of a 1 in fixed-point sums.  Not collective.
        """
        number = self.form.zero.dtype.type
        rule, l2 = self.optimizer.rule(step, number), number(self.optimizer.l2)
        for shard in self._shards:
            shard.begin_era(step)
        decay = Decay(self.layout.decayed, self._decays.sight(step)) if self._decays else None
        rounding = None
        if self.layout.halves:
            rounding = Rounding(np.uint64(fold_words(self._seed, _ROUNDING, step)), self._start.first_column)
        arguments = (rule, np.uint32(step), number(clip), l2, inverse_scale, decay, rounding)
        self._backend.each(self._update, [(shard, *arguments) for shard in rows])

    def square_norm(self, rows, inverse_scale):
        """Function() -> terms (TERMS) int64, see `backend.exact_norm`, of the squared norm of the gradient of this rank's rows.

        rows : [ShardRows], whose sums are complete
        Before clipping and l2; to be asked for before `update`.  A device is started now, and waited for when the function is called.
        Not collective.
        """
        found = self._backend.each(self._square_norm, [(shard, inverse_scale) for shard in rows])
        return lambda: sum(read() for read in found)

    def reserve(self, rows):
        """Set memory aside for so many rows of all ranks, and touch it, so that training does not wait for it.  Not collective.

        Rows spread over owners as evenly as hashes do; a table that gets more of them grows all the same.
        """
        ranks = 1 if self.partition.split == "column" else self.partition.ranks
        mean = rows / (ranks * len(self._shards))
        require_room(int(len(self._shards) * mean * self.layout.record_bytes), f"model.expected_rows: {rows:,.0f} rows")
        self._backend.each(lambda shard: shard.reserve(math.ceil(mean + 4 * math.sqrt(mean))), [(s,) for s in self._shards])

    def clear(self):
        """Forget all rows."""
        self._shards = [self._new_shard() for _ in self._shards]

    def _new_shard(self):
        living, waiting = self._living, None
        if living is not None and not living.admits_all:
            waiting = WaitingKeys(self._backend, living.admit_after, living.admit_probability, self._seed)
        return Shard(self._backend, self.layout, self._start, waiting, self._decays)

    def export(self):
        """All rows of this rank, in key order (`Rows`)."""
        return Rows.concatenate([shard.export() for shard in self._shards])

    def blocks(self, block_rows=BLOCK_ROWS, ordered=True):
        """Yield the rows of this rank in key order, unless none is asked for, at most so many at a time: see `Shard.blocks`.

        A shard's keys come before those of the next one, since shards are in the order of their keys, but for FieldPartition.
        """
        of_shards = [shard.blocks(block_rows, ordered) for shard in self._shards]
        yield from self._in_key_order(of_shards) if ordered else chain.from_iterable(of_shards)

    def copied_blocks(self):
        """[Rows]: a copy of all rows of this rank, as `blocks`; each thread copies its shard."""
        parts = self._backend.each(lambda shard: list(shard.blocks()), [(shard,) for shard in self._shards])
        return list(self._in_key_order(parts))

    def _in_key_order(self, of_shards):
        if self.partition.split == "field":
            return merged(of_shards)
        return (block for blocks in of_shards for block in blocks)

    @property
    def key_range(self):
        """(first, last) key that this rank may own."""
        return self.partition.key_range(self._group.rank)

    def load(self, rows, given=None):
        """Take from `rows` (any keys, `Rows`) those that this rank owns; returns how many, where it holds their first column.

        given : (m) int64, ascending, which of a whole row's numbers `rows.numbers` (n, m) are; the others begin as those of a new row;
        None: all
        Not collective.
        """
        owner, numbers = owners(self.partition, rows.keys, rows.fields), rows.numbers
        if self._own_places is not None:
            own = self._own_places if given is None else self._own_places[np.isin(self._own_places, given)]
            numbers = numbers[:, own if given is None else np.searchsorted(given, own)]
            given = None if given is None else np.flatnonzero(np.isin(self._own_places, given))
        first, taken = self._group.rank * self.partition.shards, 0
        for s, shard in zip(self._numbers, self._shards, strict=True):
            mine = owner == first + s
            shard.load(replace(rows, numbers=numbers).take(mine), given)
            taken += int(mine.sum())
        return taken if self._has_first_column else 0

    def waiting(self):
        """`Sights` of the keys of this rank that wait for a row, in key order; under column split rank 0 has all.  Not collective."""
        own = [shard.waiting.sights() for shard in self._shards if shard.waiting and self._has_first_column]
        return Sights.joined(own)

    def wait(self, sights):
        """Let those of some keys that this rank owns wait for a row, where keys have to, in place of those that do.

        sights : `Sights`, of any keys
        Not collective.
        """
        owner, first = owners(self.partition, sights.keys, fields_of(sights.keys)), self._group.rank * self.partition.shards
        for s, shard in zip(self._numbers, self._shards, strict=True):
            if shard.waiting:
                shard.waiting.set(sights.take(owner == first + s))

    def asked(self, keys, fields):
        """(n) int64: for each key a rank that knows whether it has a row, the same for whoever asks.

        keys (n) uint64, fields (n) uint16, in host memory.  Not collective.
        """
        if self.partition.split == "column":  # every rank has a part of every row
            return spread(keys, self._group.size)
        return owners(self.partition, keys, fields) // self.partition.shards

    def holds(self, keys, fields):
        """(n) bool, whether this rank has a row of each key, or a part of it; nothing is inserted.

        keys (n) uint64, fields (n) uint16, in host memory.  No batch may be under way.  Not collective.
        """
        owner, first = owners(self.partition, keys, fields), self._group.rank * self.partition.shards
        found = np.zeros(len(keys), bool)
        for s, shard in zip(self._numbers, self._shards, strict=True):
            mine = owner == first + s
            local = shard.look_up(self._backend.array(keys[mine]), self._backend.array(fields[mine])).local
            found[mine] = self._backend.host(local) > 0
        return found

    def _look_up(self, s, routed, insert):
        owned, shard, step = routed.shards[self._numbers[s]], self._shards[s], routed.step if insert else None
        if isinstance(owned, WholeBatch):
            found, offsets, values = shard.look_up_own(owned.batch, owned.partition, owned.owner, step)
            local, weighted, seated = found.local, values is not None, owned.seats
        elif isinstance(owned, ListedKeys):
            found, offsets, values = shard.look_up_lists(owned.lists, owned.samples, owned.like, step)
            local, weighted, seated = found.local, values is not None, None
        else:
            found = shard.look_up(owned.keys, owned.fields, step)
            offsets, local, values, weighted, seated = owned.offsets, found.local, owned.values, owned.weighted, None
            if owned.occurrences is not None:
                self._backend.routing.through(owned.occurrences, found.local)
                local = owned.occurrences
        scratch, grouping, fields, seats = next(self._scratch[s]), None, None, None
        if seated is not None:
            seats = seated.of(owned.batch, owned.partition, owned.partition.owners, owned.owner, scratch)
        if self.by_field and offsets is not None:
            fields = scratch.array("fields", found.distinct, np.uint16)
            self._backend.lookup.row_fields(found.addresses, self.layout.tail, fields)
        if insert and offsets is not None:
            grouping = self._backend.lookup.group(offsets, local, found.addresses, scratch)
        occurrences = Occurrences(offsets, local, values, found.addresses, fields, offsets is not None, grouping, seats)
        first = 1 if insert and shard.waiting else 0
        return ShardRows(self, occurrences, self.zero_sums(scratch, found.distinct, weighted), scratch, first)

    def widened(self, rows):
        """`Rows` of this table as whole rows, with 0 in the columns that they do not have."""
        return rows if self._own_places is None else widened(rows, self._own_places, self.whole_layout.numbers)

    def zero_sums(self, buffers, rows, weighted):
        """Sums of so many rows, zero.  weighted : whether occurrences have values"""
        dim, kind = self.layout.dim, self.sums_type
        squares = dim and self.own_terms and (weighted or not self.layout.scalars)
        return Sums(
            buffers.zeros("scalar", rows, kind) if self.layout.scalars else None,
            buffers.zeros("vector", (rows, dim), kind) if dim else None,
            buffers.zeros("square", rows, kind) if squares else None,
        )

    def _update(self, shard, rule, step, clip, l2, inverse_scale, decay, rounding):
        layout = self.layout
        self._backend.update.rows(
            rule, self.form, layout.linear_state, layout.tail, cache_lines(layout.used_bytes), shard.occurrences.addresses[shard.first :],
            self._sums_of(shard), inverse_scale, step, clip, l2, decay, rounding,
        )  # fmt: skip
        for array in shard.sums:
            if shard.first and array is not None:
                array[: shard.first].fill(0)

    def _square_norm(self, shard, inverse_scale):
        addresses, scratch, update = shard.occurrences.addresses[shard.first :], shard.scratch, self._backend.update
        norms, terms = scratch.array("norms", addresses.size, np.float64), scratch.array("terms of norms", TERMS, np.int64)
        terms.fill(0)
        update.square_norms(self.form, addresses, self._sums_of(shard), inverse_scale, norms)
        update.add_exactly(norms, terms)
        return self._backend.read_later(terms)

    def _sums_of(self, shard):
        """The Sums as updates take them: where all values are 1, sums of g x^2 are those of g x."""
        scalar, vector, square = (None if array is None else array[shard.first :] for array in shard.sums)
        shared = scalar if self.layout.dim and self.own_terms else None
        return Sums(scalar, vector, shared if square is None else square)
