"""Update rules: one update per key and step, from the gradient summed per key over the global batch.

    sgd       w -= rate g
    adagrad   s += g^2;  w -= rate g / (sqrt(s) + epsilon), one s per weight, from `initial_accumulator`

A rule knows how much state a row needs and which kernel applies it to rows; the same rule updates the replicated
dense parameters (`nn.parameters`).

`reduction` says whether the gradient is that of the mean or of the summed loss of the batch.  Adagrad's steps do not
depend on the gradient's scale but through `initial_accumulator`; with the mean over B = 8192 samples a first gradient
is so small beside 0.1 that rows hardly move.  With the sum, one learning rate serves every batch size.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sgd:
    """Stochastic gradient descent."""

    rate: float
    reduction: str = "mean"
    state_start: float = 0.0

    @staticmethod
    def state_numbers(weights):
        """State numbers of so many weights."""
        return 0

    def update_rows(self, kernels, arguments, sums, step, zero):
        """Apply to the rows and sums of one shard; see `backend.cpu.update`."""
        kernels.sgd(*arguments, *sums, step, type(zero)(self.rate))

    def update_dense(self, values, state, gradient):
        """Apply to dense arrays in place; `state` is empty."""
        values -= values.dtype.type(self.rate) * gradient


@dataclass(frozen=True)
class Adagrad:
    """Adagrad with one accumulator per weight."""

    rate: float
    state_start: float
    epsilon: float
    reduction: str = "sum"

    @staticmethod
    def state_numbers(weights):
        """State numbers of so many weights."""
        return weights

    def update_rows(self, kernels, arguments, sums, step, zero):
        """Apply to the rows and sums of one shard; see `backend.cpu.update`."""
        number = type(zero)
        kernels.adagrad(*arguments, *sums, step, number(self.rate), number(self.epsilon))

    def update_dense(self, values, state, gradient):
        """Apply to dense arrays in place; `state` holds the accumulators."""
        number = values.dtype.type
        state += gradient * gradient
        values -= number(self.rate) * gradient / (np.sqrt(state) + number(self.epsilon))


def open_optimizer(config):
    """The update rule of an OptimizerConfig."""
    if config.name == "sgd":
        return Sgd(config.learning_rate, "mean" if config.reduction == "auto" else config.reduction)
    return Adagrad(
        config.learning_rate, config.initial_accumulator, config.epsilon,
        "sum" if config.reduction == "auto" else config.reduction,
    )  # fmt: skip
