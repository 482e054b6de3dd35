"""A scikit-learn-style classifier: one process, no launcher, no configuration file."""

import inspect
import weakref

import numpy as np

from deshpc.config.load import build, override
from deshpc.errors import ConfigError, DataError
from deshpc.serve.forward.layers import sigmoid
from deshpc.serve.learner import Learner
from deshpc.serve.table_columns import NO_FILES, columns_of, fields_of


class Classifier:
    """A linear model, a factorization machine or a deep model of raw columns, for two classes.

    model, dim, init_std                    as in [model];  optimizer, learning_rate, l1, l2 : as in [optimizer]
    hidden, bottom_hidden, activation, normalisation, dropout, cross_layers, cross_rank, cin_layers : of deep models, as in [model]
    epochs, batch_samples, shuffle, seed    as in [train];  threads : 0: all cores
    fields    : {column: kind, or {"kind": ..., "pooling": ..., ...} as in [[data.fields]]}; columns that are not named are
                dense where all values are numbers, multi where one is a list, and else categorical
    overrides : further options, such as ["optimizer.decay=linear"]; see `deshpc info --options`
    allow_import : ("package.module:Class",) where `model` names a definition of your own

    X is a table (pandas, polars, pyarrow), a dictionary of columns, a list of dictionaries, a 2-D array or a list of rows,
    whose columns are named "0", "1", ...  Numbers are standardised and buckets chosen by the rows of the first fit.
    Fitted: `classes_` (2), in sorted order, `feature_names_in_`, `n_features_in_`.
    Works with scikit-learn's clone, pipelines, cross-validation and searches, in one process; it needs no scikit-learn.
    """

    _estimator_type = "classifier"

    def __init__(
        self, model="fm", dim=16, init_std=0.01, optimizer="adagrad", learning_rate=0.05, l1=0.0, l2=0.0, epochs=1,
        batch_samples=1024, shuffle=True, seed=1, threads=0, fields=None, overrides=(),
        hidden=(400, 400, 400), bottom_hidden=(512, 256), activation="relu", normalisation="none", dropout=0.0,
        cross_layers=3, cross_rank=0, cin_layers=(100, 100), allow_import=(),
    ):  # fmt: skip
        self.model, self.dim, self.init_std = model, dim, init_std
        self.optimizer, self.learning_rate, self.l1, self.l2 = optimizer, learning_rate, l1, l2
        self.epochs, self.batch_samples, self.shuffle, self.seed = epochs, batch_samples, shuffle, seed
        self.threads, self.fields, self.overrides = threads, fields, overrides
        self.hidden, self.bottom_hidden, self.activation, self.normalisation = hidden, bottom_hidden, activation, normalisation
        self.dropout, self.cross_layers, self.cross_rank, self.cin_layers = dropout, cross_layers, cross_rank, cin_layers
        self.allow_import = allow_import

    def fit(self, X, y):
        """Train `epochs` epochs from the start; returns self.  DeshpcError where training diverges."""
        columns = columns_of(X)
        self._begin(X, columns, np.unique(np.asarray(y)), self.epochs)
        dataset = self._learner.dataset(columns, self._numbers(y))
        for _ in range(self.epochs):
            self._learner.learn(dataset)
        self._learner.require_finite()
        return self

    def partial_fit(self, X, y, classes=None):
        """Train one epoch on some more rows; returns self.  classes : both labels, at the first call if y lacks one."""
        columns = columns_of(X)
        if not self.__sklearn_is_fitted__():
            self._begin(X, columns, np.unique(np.asarray(y if classes is None else classes)), 1)
        self._learner.learn(self._learner.dataset(columns, self._numbers(y)))
        return self

    def predict_proba(self, X):
        """(n, 2) float64: probabilities of `classes_`."""
        p = sigmoid(self.decision_function(X))
        return np.stack([1 - p, p], axis=1)

    def decision_function(self, X):
        """(n) float64: logits of `classes_[1]`."""
        self._require_fitted()
        return self._learner.logits(self._learner.dataset(columns_of(X)))

    def predict(self, X):
        """(n) labels: the more probable of `classes_`."""
        chosen = (self.decision_function(X) > 0).astype(int)
        return self.classes_[chosen]

    def score(self, X, y):
        """Accuracy: the share of rows whose label is predicted."""
        return float(np.mean(self.predict(X) == np.asarray(y)))

    def save(self, path):
        """Write the model for `deshpc.Predictor`, which gives the probability of `classes_[1]`."""
        self._require_fitted()
        self._learner.save(path)

    def get_params(self, deep=True):
        """{parameter: value}"""
        return {name: getattr(self, name) for name in _PARAMETERS}

    def set_params(self, **parameters):
        """Change parameters; returns self."""
        for name, value in parameters.items():
            if name not in _PARAMETERS:
                raise ValueError(f"Classifier has no parameter {name!r}; it has {', '.join(_PARAMETERS)}")
            setattr(self, name, value)
        return self

    def __repr__(self):
        changed = (name for name, default in _PARAMETERS.items() if _plain(getattr(self, name)) != _plain(default))
        return f"Classifier({', '.join(f'{name}={getattr(self, name)!r}' for name in changed)})"

    def __getstate__(self):
        if self.__sklearn_is_fitted__():
            raise TypeError(
                "a fitted Classifier cannot be pickled or copied: save(path) writes it for deshpc.Predictor"
            )
        return self.get_params()

    def __sklearn_is_fitted__(self):
        return hasattr(self, "_learner")

    def __sklearn_tags__(self):
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(multi_class=False),
            input_tags=InputTags(categorical=True, string=True, dict=True, allow_nan=True),
        )

    def _begin(self, X, columns, classes, epochs):
        """Forget what was fitted; take labels, fields and transforms from these rows."""
        if len(classes) != 2:
            raise DataError(f"y has {len(classes)} different labels; expected 2")
        learner = Learner(self._config(fields_of(X, columns, self.fields)), columns, epochs)
        if self.__sklearn_is_fitted__():
            self._finalizer()
        self._learner, self._finalizer = learner, weakref.finalize(self, learner.close)
        self.classes_ = classes
        self.feature_names_in_, self.n_features_in_ = np.array(list(columns), object), len(columns)

    def _config(self, fields):
        """The Config of the parameters."""
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
        if config.train.loss != "log":
            raise ConfigError(
                f"Classifier tells two classes apart, and train.loss = {config.train.loss!r} learns numbers: leave it 'log', or use deshpc.train"
            )
        return config

    def _numbers(self, y):
        """(n) float32: 0 and 1 for the two labels."""
        y = np.asarray(y)
        unknown = y[~np.isin(y, self.classes_)]
        if len(unknown):
            raise DataError(f"y has a label {unknown[0]!r}; expected {self.classes_[0]!r} or {self.classes_[1]!r}")
        return (y == self.classes_[1]).astype(np.float32)

    def _require_fitted(self):
        if not self.__sklearn_is_fitted__():
            raise DataError("this Classifier has not been fitted: call fit or partial_fit first")


def _plain(value):
    """An option as TOML has it: no scalar of NumPy, no tuple."""
    if isinstance(value, (tuple, list, np.ndarray)):
        return [_plain(one) for one in value]
    return value.item() if isinstance(value, np.generic) else value


_MODEL_OPTIONS = (
    "dim", "init_std", "hidden", "bottom_hidden", "activation", "normalisation", "dropout", "cross_layers", "cross_rank",
    "cin_layers",
)  # fmt: skip
_PARAMETERS = {name: parameter.default for name, parameter in inspect.signature(Classifier).parameters.items()}
