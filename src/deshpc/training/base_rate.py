"""The share of positives in the training part: where the bias starts, and what a model has to beat."""

import math
from typing import NamedTuple

from deshpc.comm.ledger import Traffic
from deshpc.comm.shares import slice_of

_TRAFFIC = Traffic("batch", "control", "setup")


class BaseRate(NamedTuple):
    """rows, positives : of the training part, over all ranks"""

    rows: int
    positives: int

    @property
    def mixed(self):
        """Whether there are both classes."""
        return 0 < self.positives < self.rows

    @property
    def rate(self):
        """Share of positives, None without rows."""
        return self.positives / self.rows if self.rows else None

    @property
    def log_odds(self):
        """The logit of a model that predicts the base rate for every row; 0 where one class is missing."""
        return math.log(self.positives / (self.rows - self.positives)) if self.mixed else 0.0

    @property
    def log_loss(self):
        """The mean log-loss of that model on the training part; None where one class is missing."""
        if not self.mixed:
            return None
        return -(self.rate * math.log(self.rate) + (1 - self.rate) * math.log(1 - self.rate))


def base_rate(group, dataset):
    """The BaseRate of the training part.  Each rank counts its share of the rows.  Collective."""
    begin, end = slice_of(len(dataset), group.size, group.rank)
    return BaseRate(len(dataset), int(group.sum(dataset.positives(begin, end), _TRAFFIC)[0]))


def begin_at(model, rate):
    """Let the bias of a new model start at the base rate, so that nobody has to learn it.  A model of one's own may have no bias."""
    if "bias" in dict(model.parameters.names()):
        model.parameters.set("bias", rate.log_odds)
        model.parameters.begin_state()
