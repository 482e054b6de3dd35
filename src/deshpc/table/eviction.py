"""Giving rows up: which go is a function of all rows' keys and histories, the same on any number of ranks and threads.

At every `table.evict_every_steps`-th step, behind its update, go in this order

    rows that no batch has had for max_age_steps
    rows whose decayed count is below min_decayed_count
    rows whose weights are all 0, of FTRL's L1, that no batch has had for zero_age_steps
    of the others, those beyond max_rows, then those beyond max_bytes_per_rank: the least worth first, which is the smallest decayed
    count, or the last step longest ago; between equals a hash of the key decides

and of the keys that wait for a row those not seen for max_age_steps, and those beyond max_waiting_keys.
"""

import numpy as np

from deshpc.hashing.splitmix import mixed
from deshpc.table.decay import DecayedCounts
from deshpc.table.selection import Candidates, shrink

INDEX_BYTES = 54
"""Of a row in an index, at most: buckets of 64 bytes with four places, of which three tenths are taken behind a doubling."""


class Eviction:
    """Evicts from the tables of a model."""

    def __init__(self, config, backend, group, tables):
        """config : TableConfig
        tables : [Table] of which every rank has its part
        Collective.
        """
        self._config, self._backend, self._group, self._tables = config, backend, group, tables
        by_column = tables[0].partition.split == "column"  # every rank has a part of all rows, and finds all by itself
        self._over_ranks = (lambda numbers: numbers) if by_column else group.sum
        self._row_bytes = [table.layout.record_bytes + INDEX_BYTES for table in tables]
        if by_column:
            self._row_bytes = [max(of_ranks) for of_ranks in zip(*group.gather(self._row_bytes), strict=True)]
        self.evicted = 0
        """Rows that were given up so far, by all ranks."""
        self.last_look = None
        """{"step", "rows", "waiting", "evicted"} of all ranks, behind the last eviction: rows and keys that are left, rows given up so far."""

    def due(self, step):
        """Whether rows are given up behind the update of a step."""
        return (step + 1) % self._config.evict_every_steps == 0

    def evict(self, step):
        """Give up rows and waiting keys behind the update of `step`.  No batch may be looked up.  Collective."""
        rows, keys, evicted = map(int, self._over_ranks(np.array(self._give_up(step), np.int64)))
        self.evicted += evicted
        self.last_look = {"step": step + 1, "rows": rows, "waiting": keys, "evicted": self.evicted}

    def _give_up(self, step):
        """(rows that are left, waiting keys that are left, rows that went) at this rank.  Collective."""
        config, backend = self._config, self._backend
        shards = [shard for table in self._tables for shard in table.shards]
        costs = [of_table for of_table, table in zip(self._row_bytes, self._tables, strict=True) for _ in table.shards]
        before = sum(map(len, shards))
        rows = backend.each(lambda shard: self._look(shard, step), [(shard,) for shard in shards])
        if config.max_rows:
            shrink(rows, config.max_rows, self._over_ranks, backend)
        if config.max_bytes_per_rank:
            rows = [one._replace(cost=cost) for one, cost in zip(rows, costs, strict=True)]
            shrink(rows, config.max_bytes_per_rank, lambda numbers: numbers, backend)
        backend.each(self._evict, list(zip(shards, rows, strict=True)))
        waiting = [shard.waiting for shard in shards if shard.waiting]
        if waiting and (config.max_age_steps or config.max_waiting_keys):
            self._forget(waiting, step)
        left = sum(map(len, shards))
        return left, sum(one.keys for one in waiting), before - left

    def meet_kernels(self):
        """Have every kernel of an eviction compiled: gives up all rows of this rank.  Not collective."""
        for shard in (shard for table in self._tables for shard in table.shards):
            shard.begin_era(2**40)
            rows = self._look(shard, 0)
            shard.are_zero(np.flatnonzero(rows.stays))
            shrink([rows], 0, lambda numbers: numbers, self._backend)
            self._evict(shard, rows)
            if shard.waiting:
                shard.waiting.forget(shard.waiting.held()[0])

    def _look(self, shard, step):
        """Candidates: the rows of a shard, of which stay, whatever the budgets, those that have not been given up before."""
        config, (held, steps, worths) = self._config, shard.history()
        stays = held & self._since(steps, step, config.max_age_steps)
        if config.min_decayed_count:
            stays &= worths.view(np.float32) >= np.float32(config.min_decayed_count) * DecayedCounts(config.half_life_steps).sight(step)
        if config.zero_age_steps:
            asked = np.flatnonzero(stays & ~self._since(steps, step, config.zero_age_steps))
            stays[asked] = ~shard.are_zero(asked)
        return Candidates(worths, stays, shard.ties, 1)

    @staticmethod
    def _evict(shard, rows):
        """Give up the rows of a shard that do not stay."""
        shard.evict(np.flatnonzero(shard.held() & ~rows.stays))

    def _forget(self, waiting, step):
        """Forget sights of keys, as rows are given up."""
        config = self._config
        held = self._backend.each(lambda one: one.held(), [(one,) for one in waiting])
        candidates = [
            Candidates(marks, (counts > 0) & self._since(marks, step + 1, config.max_age_steps), lambda places, keys=keys: mixed(keys[places]), 1)
            for keys, counts, marks in held
        ]
        if config.max_waiting_keys:
            shrink(candidates, config.max_waiting_keys, self._over_ranks, self._backend)
        leaving = [keys[~one.stays] for one, (keys, *_) in zip(candidates, held, strict=True)]
        self._backend.each(lambda one, keys: one.forget(keys), list(zip(waiting, leaving, strict=True)))

    @staticmethod
    def _since(steps, now, age):
        """(n) bool, whether last steps (n) uint32 are less than so many steps ago; all where the age is 0."""
        return steps > np.uint32(now - age) if 0 < age <= now else np.ones(len(steps), bool)
