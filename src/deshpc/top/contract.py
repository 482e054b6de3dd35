"""What stands above the complete states of a batch: the contract that a sum of logits and a tower fulfil."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np


class Learnt(NamedTuple):
    """What a top has learnt from the samples that it works on.

    loss : function() -> terms (3) of the sum of their losses, see `backend.exact_sum`; a device is waited for
    logit : (n), or (n, T) of T tasks, which the update has had no part in
    gradient : (n, s) of the batch's loss by the states, times `scale`
    scale : of the sums of rows' gradients, 1 in floating point
    dense_scale : of those of dense parameters
    """

    loss: Callable
    logit: np.ndarray
    gradient: np.ndarray
    scale: float
    dense_scale: float


class Top(Protocol):
    """What follows the exchange: `SumTop` of linear models and factorization machines, `Tower` of deep models."""

    def score(self, found, partials):
        """Logits (n), or (n, T) of T tasks, of the samples that this rank's top works on: all of the batch, or its share.

        found : Found, the batch
        partials : Partials, the complete states; they are overwritten
        Valid until the next call.  Collective in fixed point, and where a layer spans the batch.
        """

    def learn(self, found, partials):
        """Score, and find all that follows from the labels; gradients of dense parameters are added up for `DenseSums`.

        Returns Learnt, valid until the next call.  Collective as `score`.
        """
