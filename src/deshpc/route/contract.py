"""What a step asks of the station that brings keys to their owners."""

from typing import Protocol

from deshpc.route.routed import KeyCounts


class Routing(Protocol):
    """How a batch's keys reach the shards that own them: `Broadcast`, `Routed`, the two that ask for rows, `WithReplicatedFields`."""

    reads_whole_batch: bool
    """Whether every rank reads the whole global batch; otherwise its share (`slice_of`)."""

    travels_ahead: bool
    """Whether keys travel a step ahead, even where nothing else of the next batch is done while one is worked on: that takes the waiting
    for other ranks away, and little room in the caches."""

    counts: KeyCounts
    """How many keys have travelled."""

    def route(self, batch, direction):
        """Write the messages of a global batch; returns function() -> Handle of its RoutedBatch, which sends them.

        batch : Batch, what this rank reads of it
        direction : "forward" or "eval", for the ledger
        One batch travels at a time: its Handle has to be waited for before the next one is sent.  Valid until the call after the next
        one, or the one after that where there are three batches at a time: one that is worked on, one that travels and one that is
        written.  The function is collective where keys travel.
        """
