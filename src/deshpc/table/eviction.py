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
from deshpc.table.selection import Candidates, stays, threshold

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
        config = self._config
        places = [(t, shard) for t, table in enumerate(self._tables) for shard in table.shards]
        found = self._backend.each(lambda t, shard: self._look(shard, step), places)
        histories, leaving = [history for history, _ in found], [gone for _, gone in found]
        if config.max_rows:
            self._shrink(places, histories, leaving, [1] * len(places), config.max_rows, self._over_ranks)
        if config.max_bytes_per_rank:
            costs = [self._row_bytes[t] for t, _ in places]
            self._shrink(places, histories, leaving, costs, config.max_bytes_per_rank, lambda numbers: numbers)
        evicted = sum(int(gone.sum()) for gone in leaving)
        self._backend.each(lambda shard, gone: shard.evict(gone), [(shard, gone) for (_, shard), gone in zip(places, leaving, strict=True)])
        waiting = [shard.waiting for _, shard in places if shard.waiting]
        if waiting and (config.max_age_steps or config.max_waiting_keys):
            self._forget(waiting, step)
        return sum(len(shard) for _, shard in places), sum(one.keys for one in waiting), evicted

    def meet_kernels(self):
        """Have every kernel of an eviction compiled: gives up all rows of this rank.  Not collective."""
        for shard in (shard for table in self._tables for shard in table.shards):
            shard.begin_era(2**40)
            shard.are_zero(shard.history().rows)
            shard.ties()
            shard.evict(np.ones(len(shard), bool))
            if shard.waiting:
                sights = shard.waiting.sights()
                mixed(sights.keys)
                shard.waiting.set(sights)

    def _look(self, shard, step):
        """(History of a shard's rows, (n) bool: which of them go, whatever the budgets)."""
        config, history = self._config, shard.history()
        gone = self._last_before(history.steps, step, config.max_age_steps)
        if config.min_decayed_count:
            gone |= history.worths.view(np.float32) < np.float32(config.min_decayed_count) * DecayedCounts(config.half_life_steps).sight(step)
        if config.zero_age_steps:
            asked = np.flatnonzero(~gone & self._last_before(history.steps, step, config.zero_age_steps))
            gone[asked] = shard.are_zero(history.rows[asked])
        return history, gone

    @staticmethod
    def _last_before(steps, now, age):
        """(n) bool, whether last steps (n) uint32 are so many steps ago; none where the age is 0."""
        return steps <= np.uint32(now - age) if 0 < age <= now else np.zeros(len(steps), bool)

    def _shrink(self, places, histories, leaving, costs, budget, add_up):
        """Let rows leave until those that stay cost no more than a budget."""
        staying = sum(cost * (len(gone) - int(gone.sum())) for gone, cost in zip(leaving, costs, strict=True))
        if int(add_up(np.array([staying], np.int64))[0]) <= budget:
            return
        ties = self._backend.each(lambda shard: shard.ties(), [(shard,) for _, shard in places])
        left = [
            Candidates(history.worths[~gone], of_rows[~gone], cost)
            for history, of_rows, gone, cost in zip(histories, ties, leaving, costs, strict=True)
        ]
        least = threshold(left, budget, add_up)
        for history, of_rows, gone in zip(histories, ties, leaving, strict=True):
            gone |= ~stays(history.worths, of_rows, least)

    def _forget(self, waiting, step):
        """Forget sights of keys, as rows are given up."""
        config, sights = self._config, self._backend.each(lambda one: one.sights(), [(one,) for one in waiting])
        if config.max_age_steps:
            sights = [one.take(~self._last_before(one.steps, step, config.max_age_steps)) for one in sights]
        if config.max_waiting_keys:
            ties = [mixed(one.keys) for one in sights]
            candidates = [Candidates(one.steps, tie, 1) for one, tie in zip(sights, ties, strict=True)]
            least = threshold(candidates, config.max_waiting_keys, self._over_ranks)
            sights = [one.take(stays(one.steps, tie, least)) for one, tie in zip(sights, ties, strict=True)]
        self._backend.each(lambda one, those: one.set(those), list(zip(waiting, sights, strict=True)))
