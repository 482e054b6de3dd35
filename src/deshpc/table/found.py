"""A batch whose keys are at their owners and whose rows are found."""

from typing import NamedTuple

from deshpc.route.routed import RoutedBatch


class Found(NamedTuple):
    """All that may be known of a batch before its rows are read.

    routed : RoutedBatch
    rows : [ShardRows] of this rank's shards, or PartlyRows where some fields are replicated
    train : whether unseen keys have been inserted
    """

    routed: RoutedBatch
    rows: list
    train: bool

    @property
    def direction(self):
        """What the ledger calls the way of this batch's partials."""
        return "forward" if self.train else "eval"
