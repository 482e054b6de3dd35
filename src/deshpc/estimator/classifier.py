"""A scikit-learn-style classifier: one process, no launcher, no configuration file."""

import inspect
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deshpc.config.load import build, override
from deshpc.config.schema import TASK_MODELS
from deshpc.config.tasks import tasks_of
from deshpc.errors import ConfigError, DataError
from deshpc.estimator.learner import Learner, first_knowledge
from deshpc.estimator.saved_learner import Fitted, read_fitted, write_fitted
from deshpc.estimator.table_columns import NO_FILES, Table
from deshpc.estimator.target import classes_of, labels_of, numbers_of, weights_of
from deshpc.launch.console import say
from deshpc.serve.forward.layers import sigmoid
from deshpc.training.early_stopping import EarlyStopping

if TYPE_CHECKING:
    from typing_extensions import Self


class BadInput(DataError, ValueError):
    """Rows, labels or weights that a Classifier cannot take."""


class BadParameter(ConfigError, ValueError):
    """A parameter of a Classifier, or an option that it stands for, that is not valid."""


class NotFitted(DataError, ValueError, AttributeError):
    """A Classifier is asked before it has been fitted."""

_ONE_LABEL = (
    "Classifier learns one label; several are learnt by deshpc.train with data.label = ['click', 'conversion'], and predicted by deshpc.Predictor, "
    "as (n, T)"
)


