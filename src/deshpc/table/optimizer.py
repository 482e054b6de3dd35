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
from dataclasses import dataclass, replace
from functools import lru_cache

from deshpc.backend import rules
from deshpc.backend.rules import StateStart
from deshpc.config.schema import OptimizerConfig
from deshpc.table.schedule import Schedule

_SUMMED = ("adagrad", "rowwise_adagrad", "ftrl")  # their state starts at a number that has a gradient's scale


@dataclass(frozen=True)
class Optimizer:
    """The rule that a configuration names, with its learning rates.

    reduction : "mean" or "sum", the gradient is that of the batch's mean or summed loss
    dense, dense_schedule : rule and learning rates of dense parameters
    """

    config: OptimizerConfig
    schedule: Schedule
    reduction: str
    dense: OptimizerConfig
    dense_schedule: Schedule

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
        return _start(self.config, self.config.l1, self.config.l2)

    @property
    def dense_state_start(self):
        """First state of dense parameters."""
        return _start(self.dense, 0.0, 0.0)

    @property
    def row_wise(self):
        """Whether rows keep state for the linear weight and for the whole embedding, not for each weight."""
        return self.config.name == "rowwise_adagrad"

    def state_numbers(self, weights):
        """State numbers of the part of a row that has so many weights: the linear weight, or the embedding."""
        if self.row_wise:
            return min(weights, 1)
        return self.state_start.planes * weights

    def rule(self, step, number):
        """The rule of `backend.rules` for rows at `step`, its fields of the type `number`."""
        return _rule(self.config, self.schedule.rate(step), step, number, self.config.l1, self.config.l2)

    def dense_rule(self, step, number):
        """The rule for dense parameters: no l1, no l2, one accumulator per weight."""
        return _rule(self.dense, self.dense_schedule.rate(step), step, number, 0.0, 0.0)

    def clip(self, square_norm):
        """Factor of all gradients of a step whose gradient has this squared norm, at most 1."""
        norm = math.sqrt(square_norm)
        return self.clip_norm / norm if 0.0 < self.clip_norm < norm else 1.0


def _rule(c, rate, step, number, l1, l2):
    if c.name == "adam":
        left1, left2 = 1.0 - c.beta1 ** (step + 1), 1.0 - c.beta2 ** (step + 1)
        rule = rules.Adam(rate, c.beta1, c.beta2, 1.0 - c.beta1, 1.0 - c.beta2, 1.0 / left1, 1.0 / left2, c.epsilon)
        return rules.Adam(*map(number, rule))
    return _steady_rule(c.name, rate, c.epsilon, c.beta, number, l1, l2)


@lru_cache(8)
def _steady_rule(name, rate, epsilon, beta, number, l1, l2):
    """A rule that knows of the step by its rate alone: the same object every time."""
    if name == "sgd":
        rule = rules.Sgd(rate)
    elif name == "adagrad":
        rule = rules.Adagrad(rate, epsilon)
    elif name == "rowwise_adagrad":
        rule = rules.RowwiseAdagrad(rate, epsilon)
    elif name == "ftrl":
        rule = rules.Ftrl(rate, beta, l1, l2)
    else:
        raise ValueError(f"no rule for optimizer.name = {name!r}")
    return type(rule)(*map(number, rule))


def _start(c, l1, l2):
    if c.name in ("adagrad", "rowwise_adagrad"):
        return StateStart(1, c.initial_accumulator)
    if c.name == "adam":
        return StateStart(2)
    if c.name == "ftrl":  # the z from which the formula gives the weight as it is, or the first update would undo it
        slope = (c.beta + math.sqrt(c.initial_accumulator)) / c.learning_rate + l2
        return StateStart(2, 0.0, c.initial_accumulator, -slope, -l1)
    if c.name == "sgd":
        return StateStart()
    raise ValueError(f"no state for optimizer.name = {c.name!r}")


def open_optimizer(config, total_steps=None, first_step=0):
    """The Optimizer of an OptimizerConfig; a decay over the whole run goes from `first_step` to `total_steps`."""
    reduction = config.reduction
    if reduction == "auto":
        reduction = "sum" if config.name in _SUMMED else "mean"
    name = config.dense_name or ("adagrad" if config.name == "rowwise_adagrad" else config.name)
    dense = replace(config, name=name, learning_rate=config.dense_learning_rate or config.learning_rate)
    schedules = [
        Schedule(c.learning_rate, c.warmup_steps, c.decay, c.decay_steps, c.final_rate_fraction, total_steps, first_step)
        for c in (config, dense)
    ]
    return Optimizer(config, schedules[0], reduction, dense, schedules[1])
