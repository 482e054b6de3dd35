"""Which keys a rank has where rows are split by key: plain Python, for whoever reads files without a compiler."""

LAST_KEY = 2**64 - 1


def key_range(ranks, rank):
    """(first, last) key of a rank: ranks are in the order of their keys, whatever their number of shards."""
    first, after = (-(-(one << 32) // ranks) << 32 for one in (rank, rank + 1))
    return first, after - 1
