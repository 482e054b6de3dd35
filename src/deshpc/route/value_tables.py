"""Values that travel between nodes as numbers of a table, where a message has few distinct ones; see `backend.cpu.value_tables`."""

import numpy as np

from deshpc.backend.arguments import MessageValues
from deshpc.backend.cpu.value_tables import SLOTS
from deshpc.backend.values import FEW_VALUES, value_width


class ValueTables:
    """Tables of the messages of one home rank, made anew for every batch."""

    def __init__(self, kernels, far):
        """kernels : `ValueTables` of backend.operations
        far : (N) bool, ranks whose messages may have tables
        """
        self._kernels, self._far = kernels, far

    def number(self, batch, unique, occurrences, buffers):
        """MessageValues of a share of a batch.  unique : its UniqueKeys;  occurrences : (N) int64, of each message"""
        ranks, array = len(self._far), buffers.array
        slots = array("value slots", ranks * SLOTS, np.uint16)
        numbered = MessageValues(
            np.empty(ranks, np.int64), array("value tables", ranks * FEW_VALUES, np.uint64),
            array("value numbers", batch.occurrences, np.uint8),
        )  # fmt: skip
        self._kernels.number_values(batch.sparse, unique, self._far, slots, numbered)
        self._kernels.keep_shorter(occurrences, value_width(batch.values), numbered.distinct)
        return numbered

    def bytes_of(self, occurrences, width, distinct):
        """(N) int64, bytes of the values of each message.  occurrences, distinct : (N) int64"""
        found = np.empty(len(distinct), np.int64)
        self._kernels.value_bytes(occurrences, width, distinct, found)
        return found


def open_value_tables(backend, group):
    """ValueTables; None where values travel as they are: inside a node, and on a device."""
    several = len(group.nodes.members) > 1
    return ValueTables(backend.value_tables, ~group.nodes.is_near) if backend.value_tables is not None and several else None
