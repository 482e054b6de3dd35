"""Errors that all ranks share."""

from deshpc.errors import DeshpcError, RankError


def agree(comm, error):
    """Raise on every rank of `comm` if any rank brings an error (None: all is well).  Collective.

    Errors of one kind are raised as that kind, once, naming the ranks that met it.
    """
    errors = comm.allgather(error)
    bad = [rank for rank, one in enumerate(errors) if one is not None]
    if not bad:
        return
    first = errors[bad[0]]
    what = "out of memory" if isinstance(first, MemoryError) else type(first).__name__
    where = f"rank {bad[0]}" if len(bad) == 1 else f"ranks {', '.join(map(str, bad))}"
    if not isinstance(first, DeshpcError):
        first = RankError(f"{where}: {what}: {first}")
    elif len(bad) < comm.size:
        first = type(first)(f"{first} ({where})")
    raise first.shared_by(comm.size)
