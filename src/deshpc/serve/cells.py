"""A raw value as Python has it to what the readers make of a cell: the text of a key, values with weights, a number.

`formats.cells` and `formats.arrow` are the compiled twins, docs/data.md the definition.
"""

import math
import numbers
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal

import numpy as np

_TOO_LARGE = 2.0**128 - 2.0**103  # the smallest weight that float32 rounds to infinity
_NUMBER = re.compile(r" *[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)? *")


class BadCell(ValueError):
    """A value that a field cannot have; the text says what was expected."""


def text_of(cell):
    """The bytes whose hash is the key of a categorical value; missing is the empty value."""
    if type(cell) is str:
        try:
            return cell.encode()
        except UnicodeEncodeError:
            raise BadCell("text that UTF-8 can encode; give bytes") from None
    if isinstance(cell, (bool, np.bool_)):
        return b"true" if cell else b"false"
    if isinstance(cell, (int, np.integer)):
        try:
            return b"%d" % cell
        except ValueError:  # Python has a limit
            raise BadCell("an integer of at most some thousand digits") from None
    if isinstance(cell, bytes):
        return bytes(cell)
    if is_missing(cell):
        return b""
    if isinstance(cell, str):
        return text_of(str(cell))
    raise BadCell("text, bytes, an integer or a truth value, or None where it is missing")


def values_of(cell, separator, weight_separator):
    """(texts, weights) of the values of a multi field's cell.

    cell : text, split at `separator` as in a file;  a mapping of values to weights;  a sequence of values, of values with
    weights as text, or of pairs (value, weight);  a single integer;  None: no value.
    A value without a weight has weight 1, and the empty text is no value.
    """
    if isinstance(cell, (str, bytes)):
        pairs = _split_values(text_of(cell).split(separator.encode()), weight_separator)
    elif isinstance(cell, (int, np.integer)):
        pairs = [(text_of(cell), 1.0)]
    elif is_missing(cell):
        pairs = []
    elif isinstance(cell, Mapping):
        pairs = [_weighted(value, weight) for value, weight in cell.items()]
    elif isinstance(cell, Iterable):
        pairs = []
        for item in cell:
            if isinstance(item, (tuple, list)):
                if len(item) != 2:
                    raise BadCell("values, or pairs of value and weight")
                pairs.append(_weighted(*item))
            else:
                pairs += _split_values([text_of(item)], weight_separator)
    else:
        raise BadCell("text, a sequence of values, or a mapping of values to weights")
    if not weight_separator and any(weight != 1 for _, weight in pairs):
        raise BadCell("values without weights: the model was trained without, as weight_separator was empty")
    return [text for text, _ in pairs], [weight for _, weight in pairs]


def number_of(cell):
    """A finite float; NaN where it is missing."""
    if type(cell) is float or type(cell) is int:
        number = cell
    elif is_missing(cell):
        return math.nan
    elif isinstance(cell, (str, bytes)):
        text = cell if isinstance(cell, str) else cell.decode(errors="replace")
        if not text.strip(" "):
            return math.nan
        if not _NUMBER.fullmatch(text):
            raise BadCell("a finite number, or empty where it is missing")
        number = text
    elif isinstance(cell, (numbers.Real, Decimal, np.bool_)):
        number = cell
    else:
        raise BadCell("a finite number, or None where it is missing")
    try:
        number = float(number)
    except OverflowError:
        number = math.inf
    except ValueError:  # Decimal's signalling NaN
        raise BadCell("a finite number, or None where it is missing") from None
    if math.isinf(number):
        raise BadCell("a finite number")
    return number


class MissingCells:
    """Cells that count as missing, as data.missing names them: texts, and the numbers that they say."""

    def __init__(self, texts):
        """texts : strings"""
        self._texts, self._numbers = {*texts}, {*filter(lambda one: one is not None, map(_float, texts))}

    def emptied(self, cells, numeric):
        """Cells, in which None stands for those that are one of them.  numeric : whether they are to be numbers"""
        if not self._texts:
            return cells
        return [None if self._has(cell, numeric) else cell for cell in cells]

    def _has(self, cell, numeric):
        if isinstance(cell, (bool, np.bool_)) and not numeric:
            return str(bool(cell)).lower() in self._texts
        if isinstance(cell, (numbers.Real, Decimal)):
            return float(cell) in self._numbers if numeric else isinstance(cell, numbers.Integral) and str(int(cell)) in self._texts
        text = cell.decode(errors="replace") if isinstance(cell, bytes) else cell
        return isinstance(text, str) and text in self._texts


def _float(text):
    try:
        return float(text)
    except ValueError:
        return None


def is_missing(cell):
    """Whether a value is None, NaN, or what pandas has for a missing value."""
    if isinstance(cell, (float, np.floating)):
        return bool(cell != cell)
    return cell is None or type(cell).__name__ in ("NAType", "NaTType")


def _split_values(texts, weight_separator):
    """[(text, weight)] of values as a file has them: what follows the last weight separator is the weight."""
    if not weight_separator:
        return [(text, 1.0) for text in texts if text]
    pairs = []
    for text in filter(None, texts):
        value, found, weight = text.rpartition(weight_separator.encode())
        pairs.append(_weighted(value, weight or math.nan) if found else (text, 1.0))
    return pairs


def _weighted(value, weight):
    """(text, weight) of a value beside its weight, None for 1."""
    text, weight = text_of(value), 1.0 if weight is None else number_of(weight)
    if not text or not abs(weight) < _TOO_LARGE:
        raise BadCell("values that are not empty, with finite weights")
    return text, weight