class Classifier:
    """A linear model, a factorization machine or a deep model of raw columns, for two classes.

    model, dim, init_std                    as in [model];  optimizer, learning_rate, l1, l2 : as in [optimizer]
    hidden, bottom_hidden, activation, normalisation, dropout, cross_layers, cross_rank, cin_layers : of deep models, as in [model]
    epochs, batch_samples, shuffle, seed    as in [train];  threads : 0: all cores
    fields    : {column: kind, or {"kind": ..., "pooling": ..., ...} as in [[data.fields]]} of columns whose kind is not to be inferred
    overrides : further options, such as ["optimizer.decay=linear"]; see `deshpc info --options`
    allow_import : ("package.module:Class",) where `model` names a definition of your own
    early_stopping_rounds : epochs in a row without a gain on eval_set after which fit stops, with the best model; None: never
    eval_metric : "log_loss" or "auc", of which a gain is
    minimum_gain : what an epoch has to gain on the best before it by more than
    warm_start : whether fit goes on from the model that is there, instead of a new one
    verbose   : whether the kinds of columns, and metrics after every epoch, are said on stderr

    X is a table (pandas, polars, pyarrow), a dictionary of columns, a list of dictionaries, a 2-D array or a list of rows,
    whose columns are named "0", "1", ...  A column with lists is multi.  Categories, texts and truth values are categorical, and so are
    integers that name something: at most 20 different ones, at most 500 that come 50 times each in the mean, or a column whose name or
    form is that of a code (user_id, 00123).  Other numbers are dense.  Numbers are standardised, buckets and kinds chosen by the rows of the first fit.
    Fitted: `classes_` (2), in sorted order; `n_features_in_`; `feature_names_in_`, where X has names;
    `fields_`, {column: {"kind": ..., "why": ...}}, what columns were taken for; after eval_set `evals_result_`,
    {"validation_0": {"log_loss": [...], "auc": [...]}}, a number an epoch; `best_epoch_`, that of the model, from 1.
    Works with scikit-learn's clone, pipelines, cross-validation and searches, in one process; it needs no scikit-learn.
    A fitted one can be pickled, copied and saved.  Its errors are DataErrors and ConfigErrors, and ValueErrors, too.
    """

    _estimator_type = "classifier"

    classes_: NDArray[Any]
    n_features_in_: int
    feature_names_in_: NDArray[Any]
    fields_: dict[str, dict[str, str]]
    evals_result_: dict[str, dict[str, list[float | None]]]
    best_epoch_: int

    def __init__(
        self, model: str = "fm", dim: int = 16, init_std: float = 0.01, optimizer: str = "adagrad", learning_rate: float = 0.05,
        l1: float = 0.0, l2: float = 0.0, epochs: int = 1, batch_samples: int = 1024, shuffle: bool = True, seed: int = 1, threads: int = 0,
        fields: Mapping[str, str | Mapping[str, Any]] | None = None, overrides: Sequence[str] = (),
        hidden: Sequence[int] = (400, 400, 400), bottom_hidden: Sequence[int] = (512, 256), activation: str = "relu",
        normalisation: str = "none", dropout: float = 0.0, cross_layers: int = 3, cross_rank: int = 0,
        cin_layers: Sequence[int] = (100, 100), allow_import: Sequence[str] = (), early_stopping_rounds: int | None = None,
        eval_metric: str = "log_loss", minimum_gain: float = 0.0, warm_start: bool = False, verbose: bool = False,
    ) -> None:  # fmt: skip
        self.model, self.dim, self.init_std = model, dim, init_std
        self.optimizer, self.learning_rate, self.l1, self.l2 = optimizer, learning_rate, l1, l2
        self.epochs, self.batch_samples, self.shuffle, self.seed = epochs, batch_samples, shuffle, seed
        self.threads, self.fields, self.overrides = threads, fields, overrides
        self.hidden, self.bottom_hidden, self.activation, self.normalisation = hidden, bottom_hidden, activation, normalisation
        self.dropout, self.cross_layers, self.cross_rank, self.cin_layers = dropout, cross_layers, cross_rank, cin_layers
        self.allow_import, self.early_stopping_rounds, self.eval_metric = allow_import, early_stopping_rounds, eval_metric
        self.minimum_gain, self.warm_start, self.verbose = minimum_gain, warm_start, verbose

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, eval_set: tuple[Any, Any] | list[tuple[Any, Any]] | None = None,
        eval_sample_weight: Any = None,
    ) -> "Self":  # fmt: skip
        """Train `epochs` epochs from the start, or on with warm_start; returns self.  DeshpcError where training diverges.

        X : columns of n rows, see above
        y : (n) labels, any two
        sample_weight : (n) what each row counts, at least 0; None: 1
        eval_set : (X, y) that is evaluated after every epoch, or a list of such; early stopping goes by the last
        eval_sample_weight : weights of its rows; of a list, a list
        """
        with _value_errors():
            stopping = self._stopping(eval_set)
            table = Table(X)
            table.require_rows()
            labels = labels_of(y, table.rows)
            if not (self.warm_start and self.__sklearn_is_fitted__()):
                self._begin(table, classes_of(labels), self.epochs)
            dataset = self._dataset(table, labels, sample_weight)
            others = [self._evaluated(*pair) for pair in _pairs(eval_set, eval_sample_weight)]
        self._train(dataset, others, stopping)
        self._learner.require_finite()
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> "Self":
        """Train one epoch on some more rows; returns self.

        X, y, sample_weight : as in `fit`
        classes : both labels, at the first call if y lacks one
        """
        with _value_errors():
            table = Table(X)
            table.require_rows()
            labels = labels_of(y, table.rows)
            if not self.__sklearn_is_fitted__():
                self._begin(table, classes_of(labels if classes is None else np.asarray(classes)), 1)
            dataset = self._dataset(table, labels, sample_weight)
        self._learner.learn(self._learner.part(dataset))
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """(n, 2) float64: probabilities of `classes_`."""
        p = sigmoid(self.decision_function(X))
        return np.stack([1 - p, p], axis=1)

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """(n) float64: logits of `classes_[1]`."""
        with _value_errors():
            self._require_fitted()
            table = Table(X)
            table.require_rows()
            dataset = self._learner.dataset(table.as_fitted(self._columns, self._named))
        return self._learner.logits(dataset)

    def predict(self, X: Any) -> NDArray[Any]:
        """(n) labels: the more probable of `classes_`."""
        chosen = (self.decision_function(X) > 0).astype(int)
        return self.classes_[chosen]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy: the share of rows whose label is predicted, by weight where there are weights."""
        predicted = self.predict(X)
        with _value_errors():
            labels, weights = labels_of(y, len(predicted)), weights_of(sample_weight, len(predicted))
        return float(np.average(predicted == labels, weights=weights))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a file for `Classifier.load`, and for `deshpc.Predictor`, which gives the probability of `classes_[1]`."""
        with _value_errors():
            self._require_fitted()
            parameters = {name: _plain(value) for name, value in self.get_params().items()}
            why = {name: one["why"] for name, one in self.fields_.items()}
            write_fitted(path, Fitted(parameters, self.classes_, self._columns, self._named, why, self._learner))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Self":
        """The Classifier that `save` has written: it predicts the same, and partial_fit goes on.  DataError where it is damaged."""
        fitted = read_fitted(path)
        if unknown := fitted.parameters.keys() - _PARAMETERS.keys():
            raise DataError(f"{path}: damaged: has a parameter {min(unknown)!r}")
        tuples = {name for name, default in _PARAMETERS.items() if isinstance(default, tuple)}
        made = cls(**{name: tuple(value) if name in tuples else value for name, value in fitted.parameters.items()})
        made._become(fitted)
        return made

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """{parameter: value}"""
        return {name: getattr(self, name) for name in _PARAMETERS}

    def set_params(self, **parameters: Any) -> "Self":
        """Change parameters; returns self."""
        for name, value in parameters.items():
            if name not in _PARAMETERS:
                raise ValueError(f"Classifier has no parameter {name!r}; it has {', '.join(_PARAMETERS)}")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        changed = (name for name, default in _PARAMETERS.items() if _plain(getattr(self, name)) != _plain(default))
        return f"Classifier({', '.join(f'{name}={getattr(self, name)!r}' for name in changed)})"

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_learner")

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(multi_class=False),
            input_tags=InputTags(categorical=True, string=True, dict=True, allow_nan=True),
        )

    def _begin(self, table, classes, epochs):
        """Forget what was fitted; take labels, fields and transforms from these rows."""
        fields, why = table.fields(self.fields)
        learner = Learner(first_knowledge(self._config(fields), table.columns, epochs))
        if self.__sklearn_is_fitted__():
            self._learner.close()
        self._become(Fitted(self.get_params(), classes, list(table.columns), table.named, why, learner))
        if self.verbose:
            say("".join(f"{name}: {one['kind']}, as it {one['why']}\n" for name, one in self.fields_.items()))

    def _become(self, fitted):
        self._learner, self._columns, self._named = fitted.learner, fitted.columns, fitted.named
        self.classes_, self.n_features_in_ = fitted.classes, len(fitted.columns)
        kinds = {field.name: field.kind for field in fitted.learner.fields}
        self.fields_ = {name: {"kind": kinds[name], "why": fitted.why.get(name, "")} for name in fitted.columns}
        for name in ("feature_names_in_", "evals_result_", "best_epoch_"):
            self.__dict__.pop(name, None)
        if fitted.named:
            self.feature_names_in_ = np.array(fitted.columns, object)

    def _dataset(self, table, labels, sample_weight):
        columns = table.as_fitted(self._columns, self._named)
        return self._learner.dataset(columns, numbers_of(labels, self.classes_), weights_of(sample_weight, table.rows))

    def _evaluated(self, X, y, sample_weight):
        table = Table(X)
        table.require_rows()
        return self._dataset(table, labels_of(y, table.rows), sample_weight)

    def _train(self, dataset, others, stopping):
        """Train on a Dataset, and evaluate on others after every epoch; keep the best model where `stopping` is an EarlyStopping."""
        results, best = [{"log_loss": [], "auc": []} for _ in others], None
        part = self._learner.part(dataset)
        for _ in range(self.epochs):
            self._learner.learn(part)
            found = list(map(self._learner.metrics, others))
            for metrics, result in zip(found, results, strict=True):
                for name, values in result.items():
                    values.append(getattr(metrics, name))
            if self.verbose:
                self._say_epoch(results)
            verdict = stopping.observe(found[-1]) if stopping else None
            if verdict == "best":
                best = self._learner.knowledge()
            if verdict == "stop":
                break
        if best is not None and best.epochs != self._learner.epochs:
            self._learner.return_to(best)
        if others:
            self.evals_result_ = {f"validation_{i}": result for i, result in enumerate(results)}
        self.best_epoch_ = self._learner.epochs

    def _say_epoch(self, results):
        shown = "".join(
            f"  validation_{i} {name} {'undefined' if values[-1] is None else format(values[-1], '.5f')}"
            for i, result in enumerate(results) for name, values in result.items()
        )  # fmt: skip
        say(f"epoch {self._learner.epochs}{shown}\n")

    def _stopping(self, eval_set):
        """The EarlyStopping, or None."""
        if self.eval_metric not in ("log_loss", "auc"):
            raise ConfigError(f"eval_metric = {self.eval_metric!r}; expected 'log_loss' or 'auc'")
        if self.early_stopping_rounds is None:
            return None
        if eval_set is None:
            raise ConfigError("early_stopping_rounds needs fit(X, y, eval_set=(X, y)): rows on which an epoch may gain")
        rounds = self.early_stopping_rounds
        if isinstance(rounds, bool) or not isinstance(rounds, (int, np.integer)) or rounds < 1:
            raise ConfigError(f"early_stopping_rounds = {rounds!r}; expected a number of epochs from 1 on, or None")
        return EarlyStopping(self.eval_metric, int(rounds), float(self.minimum_gain))

    def _config(self, fields):
        """The Config of the parameters."""
        if self.model in TASK_MODELS:
            raise ConfigError(f"model = {self.model!r}: {_ONE_LABEL}")
        data = {**NO_FILES, "fields": fields}
        tree = {
            "data": data,
            "model": {"name": self.model, **{name: getattr(self, name) for name in _MODEL_OPTIONS}},
            "optimizer": {"name": self.optimizer, "learning_rate": self.learning_rate, "l1": self.l1, "l2": self.l2},
            "train": {
                "global_batch_samples": self.batch_samples,
                "shuffle": self.shuffle,
                "seed": self.seed,
                "epochs": self.epochs,
            },
            "compute": {"threads_per_rank": self.threads},
        }
        plain = {
            section: {name: _plain(value) for name, value in options.items()} for section, options in tree.items()
        }
        allowed = self.allow_import
        config = override(build(plain, source="Classifier", allow_import=allowed), *self.overrides, allow_import=allowed)
        if config.train.from_:
            raise ConfigError(
                f"train.from = {config.train.from_!r} is read by deshpc.train alone: a Classifier goes on by warm_start=True, or by partial_fit, "
                "also one that was loaded"
            )
        if tasks_of(config):
            raise ConfigError(_ONE_LABEL)
        if config.train.loss != "log":
            raise ConfigError(
                f"Classifier tells two classes apart, and train.loss = {config.train.loss!r} learns numbers: "
                "leave it 'log', or use deshpc.train"
            )
        return config

    def _require_fitted(self):
        if not self.__sklearn_is_fitted__():
            raise _not_fitted()("this Classifier has not been fitted: call fit or partial_fit first")


