"""deshpc: click-through-rate models on sharded hash tables by Distributed Equivalent Substitution."""

__version__ = "0.8.0"


_HOMES = {
    "train": "deshpc.training.api", "evaluate": "deshpc.training.api", "ranks": "deshpc.launch.start",
    "Predictor": "deshpc.serve.predictor", "Classifier": "deshpc.serve.classifier",
}  # fmt: skip


__all__ = sorted(_HOMES)


def __dir__():
    return sorted([*globals(), *_HOMES])


def __getattr__(name):
    """`deshpc.train`, `evaluate`, `ranks`, `Predictor` and `Classifier` are loaded at first use; importing deshpc does nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'deshpc' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
