"""What a scikit-learn user calls y and sample_weight, as labels of two classes and as weights."""

import sys
import warnings

import numpy as np

from deshpc.errors import DataError


def labels_of(y, rows):
    """(n) labels of so many rows.  DataError where they are no labels, or not as many.

    A column (n, 1) is taken with a warning.
    """
    if y is None:
        raise DataError("Classifier requires y to be passed, but the target y is None")
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        warnings.warn("A column-vector y was passed when a 1d array was expected", _conversion_warning(), stacklevel=4)
        y = y[:, 0]
    if y.ndim != 1:
        raise DataError(f"y has {y.ndim} dimensions; expected 1: a label a row; models of several labels are trained by deshpc.train, docs/tasks.md")
    if len(y) != rows:
        raise DataError(f"X has {rows} rows and y has {len(y)} labels; expected as many")
    if y.dtype.kind == "f":
        for bad, name in ((np.isnan(y), "NaN"), (np.isinf(y), "infinity")):
            if bad.any():
                raise DataError(f"Input y contains {name}: row {int(np.argmax(bad))}")
    return y


def classes_of(labels):
    """The two classes of some labels, sorted.  DataError where there are others than two."""
    try:
        classes = np.unique(labels)
    except TypeError:
        raise DataError("y has labels that cannot be compared; expected two of one type, and none that is missing") from None
    if len(classes) == 2:
        return classes
    if labels.dtype.kind == "f" and (labels != np.rint(labels)).any():
        raise DataError(f"Unknown label type: continuous: y has {len(classes)} different numbers; expected two classes")
    if len(classes) > 2:
        raise DataError(
            f"Only binary classification is supported. The type of the target is multiclass: y has {len(classes)} classes; expected 2"
        )
    raise DataError(f"y has {len(classes)} class{'es' * (len(classes) != 1)}; expected 2: partial_fit takes them as classes")


def numbers_of(labels, classes):
    """(n) float32: 0 and 1 for the two classes.  DataError where a label is neither."""
    unknown = labels[~np.isin(labels, classes)]
    if len(unknown):
        raise DataError(f"y has a label {unknown[0]!r}; expected {classes[0]!r} or {classes[1]!r}")
    return (labels == classes[1]).astype(np.float32)


def weights_of(sample_weight, rows):
    """(n) float32, or None where there are none.  DataError unless they are finite, at least 0, and not all 0."""
    if sample_weight is None:
        return None
    try:
        weights = np.asarray(sample_weight, np.float64)
    except (TypeError, ValueError):
        raise DataError("sample_weight has values that are no numbers") from None
    if weights.shape != (rows,):
        raise DataError(f"sample_weight has shape {weights.shape}; expected ({rows},): a number a row")
    with np.errstate(over="ignore"):
        weights = weights.astype(np.float32)
    bad = ~(np.isfinite(weights) & (weights >= 0))
    if bad.any():
        raise DataError(f"sample_weight of row {int(np.argmax(bad))} is {weights[bad][0]}; expected a finite number of at least 0")
    if not weights.any():
        raise DataError("sample_weight is zero for all rows: there is nothing to learn from")
    return weights


def _conversion_warning():
    """scikit-learn's class of such warnings, where somebody has loaded it."""
    return sys.modules["sklearn.exceptions"].DataConversionWarning if "sklearn.exceptions" in sys.modules else UserWarning