@contextmanager
def _value_errors():
    """Let errors of what the caller has given be ValueErrors, too, as scikit-learn's are."""
    try:
        yield
    except ValueError:
        raise
    except DataError as error:
        raise BadInput(str(error)) from None
    except ConfigError as error:
        raise BadParameter(str(error)) from None


def _not_fitted():
    """The class of the error, which is scikit-learn's own, too, where somebody has loaded it."""
    if "sklearn.exceptions" not in sys.modules:
        return NotFitted
    return type("NotFitted", (NotFitted, sys.modules["sklearn.exceptions"].NotFittedError), {"__module__": __name__})


def _pairs(eval_set, weights):
    """[(X, y, weights)] of an eval_set."""
    if eval_set is None:
        return []
    several = isinstance(eval_set, list)
    pairs = eval_set if several else [eval_set]
    weights = [None] * len(pairs) if weights is None else list(weights) if several else [weights]
    if any(not isinstance(pair, (tuple, list)) or len(pair) != 2 for pair in pairs) or len(weights) != len(pairs):
        raise DataError("eval_set has to be (X, y), or a list of such, and eval_sample_weight as many weights")
    return [(*pair, weight) for pair, weight in zip(pairs, weights, strict=True)]


def _plain(value):
    """An option as TOML has it: no scalar of NumPy, no tuple."""
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, (tuple, list, np.ndarray)):
        return [_plain(one) for one in value]
    return value.item() if isinstance(value, np.generic) else value


_MODEL_OPTIONS = (
    "dim", "init_std", "hidden", "bottom_hidden", "activation", "normalisation", "dropout", "cross_layers", "cross_rank",
    "cin_layers",
)  # fmt: skip
_PARAMETERS = {name: parameter.default for name, parameter in inspect.signature(Classifier).parameters.items()}
