"""Update rules: one update per key and step, from the gradient summed per key over the global batch.

    sgd               w -= rate g
    adagrad           s += g^2;  w -= rate g / (sqrt(s) + epsilon), one s per weight, from `initial_accumulator`
    rowwise_adagrad   as adagrad, but one s for the linear weight and one for the embedding: s += mean(g^2)
    adam              lazy: moments of the keys present only, bias correction by the global step
    ftrl              FTRL-proximal: l1 makes weights exactly 0; keeps z and n for every weight

`backend.rules` has the formulas in full, docs/optimizers.md what the options mean.  A row's state is that of its
linear weight, then that of its embedding; replicated dense parameters (`nn.parameters`) take the same formulas, without
l1 and l2, and with one accumulator per weight under rowwise_adagrad.
"""

import math
from dataclasses import dataclass

from deshpc.backend import rules
from deshpc.backend.rules import StateStart
from deshpc.config.schema import OptimizerConfig
from deshpc.table.schedule import Schedule

_SUMMED = ("adagrad", "rowwise_adagrad", "ftrl")  # their state starts at a number that has a gradient's scale


@dataclass(frozen=True)
class Optimizer:
    """The rule that a configuration names, with its learning rates.

    reduction : "mean" or "sum", the gradient is that of the batch's mean or summed loss
    """

    config: OptimizerConfig
    schedule: Schedule
    reduction: str

    @property
    def clip_norm(self):
        """Largest global norm of a step's gradient; 0: any."""
        return self.config.clip_norm

    @property
    def l2(self):
        """Factor of the weight that is added to a row's gradient; FTRL has l2 in its formula instead."""
        return 0.0 if self.config.name == "ftrl" else self.config.l2

    @property
    def state_start(self):
        """First state of rows."""
        return self._start(self.config.l1, self.config.l2)

    @property
    def dense_state_start(self):
        """First state of dense parameters."""
        return self._start(0.0, 0.0)

    def state_numbers(self, weights):
        """State numbers of the part of a row that has so many weights: the linear weight, or the embedding."""
        if self.config.name == "rowwise_adagrad":
            return min(weights, 1)
        return self.state_start.planes * weights

    def rule(self, step, number):
        """The rule of `backend.rules` for rows at `step`, its fields of the type `number`."""
        return self._rule(step, number, self.config.name, self.config.l1, self.config.l2)

    def dense_rule(self, step, number):
        """The rule for dense parameters: no l1, no l2, one accumulator per weight."""
        name = "adagrad" if self.config.name == "rowwise_adagrad" else self.config.name
        return self._rule(step, number, name, 0.0, 0.0)

    def clip(self, square_norm):
        """Factor of all gradients of a step whose gradient has this squared norm, at most 1."""
        norm = math.sqrt(square_norm)
        return self.clip_norm / norm if 0.0 < self.clip_norm < norm else 1.0

    def _rule(self, step, number, name, l1, l2):
        c, rate = self.config, self.schedule.rate(step)
        if name == "sgd":
            rule = rules.Sgd(rate)
        elif name == "adagrad":
            rule = rules.Adagrad(rate, c.epsilon)
        elif name == "rowwise_adagrad":
            rule = rules.RowwiseAdagrad(rate, c.epsilon)
        elif name == "adam":
            left1, left2 = 1.0 - c.beta1 ** (step + 1), 1.0 - c.beta2 ** (step + 1)
            rule = rules.Adam(rate, c.beta1, c.beta2, 1.0 - c.beta1, 1.0 - c.beta2, 1.0 / left1, 1.0 / left2, c.epsilon)
        else:
            rule = rules.Ftrl(rate, c.beta, l1, l2)
        return type(rule)(*map(number, rule))

    def _start(self, l1, l2):
        c = self.config
        if c.name in ("adagrad", "rowwise_adagrad"):
            return StateStart(1, c.initial_accumulator)
        if c.name == "adam":
            return StateStart(2)
        if c.name == "ftrl":  # the z from which the formula gives the weight as it is, or the first update would undo it
            slope = (c.beta + math.sqrt(c.initial_accumulator)) / c.learning_rate + l2
            return StateStart(2, 0.0, c.initial_accumulator, -slope, -l1)
        return StateStart()


def open_optimizer(config, total_steps=None):
    """The Optimizer of an OptimizerConfig; `total_steps` of the run serve a decay over the whole of it."""
    reduction = config.reduction
    if reduction == "auto":
        reduction = "sum" if config.name in _SUMMED else "mean"
    schedule = Schedule(
        config.learning_rate, config.warmup_steps, config.decay, config.decay_steps, config.final_rate_fraction, total_steps
    )
    return Optimizer(config, schedule, reduction)
