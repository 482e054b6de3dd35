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

    def square_norm(self, rows, inverse_scale, add_up):
        """Squared norm of the gradient of the rows of all ranks that the batch touched, a float.

        rows, inverse_scale : as of `update`, before which it is to be asked for
        add_up : function of the norms (n) float64 of this rank's rows that gives their sum over all ranks
        Collective, if `add_up` is.
        """
