"""What the kernels of a loss need to know: one class a loss.

Each backend has the formula of each class.  On the CPU the class is part of a kernel's argument types, on a device each class has a
kernel, so every loss gets machine code of its own.  z is the logit that a model gives, and `shift`, which is added to it while the
model learns and never where it predicts.
"""

from typing import NamedTuple


class LogLoss(NamedTuple):
    """log(1 + exp(z)) - y z, of labels y from 0 to 1;  its slope is 1 / (1 + exp(-z)) - y"""

    shift: float


class SquaredLoss(NamedTuple):
    """(z - y)^2 / 2, of any labels y;  its slope is z - y"""

    shift: float


class PoissonLoss(NamedTuple):
    """exp(z) - y z + (y log y - y), of labels y >= 0: half the deviance, which is never negative;  its slope is exp(z) - y"""

    shift: float


LOSSES = {"log": LogLoss, "squared": SquaredLoss, "poisson": PoissonLoss}
"""The classes by the names of `train.loss`."""
