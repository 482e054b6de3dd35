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
        """RoutedBatch of a global batch.

        batch : Batch, what this rank reads of it
        direction : "forward" or "eval", for the ledger
        Valid until the call after the next one: a batch is routed while the one before is worked on.  Collective where keys travel.
        """
