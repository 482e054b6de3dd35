"""The learning rate of every step: a linear warm-up, then a decay.

    warm-up       rate (step + 1) / W                                          for the first W steps
    linear        rate (f + (1 - f) (1 - p))                                   p = (step - W) / D, at most 1
    cosine        rate (f + (1 - f) (1 + cos(pi p)) / 2)
    inverse_sqrt  rate / sqrt(1 + (step - W) / D)                              has no end

W = warmup_steps, D = decay_steps, f = final_rate_fraction.  A run that goes on from a model of S steps (`train.from`) begins at step S: what is
left of a warm-up, and a decay of so many steps, go on.  With decay_steps = 0 the rate falls from there to the run's end: W stands for
max(W, S).
"""

import math
from dataclasses import dataclass

from deshpc.errors import ConfigError


@dataclass(frozen=True)
class Schedule:
    """Learning rates by step; `decay_steps` 0 stands for the rest of the run, which begins at `first_step` and ends after `total_steps`
    (None: not known)."""

    learning_rate: float
    warmup_steps: int = 0
    decay: str = "none"
    decay_steps: int = 0
    final_rate_fraction: float = 0.0
    total_steps: int | None = None
    first_step: int = 0

    def rate(self, step):
        """Learning rate of `step` = 0, 1, ...: a function of the step alone."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        return self.learning_rate * self._factor(step - self._begin)

    def _factor(self, after):
        if self.decay == "none":
            return 1.0
        if self.decay == "inverse_sqrt":
            return 1.0 / math.sqrt(1.0 + after / self.decay_steps)
        done = min(1.0, after / self._span())
        left = 1.0 - done if self.decay == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
        return self.final_rate_fraction + (1.0 - self.final_rate_fraction) * left

    @property
    def _begin(self):
        """The first step of the decay."""
        return self.warmup_steps if self.decay_steps else max(self.warmup_steps, self.first_step)

    def _span(self):
        """Steps from the end of the warm-up to the end of the decay."""
        if self.decay_steps:
            return self.decay_steps
        if self.total_steps is None:
            raise ConfigError("optimizer.decay_steps = 0 means the whole run, whose number of steps is not known here; give it")
        return max(1, self.total_steps - self._begin)
