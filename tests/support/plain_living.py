"""Admission and eviction from their definitions, in dictionaries; shares no code with deshpc.

    sight      a step whose batch has a key that has no row
    admission  at a sight from the admit_after-th on, if fold(fold(fold(seed, "admi"), key), sights) / 2^64 is below the chance
    count      d <- d 2^(-age / half life) + 1 at a step that has the key, age steps behind the one before
    eviction   behind each evict_every_steps-th step: by age, by count, zeros, then the least worth beyond a budget
    worth      the decayed count now, or the last step; between equals mix64(key)
"""

import copy
import math

from plain_model import PlainModel, fold, mix64

DEFAULTS = {
    "admit_after": 1, "admit_probability": 1.0, "max_waiting_keys": 0, "max_age_steps": 0, "half_life_steps": 0, "min_decayed_count": 0.0,
    "max_rows": 0, "max_bytes_per_rank": 0, "zero_age_steps": 0, "evict_every_steps": 100,
}  # fmt: skip


class PlainLiving(PlainModel):
    """A PlainModel whose keys come and go: waiting {key: [sights, last step]}, decayed {key: count at its last step}."""

    def __init__(self, table, *arguments, row_bytes=0):
        """table : options of [table]
        row_bytes : what a row costs, of max_bytes_per_rank
        """
        super().__init__(*arguments)
        self.table, self.row_bytes, self.rank_of = {**DEFAULTS, **table}, row_bytes, None
        self.waiting, self.decayed, self.removed = {}, {}, set()

    def after(self, batches, rank_of):
        """Another such model, after some steps more; its `losses` are theirs."""
        other = copy.deepcopy(self)
        other.rank_of = rank_of
        other.losses = [other.step(batch) for batch in batches]
        return other

    def admits(self, key, step):
        """Whether a key without a row gets one at a step: counts the sight."""
        sights, last = self.waiting.get(key, (0, None))
        if last == step:
            return False
        chance = fold(fold(fold(self.seed, 0x61646D69), key), sights + 1) >> 32
        if sights + 1 >= self.table["admit_after"] and chance < round(self.table["admit_probability"] * 2**32):
            self.waiting.pop(key, None)
            return True
        self.waiting[key] = sights + 1, step
        return False

    def step(self, batch):
        """One update by a global batch, and what is given up behind it; returns the summed loss."""
        before = dict(self.steps)
        loss = super().step(batch)
        for key in {*batch.keys.tolist()} & {*self.weights}:
            self.decayed[key] = self._decayed_at(key, batch.step, before.get(key, batch.step)) + 1.0
        if (batch.step + 1) % self.table["evict_every_steps"] == 0:
            self.evict(batch.step)
        return loss

    def evict(self, step):
        """Give up rows and waiting keys behind a step; rank_of : function of a key that gives its rank, of max_bytes_per_rank."""
        table, age = self.table, {key: step - last for key, last in self.steps.items()}
        if table["max_age_steps"]:
            self._remove(key for key in age if age[key] >= table["max_age_steps"])
        if table["min_decayed_count"]:
            self._remove(key for key in self.weights if self._worth(key, step) < table["min_decayed_count"])
        if table["zero_age_steps"]:
            self._remove(key for key, w in self.weights.items() if age[key] >= table["zero_age_steps"] and not w.any())
        if table["max_rows"]:
            self._remove(self._least([*self.weights], step, len(self.weights) - table["max_rows"]))
        if table["max_bytes_per_rank"]:
            for rank in {self.rank_of(key) for key in self.weights}:
                own = [key for key in self.weights if self.rank_of(key) == rank]
                self._remove(self._least(own, step, len(own) - table["max_bytes_per_rank"] // self.row_bytes))
        if table["max_age_steps"]:
            self.waiting = {key: one for key, one in self.waiting.items() if step - one[1] < table["max_age_steps"]}
        if table["max_waiting_keys"]:
            newest = sorted(self.waiting, key=lambda key: (self.waiting[key][1], mix64(key)), reverse=True)
            self.waiting = {key: self.waiting[key] for key in newest[: table["max_waiting_keys"]]}

    def _least(self, keys, step, count):
        return sorted(keys, key=lambda key: (self._worth(key, step), mix64(key)))[: max(0, count)]

    def _worth(self, key, step):
        if not self.table["half_life_steps"]:
            return self.steps[key]
        return self._decayed_at(key, step, self.steps[key])

    def _decayed_at(self, key, step, last):
        half_life = self.table["half_life_steps"] or math.inf
        return self.decayed.get(key, 0.0) * 2.0 ** (-(step - last) / half_life)

    def _remove(self, keys):
        for key in [*keys]:
            for rows in (self.fields, self.counts, self.steps, self.weights, self.states, self.decayed):
                rows.pop(key, None)
            self.removed.add(key)
