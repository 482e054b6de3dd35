"""What the columns of a sample are: label, kinds of fields, times, identifiers of rows; each guess with its reason."""

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np

from deshpc.errors import DataError
from deshpc.formats.outcome import outcome
from deshpc.formats.sample import is_number

_LABELS = (
    "label", "labels", "click", "clicked", "clicks", "is_click", "isclick", "target", "y", "conversion", "converted", "is_conversion",
    "purchase", "purchased", "is_purchase", "bought", "is_buy", "install", "is_installed", "like", "is_like", "response", "outcome",
    "class",
)  # fmt: skip
_UNDERSTOOD = ({"0", "1"}, {"-1", "1"}, {"false", "true"}, {"no", "yes"})
_POSITIVE = {"1", "y", "t", "yes", "true", "click", "clicked", "pos", "positive", "buy", "bought", "purchase", "converted", "+", "like"}
_MISSING_TEXTS = ("NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "\\N", "#N/A")
_MISSING_NUMBERS = (*_MISSING_TEXTS, "?", "-", ".")
_ROW_NAMES = {
    "id", "row", "row_id", "rowid", "index", "idx", "uuid", "guid", "nr", "no", "unnamed: 0", "request_id", "impression_id",
    "event_id", "log_id", "sample_id",
}  # fmt: skip
_TIME_NAME = re.compile(r"(^|_)(time|timestamp|ts|date|datetime|day|hour|week|month|at)($|_|\d)|time$|date$", re.IGNORECASE)
_TIME = re.compile(r"\d{4}[-/.]\d\d?[-/.]\d\d?([ T]\d\d?:\d\d.*)?|\d\d?[-/.]\d\d?[-/.]\d{4}([ T]\d\d?:\d\d.*)?")
_CODE_NAME = re.compile(
    r"onehot|one_hot|hash|id$|ids$|_id_|code|type|category|user|item|shop|store|site|page|campaign|(^|_)ad($|_)|device|zip|postal|sku|brand|city|country"
    r"|creative|advertiser|publisher|movie|product|version|model",
    re.IGNORECASE,
)
_QUANTITY_NAME = re.compile(r"(^|_)(num|number|count|cnt|days|amount|age|price|size|length|duration|ms|seconds|total|mean|rate|ratio|score)(_days|_ms)?$", re.IGNORECASE)
_WEIGHTED = re.compile(r".+:[-+]?[0-9.]+(e[-+]?\d+)?")
_POOLINGS = {"pooling": "mean", "linear_pooling": "sum"}  # as many values as a cell may have, embeddings stay alike in size
_MANY = 0.98  # of the cells: a few may be mistakes
_STEPS, _LEAST_BATCH, _MOST_BATCH = 50, 64, 8192  # of a pass, where there are few rows
_FEW_VALUES, _SOME_VALUES, _ROWS_TO_TELL = 20, 500, 50
_LEARNT_ROWS = 50  # for each value of a number that is better learnt value by value
_BARS_SHARE, _MULTI_SHARE, _WORDS_SHARE = 0.01, 0.2, 0.5
_EPOCHS = ((946_684_800, 2_208_988_800, "seconds"), (946_684_800_000, 2_208_988_800_000, "milliseconds"))  # of 2000 to 2040


@dataclass(frozen=True)
class Field:
    """A column as a field of the configuration.

    kind    : of `data.fields`; empty where the column had better be left out
    options : of the field, beside name and kind
    why     : what was seen, in words
    is_time : whether the rows' time is what it says
    is_row  : whether it tells one row from another, and nothing else
    """

    name: str
    kind: str
    options: dict
    why: str
    is_time: bool = False
    is_row: bool = False


@dataclass(frozen=True)
class Label:
    """The label's column.  positive : of data.positive, empty where it is understood;  why : in words"""

    name: str
    positive: str
    why: str

    def positives(self, cells):
        """(rows) bool: which of its cells are the positive label."""
        return np.array([cell == self.positive if self.positive else _understood(cell) for cell in cells], bool)


def label_of(sample, path, wanted=None):
    """The Label of a sample, of the column `wanted`, or by its name or values.  DataError where there is none.  path : for messages"""
    columns = sample.columns
    if wanted is not None:
        if wanted not in columns:
            raise DataError(f"{path}: no column is called {wanted!r} (the columns are: {', '.join(list(columns)[:20])})")
        return _label(wanted, columns[wanted], path, "as was asked for")
    usable = {name: cells for name, cells in columns.items() if name not in sample.unusable}
    by_name = {_plain(name): name for name in reversed(usable)}
    for name in _LABELS:
        if name in by_name and len(_values(usable[by_name[name]])) <= 2:
            return _label(by_name[name], usable[by_name[name]], path, "by its name")
    pairs = [name for name, cells in usable.items() if {text.lower() for text in _values(cells)} in _UNDERSTOOD]
    pairs = pairs or [name for name, cells in usable.items() if len(_values(cells)) == 2]
    if not pairs:
        raise DataError(f"{path}: no column is called label or click, or has two values; name the label by --label COLUMN")
    others = f"; so have {', '.join(pairs[1:6])}: name another by --label" if pairs[1:] else ""
    return _label(pairs[0], usable[pairs[0]], path, f"has two values{others}")


def _label(name, cells, path, why):
    values = _values(cells)
    if len(values) > 2:
        shown = ", ".join(repr(text) for text, _ in values.most_common(5))
        raise DataError(f"{path}: the label {name!r} has {len(values)} values ({shown}, ...); expected two")
    lower = {text.lower() for text in values}
    if any(lower <= pair for pair in _UNDERSTOOD) or (values and all(is_number(text) and float(text) in (0, 1) for text in values)):
        return Label(name, "", why)
    named = [text for text in values if text.lower() in _POSITIVE]
    positive = named[0] if len(named) == 1 else values.most_common()[-1][0]
    counted = ", ".join(f"{text!r} {count:,} times" for text, count in values.most_common())
    return Label(name, positive, f"{why}; {counted}")


def batch_of(rows):
    """Samples of a step where there are so many rows to train on: enough steps even if there are few."""
    batch = _LEAST_BATCH
    while batch < _MOST_BATCH and batch * 2 * _STEPS <= rows:
        batch *= 2
    return batch


def missing_of(sample, label):
    """Cells that stand for missing ones, as data.missing names them."""
    found = Counter()
    for name, cells in sample.columns.items():
        if name != label:
            counts = Counter(cells)
            words = [text for text in _MISSING_NUMBERS if counts[text]]
            rest = [text for text in counts if text and text not in words]
            if not rest or not all(map(is_number, rest)):
                words = [text for text in words if text in _MISSING_TEXTS]
            found.update(words)
    return [text for text in _MISSING_NUMBERS if found[text]]


def fields_of(sample, label, missing, first):
    """The Fields of all columns of a sample but its label, in their order.

    label : Label
    first : Sample of one file alone, whose rows are in the file's order
    """
    fields, positive = [], label.positives(sample.columns[label.name])
    for name, cells in sample.columns.items():
        if name != label.name:
            cells = ["" if cell in missing or not cell.strip() else cell for cell in cells]
            how = sample.types.get(name), sample.delimiter, sample.unusable.get(name)
            ordered = [cell for cell in first.columns[name] if cell.strip() and cell not in missing]
            found = field_of(name, ordered, len(first.columns[name]), *how)
            if not (found.is_time or found.is_row):
                found = field_of(name, [cell for cell in cells if cell], len(cells), *how)
            if found.kind and found.kind != "multi" and (why := outcome(name, cells, positive)):
                found = Field(name, "", {}, f"looks like an outcome, which nobody knows beforehand: {why}")
            fields.append(found)
    return fields


def field_of(name, present, rows, kind=None, delimiter="", unusable=None):
    """The Field of a column.

    present : its cells that are not missing
    rows    : how many there are
    kind    : of `Sample.types`, None for text
    """
    values = Counter(present)
    few = f"{len(values):,} values" if len(values) > 1 else "1 value"
    if unusable or kind not in (None, "number", "decimal", "text", "list", "pairs", "time"):
        return Field(name, "", {}, unusable or kind)
    if not values:
        return Field(name, "", {}, "always missing")
    if kind == "pairs":
        return Field(name, "multi", {"weight_separator": ":"}, "values with weights")
    if kind == "list":
        return Field(name, "multi", dict(_POOLINGS), "a list of values")
    if (time := _time(name, present)) or kind == "time":
        return Field(name, "", {}, f"a time ({time or 'by its type'}): other rows have other ones", is_time=True)
    if len(values) == 1 and rows > 1:
        return Field(name, "", {}, f"always {present[0][:40]!r}{'' if len(present) == rows else ', or missing'}")
    numbers = sum(map(is_number, present)) >= _MANY * len(present) if kind is None else kind in ("number", "decimal")
    whole = numbers and all(float(text).is_integer() for text in present if is_number(text))
    if sum(cell.startswith("[") and cell.endswith("]") for cell in present) >= _MANY * len(present):
        return Field(name, "", {}, "lists in brackets; write their values with | between them, or as lists of Parquet")
    if kind in (None, "text") and (many := _multi(present, values, delimiter, numbers)):
        return Field(name, "multi", *many)
    if _is_row(name, present, rows, numbers, whole):
        return Field(name, "", {}, "every row has another one: it names the row, and nothing is learnt from it", is_row=True)
    if not numbers or (kind != "decimal" and whole and names_things(name, present)):
        return Field(name, "categorical", {}, few)
    shown = f"numbers from {min(map(_number, present)):g} to {max(map(_number, present)):g}, {few}"
    other = next((cell for cell in present if not is_number(cell)), None)
    if other is not None:
        return Field(name, "categorical", {}, f"{few}; nearly all are numbers, but {other!r} is none")
    if whole and len(values) <= _SOME_VALUES:
        return Field(name, "bucket", {"buckets": 16}, shown)
    return Field(name, "dense", {}, shown)


def _understood(cell):
    return cell.strip().lower() in ("true", "yes") or (is_number(cell) and float(cell) == 1)


def _number(text):
    return float(text) if is_number(text) else 0.0


def _plain(name):
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def _values(cells):
    return Counter(cell for cell in cells if cell.strip() and cell not in _MISSING_TEXTS)


def _time(name, present):
    """What shows that cells are times, or an empty text."""
    if sum(bool(_TIME.fullmatch(cell.strip())) for cell in present) >= _MANY * len(present):
        return f"such as {present[0]}"
    if not all(re.fullmatch(r"\d{5,16}(\.0+)?", cell) for cell in present):
        return ""
    numbers = [float(cell) for cell in present]
    rises = len(numbers) >= _ROWS_TO_TELL and numbers == sorted(numbers) and len(set(numbers)) > 1
    if not (rises or _TIME_NAME.search(name)):
        return ""
    for low, high, unit in _EPOCHS:
        if low <= min(numbers) and max(numbers) <= high:
            return f"{unit} since 1970"
    if _TIME_NAME.search(name) and all(re.fullmatch(r"(19|20)\d\d(0\d|1[0-2])[0-3]\d(\d\d){0,3}", cell) for cell in present):
        return f"such as {present[0]}"
    return "its numbers rise" if rises and _TIME_NAME.search(name) else ""


def _is_row(name, present, rows, numbers, whole):
    """Whether a column tells one row from another, and nothing else."""
    if len(present) < rows or len(set(present)) < rows or (numbers and not whole):
        return False
    if _plain(name) in _ROW_NAMES or not name:
        return True
    if rows < _ROWS_TO_TELL:
        return False
    if not numbers:
        return rows >= 4 * _ROWS_TO_TELL
    steps = [float(after) - float(before) for before, after in zip(present, present[1:], strict=False)]
    return len(set(steps)) == 1


def names_things(name, present):
    """Whether whole numbers, as texts, had better be learnt value by value: there are few, each comes often, or they are codes."""
    values = len(set(present))
    often = values <= _SOME_VALUES and len(present) >= _LEARNT_ROWS * values
    return values <= _FEW_VALUES or often or _is_code(name, present)


def _is_code(name, present):
    """Whether whole numbers name something: by the column's name, or as all have as many digits, or zeros in front."""
    if _QUANTITY_NAME.search(name):
        return False
    lengths = {len(text.partition(".")[0]) for text in present}
    return bool(_CODE_NAME.search(name)) or (len(lengths) == 1 and min(lengths) >= 5) or any(text[0] == "0" and len(text) > 1 for text in present)


def _multi(present, values, delimiter, numbers):
    """(options, why) of a column whose cells have several values, or None."""
    if numbers:
        return None
    for separator, share in (("|", _BARS_SHARE), (";", _MULTI_SHARE), (",", _MULTI_SHARE), (" ", _WORDS_SHARE)):
        several = [cell for cell in present if separator in cell.strip(separator)]
        if separator == delimiter or len(several) < share * len(present) or present[0].startswith(("[", "{", "http")):
            continue
        parts = {part for cell in values for part in cell.split(separator) if part}
        weighted = all(_WEIGHTED.fullmatch(part) for part in parts)
        if weighted:
            parts = {part.rpartition(":")[0] for part in parts}
        if separator != "|" and len(parts) * 2 > len(values):  # titles, addresses and names of programs have such characters, too
            continue
        options = {"separator": separator} if separator != "|" else {}
        options |= {"weight_separator": ":"} if weighted else _POOLINGS
        return options, f"{len(several) / len(present):.0%} of the cells have several values; {len(parts):,} values"
    return None
