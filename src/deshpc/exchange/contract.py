"""What an exchange gives: the contract of every way in which partial results become complete."""

from typing import NamedTuple, Protocol

import numpy as np


class Partials(NamedTuple):
    """Complete states, and what they have been computed from.

    state : (n, >= s) of the samples that this rank's top works on; columns behind the s are the top's to use
    rows : [ShardRows], from which this rank has computed partials: its own rows, or copies that have travelled
    """

    state: np.ndarray
    rows: list


class Exchange(Protocol):
    """From the rows that a batch has found to complete states, and from the gradients of these back to the rows."""

    whole_top: bool
    """Whether every rank gets the states of all samples; otherwise of its share (`slice_of`)."""

    moves_rows: bool
    """Whether rows travel, and states are computed at the samples' home; otherwise partials of the owners travel."""

    def start(self, found, scale):
        """Compute partials and start the exchange.  Returns a Handle of Partials.

        found : Found
        scale : of sums in fixed point
        Complete states are valid until the next call.  Collective.
        """

    def give_back(self, found, partials, gradient, scale):
        """Add the gradients of rows to the sums of `found.rows`, at their owners.

        found, partials : of `start`
        gradient : (n, s) of the loss by the complete states
        scale : of sums in fixed point
        Returns the rows whose sums are complete, for `Table.update`.  Collective, unless every rank has all gradients.
        """
