"""What a scikit-learn user calls X, as columns by name, and the fields that such columns are."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from deshpc.errors import ConfigError, DataError, did_you_mean
from deshpc.formats.guess import names_things
from deshpc.serve.cells import is_missing
from deshpc.serve.rows import column_cells, column_names

NO_FILES = {"train": ["X"], "label": "\0"}
"""What `[data]` needs besides fields where rows come from a caller: a label's name that no column has."""


class Table:
    """Columns of X.

    columns : {name: list of n cells}; one of a 2-D array or of a list of rows is named by its number, "0", "1", ...
    named   : whether X has names for them
    rows : n
    """

    def __init__(self, x):
        """x : a table with `.columns`, a dictionary of columns, a list of dictionaries, a 2-D array, or a list of rows; else DataError"""
        self.named, self.columns, self._dtypes = _named(x)
        lengths = {name: len(cells) for name, cells in self.columns.items()}
        if len(set(lengths.values())) > 1:
            few, many = min(lengths, key=lengths.get), max(lengths, key=lengths.get)
            raise DataError(f"column {few!r} has {lengths[few]} cells, column {many!r} has {lengths[many]}; expected as many")
        self.rows = next(iter(lengths.values()), 0)

    def require_rows(self):
        """DataError where there is no row, or no column."""
        if not self.columns:
            raise DataError(f"X has 0 feature(s) (shape=({self.rows}, 0)) while a minimum of 1 is required.")
        if not self.rows:
            raise DataError(f"X has 0 sample(s) (shape=(0, {len(self.columns)})) while a minimum of 1 is required.")

    def fields(self, given):
        """(the fields as `[[data.fields]]` has them, a list of dictionaries;  {column: why it is of that kind}).

        given : {column: kind or {option: value}} of columns whose kind is not to be inferred
        """
        given = {str(name): {"kind": one} if isinstance(one, str) else dict(one) for name, one in (given or {}).items()}
        for name in given:
            if name not in self.columns:
                raise ConfigError(f"fields: X has no column {name!r}; it has {', '.join(map(repr, list(self.columns)[:20]))}")
        inferred = {name: kind_of(name, cells, self._dtypes.get(name, "")) for name, cells in self.columns.items()}
        fields = [{"name": name, "kind": kind, **given.get(name, {})} for name, (kind, _) in inferred.items()]
        return fields, {name: "as was asked for" if "kind" in given.get(name, {}) else why for name, (_, why) in inferred.items()}

    def as_fitted(self, names, named):
        """The columns, by the names that they had in fit; DataError where they are others.

        names : of the columns in fit
        named : whether that X had names; columns without are told by their places
        """
        if named and self.named:
            return self._by_name(names)
        if len(self.columns) != len(names):
            raise DataError(f"X has {len(self.columns)} features, but Classifier is expecting {len(names)} features as input")
        if named != self.named:
            one, other = ("does not have valid", "with") if named else ("has", "without")
            warnings.warn(f"X {one} feature names, but Classifier was fitted {other} feature names", UserWarning, stacklevel=4)
        return dict(zip(names, self.columns.values(), strict=True))

    def _by_name(self, names):
        missing, extra = ([name for name in ones if name not in others] for ones, others in ((names, self.columns), (self.columns, names)))
        if not missing and not extra:
            return {name: self.columns[name] for name in names}
        hint = did_you_mean(extra[0], missing or names) if extra else ""
        parts = [f"{what}: {', '.join(map(repr, ones[:20]))}" for what, ones in (("missing", missing), ("not there in fit", extra)) if ones]
        raise DataError(f"The feature names should match those that were passed during fit: {'; '.join(parts)}{hint}")


def kind_of(name, cells, dtype=""):
    """(kind, why) of a column.

    cells : of the column
    dtype : the name of its type, where a table has one

    A list or dictionary makes it multi; categories, texts and truth values make it categorical; integers are categorical where they
    name something: at most 20 different ones, at most 500 that come 50 times each in the mean, or a name or form as of a code
    (user_id, 00123).  Other numbers are dense.
    """
    present = [cell for cell in cells if not is_missing(cell)]
    if any(isinstance(cell, (list, tuple, set, dict, np.ndarray)) for cell in present):
        return "multi", "has lists"
    if dtype.lower().startswith(("category", "categorical", "enum")):
        return "categorical", f"is of type {dtype}"
    if not present:
        return "categorical", "is always missing"
    if any(isinstance(cell, (bool, np.bool_)) or not isinstance(cell, (int, float, np.number)) for cell in present):
        return "categorical", "has values that are no numbers"
    if any(isinstance(cell, (float, np.floating)) for cell in present):
        return "dense", "has numbers"
    texts = list(map(str, present))
    count = len(set(texts))
    if names_things(name, texts):
        return "categorical", f"has {count:,} different integers, of few values or as codes have them"
    return "dense", f"has {count:,} different integers"


def _named(x):
    """(whether X has names, {name: cells}, {name: type} of a table)."""
    if hasattr(x, "toarray"):
        raise DataError("X is sparse; sparse data is not supported: give columns of raw values instead, or X.toarray()")
    names = column_names(x)
    if names is not None:
        named = all(isinstance(name, str) for name in names)
        columns = {str(name): column_cells(x[name], name) for name in names}
        return named, columns, {str(name): str(getattr(x[name], "dtype", getattr(x[name], "type", ""))) for name in names}
    if hasattr(x, "__array__"):
        x = np.asarray(x)
        if x.ndim != 2:
            raise DataError(f"Expected 2D array, got {x.ndim}D array instead: X has {x.ndim} dimensions. Reshape your data: a row a sample")
        if x.dtype.kind == "c":
            raise DataError("Complex data not supported: X has complex numbers")
        if not x.shape[1]:
            raise DataError(f"X has 0 feature(s) (shape={x.shape}) while a minimum of 1 is required.")
        return False, {str(j): column_cells(x[:, j], j) for j in range(x.shape[1])}, {}
    rows = list(x)
    if rows and all(isinstance(row, Mapping) for row in rows):
        names = dict.fromkeys(name for row in rows for name in row)
        return True, {str(name): [row.get(name) for row in rows] for name in names}, {}
    widths = {len(row) if isinstance(row, Sequence) or hasattr(row, "shape") else None for row in rows}
    if len(widths) > 1 or None in widths:
        raise DataError("X is a list of rows of different lengths; expected rows of one length, or dictionaries")
    return False, {str(j): [row[j] for row in rows] for j in range(widths.pop() if widths else 0)}, {}
