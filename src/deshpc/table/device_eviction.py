"""Giving rows up where they are, on a device: the same rows as `Eviction` chooses, and one wait a look."""

import numpy as np

from deshpc.comm.ledger import Traffic
from deshpc.table.decay import DecayedCounts
from deshpc.table.eviction import Eviction

_TRAFFIC = Traffic("batch", "control", "setup")


class DeviceEviction(Eviction):
    """Evicts from the one table of a device, which has one shard: histories, budgets and waiting keys stay there.

    The host waits once, for how many rows and keys are left; for budgets of several ranks as often as their transport does, whose sums
    of digits go the way of all arrays of a device.
    """

    def _give_up(self, step):
        config, (shard,) = self._config, self._tables[0].shards
        low_count = np.float32(0)
        if config.min_decayed_count:
            low_count = np.float32(config.min_decayed_count) * DecayedCounts(config.half_life_steps).sight(step)
        if shard.waiting and (config.max_age_steps or config.max_waiting_keys):
            self._forget(shard.waiting, step)
        look = shard.look(_oldest(step, config.max_age_steps), _oldest(step, config.zero_age_steps), low_count)
        if config.max_rows:
            self._backend.history.shrink(look, 1, config.max_rows, self._sums)
        if config.max_bytes_per_rank:
            self._backend.history.shrink(look, self._row_bytes[0], config.max_bytes_per_rank, lambda costs: costs)
        evicted = shard.keep(look)
        return len(shard), shard.waiting.keys if shard.waiting else 0, evicted

    def meet_kernels(self):
        """Have every kernel of an eviction compiled: gives up all rows of this rank.  Not collective."""
        (shard,) = self._tables[0].shards
        shard.begin_era(2**40)
        if shard.waiting:
            self._empty(shard.waiting, shard.waiting.look(-1))
        self._empty(shard, shard.look(-1, -1, np.float32(0)))

    def _empty(self, held, look):
        self._backend.history.shrink(look, 1, 0, lambda costs: costs)
        held.keep(look)

    def _forget(self, waiting, step):
        look = waiting.look(_oldest(step, self._config.max_age_steps))
        if self._config.max_waiting_keys:
            self._backend.history.shrink(look, 1, self._config.max_waiting_keys, self._sums)
        waiting.keep(look)

    def _sums(self, costs):
        """Sums over ranks of an array of the device."""
        return self._group.sum_samples(costs, _TRAFFIC).wait()


def _oldest(step, age):
    """The last step that is so many steps ago; -1 where the age is 0, or no step is."""
    return step - age if 0 < age <= step else -1
