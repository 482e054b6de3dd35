"""What a step asks of the station that holds rows."""

from typing import Protocol


class RowStore(Protocol):
    """This rank's rows as a step sees them: `Table`, `TableSet` of several dimensions, `PartlyReplicated`.

    What a batch has found, `rows`, is [ShardRows], or PartlyRows of a PartlyReplicated; it is given back as it came.
    """

    def look_up(self, routed, insert):
        """The rows that a RoutedBatch touches, with sums of gradients that are zero.

        routed : RoutedBatch
        insert : whether unseen keys are inserted; otherwise they read as zeros
        Reads no weight.  Valid until the call after the next one.  Not collective.
        """

    def update(self, rows, step, clip, inverse_scale):
        """Apply the update rule to the rows, and make their sums zero again.

        rows : as `Exchange.give_back` returns them, with complete sums
        step : number of the step
        clip : factor of all gradients
        inverse_scale : value of a 1 in fixed-point sums
        Not collective.
        """

    def square_norm(self, rows, inverse_scale):
        """Function() -> terms (TERMS) int64, see `backend.exact_norm`, of the squared norm of the gradient of this rank's rows.

        Rows that every rank has are rank 0's.  Before clipping and l2.  A device is started now, and waited for when the function is
        called.
        rows, inverse_scale : as of `update`, before which it is to be asked for
        Not collective.
        """
