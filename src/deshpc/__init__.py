"""deshpc: click-through-rate models on sharded hash tables by Distributed Equivalent Substitution."""

__version__ = "0.2.0"


def __getattr__(name):
    """`deshpc.train`, `evaluate` and `ranks` are loaded at first use; importing deshpc does nothing."""
    if name in ("train", "evaluate"):
        from deshpc.training import api

        return getattr(api, name)
    if name == "ranks":
        from deshpc.comm.launch import ranks

        return ranks
    raise AttributeError(f"module 'deshpc' has no attribute {name!r}")
