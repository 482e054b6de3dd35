"""What a scikit-learn user calls X, as columns by name, and the fields that such columns are."""

from collections.abc import Mapping, Sequence

import numpy as np

from deshpc.errors import ConfigError, DataError
from deshpc.serve.cells import is_missing
from deshpc.serve.rows import column_cells, column_names

NO_FILES = {"train": ["X"], "label": "\0"}
"""What `[data]` needs besides fields where rows come from a caller: a label's name that no column has."""


def columns_of(x):
    """{name: list of cells} of X; a column of a 2-D array or of a list of rows is named by its number, "0", "1", ...

    x : a table with `.columns`, a dictionary of columns, a list of dictionaries, a 2-D array, or a list of rows
    """
    if hasattr(x, "toarray"):
        raise DataError("X is a sparse matrix; give columns of raw values instead, or X.toarray()")
    names = column_names(x)
    if names is not None:
        return {str(name): column_cells(x[name], name) for name in names}
    if hasattr(x, "ndim"):
        if x.ndim != 2:
            raise DataError(f"X has {x.ndim} dimensions; expected 2: one row a sample")
        return {str(j): column_cells(x[:, j], j) for j in range(x.shape[1])}
    rows = list(x)
    if all(isinstance(row, Mapping) for row in rows):
        names = dict.fromkeys(name for row in rows for name in row)
        return {str(name): [row.get(name) for row in rows] for name in names}
    widths = {len(row) if isinstance(row, Sequence) or hasattr(row, "shape") else None for row in rows}
    if len(widths) != 1 or None in widths:
        raise DataError("X is a list of rows of different lengths; expected rows of one length, or dictionaries")
    return {str(j): [row[j] for row in rows] for j in range(widths.pop())}


def fields_of(x, columns, given):
    """The fields of columns, as `[[data.fields]]` has them: a list of dictionaries.

    given : {column: kind or {option: value}} of columns that are not to be inferred; other columns are dense where all
    their values are numbers, multi where one is a list or a dictionary, and else categorical
    """
    given = {str(name): {"kind": one} if isinstance(one, str) else dict(one) for name, one in (given or {}).items()}
    for name in given:
        if name not in columns:
            raise ConfigError(f"fields: X has no column {name!r}; it has {', '.join(map(repr, list(columns)[:20]))}")
    return [
        {"name": name, "kind": _kind(cells, _dtype(x, name)), **given.get(name, {})} for name, cells in columns.items()
    ]


def _kind(cells, dtype):
    present = [cell for cell in cells if not is_missing(cell)]
    if any(isinstance(cell, (list, tuple, set, dict, np.ndarray)) for cell in present):
        return "multi"
    numeric = all(isinstance(cell, (int, float, np.number)) and not isinstance(cell, bool) for cell in present)
    return "dense" if present and numeric and dtype != "category" else "categorical"


def _dtype(x, name):
    """Name of a table column's type, where it has one: categories of numbers are not numbers."""
    return str(getattr(x[name], "dtype", "")) if hasattr(x, "columns") and name in x.columns else ""
