"""Rows as a caller has them, whatever their shape, to lists of cells by field: one block of rows after another."""

from collections.abc import Mapping

from deshpc.errors import DataError, did_you_mean

_NO_DEFAULT = ("categorical",)  # a multi field without a cell has no values, a number without one is missing


class Rows:
    """A view of rows: a list of dictionaries, a dictionary of columns, or a table with `.columns` (pandas, polars, pyarrow).

    fields : FieldConfigs whose cells are wanted
    others : names that may be there and are not looked at
    ignore_extra : names that no field has are ignored; otherwise they are an error
    len() : number of rows.  DataError names what is missing, unknown or of another length.
    """

    def __init__(self, rows, fields, others=(), ignore_extra=False):
        self._fields, self._ignore_extra = fields, ignore_extra
        self._known = {field.name for field in fields} | set(others)
        names = column_names(rows)
        self._columns, self._dictionaries = None, None
        if names is None:
            self._dictionaries = _dictionaries(rows)
            self._rows = len(self._dictionaries)
        else:
            self._check_names(names, "")
            missing = [f for f in fields if f.name not in names and f.kind in _NO_DEFAULT]
            if missing:
                raise DataError(_missing_message(missing[0], "", "column"))
            self._columns = {field.name: column_cells(rows[field.name], field.name) for field in fields if field.name in names}
            others = [column_cells(rows[name], name) for name in names[:1]]  # where no column is known, one says how many rows
            self._rows = self._common_length() if self._columns else len(next(iter(others), ()))

    def __len__(self):
        return self._rows

    def cells(self, begin, end):
        """[the cells of rows begin .. end] for each field; None stands for what is not there."""
        if self._columns is not None:
            nothing = [None] * (end - begin)
            return [self._columns[f.name][begin:end] if f.name in self._columns else nothing for f in self._fields]
        some = self._dictionaries[begin:end]
        if not self._ignore_extra:
            for row, one in enumerate(some, begin):
                if not one.keys() <= self._known:
                    self._check_names(one, f"row {row}: ")
        return [
            [self._required(one, f, row) for row, one in enumerate(some, begin)]
            if f.kind in _NO_DEFAULT
            else [one.get(f.name) for one in some]
            for f in self._fields
        ]

    def _required(self, one, field, row):
        try:
            return one[field.name]
        except KeyError:
            raise DataError(_missing_message(field, f"row {row}: ", "key")) from None

    def _check_names(self, names, where):
        if self._ignore_extra:
            return
        for name in names:
            if name not in self._known:
                hint = did_you_mean(name, sorted(filter(None, self._known)))
                raise DataError(f"{where}the model has no field {name!r}{hint} (ignore_extra=True ignores other names)")

    def _common_length(self):
        lengths = {name: len(column) for name, column in self._columns.items()}
        if len(set(lengths.values())) > 1:
            few, many = min(lengths, key=lengths.get), max(lengths, key=lengths.get)
            raise DataError(f"column {few!r} has {lengths[few]} cells, column {many!r} has {lengths[many]}; expected as many")
        return next(iter(lengths.values()))


def _missing_message(field, where, what):
    return f"{where}field {field.name!r} is missing; expected a {what} of this name, with None or '' where it has no value"


def column_names(rows):
    """Names of the columns of a table, None where `rows` are dictionaries."""
    if isinstance(rows, Mapping):
        return list(rows)
    for attribute in ("column_names", "columns"):
        names = getattr(rows, attribute, None)
        if names is not None and not callable(names):
            return list(names)
    return None


def column_cells(column, name):
    """A column as a list."""
    for method in ("to_pylist", "to_list", "tolist"):
        if hasattr(column, method):
            return getattr(column, method)()
    if isinstance(column, (str, bytes)) or not hasattr(column, "__iter__"):
        raise DataError(f"column {name!r} is {column!r}; expected a list of cells (a single row: predict_one)")
    return list(column)


def _dictionaries(rows):
    rows = rows if isinstance(rows, list) else list(rows)
    for row, one in enumerate(rows):
        if not isinstance(one, Mapping):
            raise DataError(f"row {row} is {one!r}; expected a dictionary of values by field name")
    return rows
