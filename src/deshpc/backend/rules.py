"""What an update rule's kernel needs to know: one class a rule, its fields numbers of the compute type.

`table.optimizer` makes them, each backend has the formula of each class; the class is part of a kernel's argument types,
so every rule gets machine code of its own.
"""

from typing import NamedTuple

import numpy as np


class Sgd(NamedTuple):
    """w -= rate g"""

    rate: float


class Adagrad(NamedTuple):
    """s += g^2;  w -= rate g / (sqrt(s) + epsilon)"""

    rate: float
    epsilon: float


class RowwiseAdagrad(NamedTuple):
    """s += mean(g^2) over the weights of one part of a row;  w -= rate g / (sqrt(s) + epsilon)"""

    rate: float
    epsilon: float


class Adam(NamedTuple):
    """m = beta1 m + rest1 g;  v = beta2 v + rest2 g^2;  w -= rate correction1 m / (sqrt(correction2 v) + epsilon)

    rest = 1 - beta;  correction = 1 / (1 - beta^t) at the t-th step, t = 1, 2, ...
    """

    rate: float
    beta1: float
    beta2: float
    rest1: float
    rest2: float
    correction1: float
    correction2: float
    epsilon: float


class Ftrl(NamedTuple):
    """z += g - (sqrt(n + g^2) - sqrt(n)) / alpha w;  n += g^2
    w = 0 if |z| <= l1 else -(z - sign(z) l1) / ((beta + sqrt(n)) / alpha + l2)
    """

    alpha: float
    beta: float
    l1: float
    l2: float


class StateStart(NamedTuple):
    """How the state of a new weight w starts: `planes` numbers for each weight, of which

    plane 0 is  constant + slope w + jump sign(w),  plane 1 is  second_constant.
    """

    planes: int = 0
    constant: float = 0.0
    second_constant: float = 0.0
    slope: float = 0.0
    jump: float = 0.0

    def of(self, weights):
        """State (planes, n) float64 of weights (n)."""
        weights = weights.astype(np.float64)
        plane = self.constant + self.slope * weights + self.jump * np.sign(weights)
        return np.stack([plane, np.full(len(weights), self.second_constant)])[: self.planes]
