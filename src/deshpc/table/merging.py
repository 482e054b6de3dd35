"""Several streams of rows, each in key order, as one."""

import numpy as np

from deshpc.table.shard import Rows


def merged(streams):
    """Yield the Rows of `streams`, each an iterable of Rows in key order with keys of its own, in key order.

    One block of each stream is held at a time.
    """
    streams = [iter(stream) for stream in streams]
    held = [_following(stream) for stream in streams]
    while any(block is not None for block in held):
        # whatever is up to the end of the block that ends first is complete
        last = min(int(block.keys[-1]) for block in held if block is not None)
        out = []
        for i, block in enumerate(held):
            if block is None:
                continue
            count = int(np.searchsorted(block.keys, np.uint64(last), side="right"))
            if count:
                out.append(_part(block, 0, count))
            held[i] = _part(block, count, len(block)) if count < len(block) else _following(streams[i])
        yield Rows.concatenate(out)


def _following(stream):
    """The next block of a stream that has rows, None at its end."""
    return next((block for block in stream if len(block)), None)


def _part(rows, begin, end):
    return rows.take(slice(begin, end))
