"""What a step asks of the station that brings keys to their owners."""

from typing import Protocol

from deshpc.route.routed import KeyCounts


class Routing(Protocol):
    """How a batch's keys reach the shards that own them: `Broadcast`, `Routed`, the two that ask for rows, `WithReplicatedFields`."""

    reads_whole_batch: bool
    """Whether every rank reads the whole global batch; otherwise its share (`slice_of`)."""

    counts: KeyCounts
    """How many keys have travelled."""

    def route(self, batch, direction):
        """Begin to route a global batch; returns a Handle of its RoutedBatch, which has to be waited for before the next call.

        batch : Batch, what this rank reads of it
        direction : "forward" or "eval", for the ledger
        Valid until the call after the next one, or the one after that where `valid` was 3: keys of a batch may travel while
        the next one is looked up and the one before that is worked on.  Collective where keys travel.
        """
