"""deshpc: click-through-rate models on sharded hash tables by Distributed Equivalent Substitution."""

__version__ = "0.1.0"


def __getattr__(name):
    """`deshpc.train` and `deshpc.evaluate` load the engine at first use; importing deshpc does nothing."""
    from importlib import import_module

    if name == "train":
        return import_module("deshpc.train")  # a package that can be called
    if name == "evaluate":
        return import_module("deshpc.train.api").evaluate
    raise AttributeError(f"module 'deshpc' has no attribute {name!r}")
