"""deshpc: click-through-rate models on sharded hash tables by Distributed Equivalent Substitution."""

__version__ = "0.1.0"


def __getattr__(name):
    """`deshpc.train` and `deshpc.evaluate` load the engine at first use; importing deshpc does nothing."""
    if name in ("train", "evaluate"):
        from deshpc.training import api

        return getattr(api, name)
    raise AttributeError(f"module 'deshpc' has no attribute {name!r}")
