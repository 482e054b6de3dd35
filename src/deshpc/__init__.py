"""deshpc: click-through-rate models on sharded hash tables by Distributed Equivalent Substitution.

How to begin, with a table of pandas, polars or pyarrow that has a column of labels, here `click`:

    result = deshpc.train({"model": {"name": "fm"}, "data": {"label": "click"}}, train=table, valid=other)
    result.valid.auc                                         # also log_loss, calibration, ...
    deshpc.evaluate("runs/latest", data=third)               # the trained model on other rows
    deshpc.export("runs/latest", "click.model")              # one file ...
    deshpc.Predictor("click.model").predict(rows)            # ... that scores with NumPy alone
    deshpc.Classifier("fm").fit(X, y).predict_proba(X)       # the same as scikit-learn's users know it

Files in place of tables: `deshpc init FILES` writes a configuration, deshpc.train("click.toml") and `deshpc train click.toml` take it.
On several processes: mpiexec -n 4 deshpc train click.toml, or a script with `with deshpc.ranks() as comm:`.
Every option: deshpc.Config, or `deshpc info --options`.  docs/python.md has more.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deshpc.config.schema import Config as Config
    from deshpc.daily.chain import Chain as Chain
    from deshpc.daily.chain import DayResult as DayResult
    from deshpc.daily.chain import train_days as train_days
    from deshpc.errors import ConfigError as ConfigError
    from deshpc.errors import DataError as DataError
    from deshpc.errors import DeshpcError as DeshpcError
    from deshpc.estimator.classifier import Classifier as Classifier
    from deshpc.launch.start import ranks as ranks
    from deshpc.metrics.results import Metrics as Metrics
    from deshpc.serve.delta import fold as fold
    from deshpc.serve.export import export as export
    from deshpc.serve.predictor import Predictor as Predictor
    from deshpc.training.api import TrainResult as TrainResult
    from deshpc.training.api import evaluate as evaluate
    from deshpc.training.api import train as train
    from deshpc.training.reports import Callback as Callback

__version__ = "0.8.0"


_HOMES = {
    "train_days": "deshpc.daily.chain", "Chain": "deshpc.daily.chain", "DayResult": "deshpc.daily.chain",
    "train": "deshpc.training.api", "evaluate": "deshpc.training.api", "TrainResult": "deshpc.training.api",
    "Callback": "deshpc.training.reports", "Metrics": "deshpc.metrics.results", "Config": "deshpc.config.schema",
    "ranks": "deshpc.launch.start", "export": "deshpc.serve.export", "fold": "deshpc.serve.delta", "Predictor": "deshpc.serve.predictor",
    "Classifier": "deshpc.estimator.classifier", "ConfigError": "deshpc.errors", "DataError": "deshpc.errors", "DeshpcError": "deshpc.errors",
}  # fmt: skip


__all__ = sorted(_HOMES)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])


if not TYPE_CHECKING:  # who checks knows the names, and that there are no others

    def __getattr__(name):
        """What `__all__` names is loaded at first use; importing deshpc does nothing."""
        if name not in _HOMES:
            raise AttributeError(f"module 'deshpc' has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
