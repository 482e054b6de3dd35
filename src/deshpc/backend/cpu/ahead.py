"""Prefetching records before they are read, CPU.

Where a batch's distinct rows are numbered in order of first appearance, a sample's new rows follow those of the samples
before: each row is prefetched once, and no occurrence costs an instruction.  Otherwise every occurrence prefetches its row.
"""

from deshpc.backend.cpu.memory import at, prefetch
from deshpc.backend.record import CACHE_LINE
from deshpc.jit import kernel

ROWS = 64  # rows between prefetching one and reading it first, in order of first appearance
OCCURRENCES = 32  # occurrences between them otherwise


@kernel(inline=True)
def prefetch_record(address, lines):
    """Prefetch so many cache lines."""
    for line in range(lines):
        prefetch(address + line * CACHE_LINE)


@kernel
def prefetch_new_rows(addresses, lines, prefetched, highest):
    """Prefetch the rows up to ROWS beyond the highest one met; returns how many have been prefetched."""
    end = min(highest + 1 + ROWS, len(addresses))
    for c in range(prefetched, end):
        prefetch_record(at(addresses, c), lines)
    return max(prefetched, end)
