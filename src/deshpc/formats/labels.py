"""Labels as they were read: which are positive, and what those say that are not, or numbers, see `formats.label_kinds`.

Of classes, numbers 1 and 0 or -1, and the words of two pairs, are understood by themselves; of other labels one is named the positive.
All labels that are not positive have to be one value, which `BadRows` sees to: a column of three values is no label.
"""

import numpy as np

from deshpc.formats.columns import Labels
from deshpc.formats.label_kinds import LEAST, MOST, OTHER_LOSSES
from deshpc.formats.words import Words
from deshpc.jit import kernel

UNDERSTOOD = (
    "0 or 1, nor -1 or 1, true or false, yes or no; where labels are another pair of values, data.positive names the positive one"
    + OTHER_LOSSES
)
"""What a label of a class is that needs no explanation, as the end of a message."""

_NEGATIVE, _POSITIVE = ("false", "no"), ("true", "yes")
_FORMS = (str.lower, str.title, str.upper)
_WORDS = Words(form(word).encode() for word in (*_NEGATIVE, *_POSITIVE) for form in _FORMS)


def of_numbers(numbers):
    """(Labels, (n) bool where it is none) of numbers 1, 0 and -1."""
    zero = numbers == 0
    bad = ~(zero | (numbers == 1))
    negatives = _first({}, "0", zero)
    if bad.any():
        minus = numbers == -1
        bad &= ~minus
        _first(negatives, "-1", minus)
    return Labels((numbers == 1).astype(np.float32), negatives), bad


def of_any_numbers(numbers, kind):
    """(Labels, (n) bool where it is none) of numbers (n) float64 that are labels of a kind "counts" or "numbers"; NaN is none."""
    good = (numbers >= LEAST[kind]) & (numbers <= MOST)
    return Labels(np.where(good, numbers, 0).astype(np.float32), {}), ~good


@kernel(inline=True)
def is_number(label, least):
    """Whether a number, or MALFORMED, is a label of a kind whose smallest one is `least`."""
    return label >= least and label <= MOST


def of_words(labels, bad, data, starts, stops):
    """What `of_numbers` has given, with the words among the cells, of which it says that they are bad."""
    rows = np.flatnonzero(bad)
    found = _WORDS.find(data, starts[rows], stops[rows])
    word = found // len(_FORMS)
    labels.values[rows[word >= len(_NEGATIVE)]] = 1
    for i, name in enumerate(_NEGATIVE):
        own = rows[(found >= 0) & (word == i)]
        if len(own):
            labels.negatives[name] = int(own[0])
    bad[rows] = found < 0
    return labels, bad


def of_cells(positive, data, starts, stops):
    """(Labels, (n) bool where the cell is empty) of cells, of which those that are `positive`, bytes, are 1."""
    texts, negatives, empty = [positive], {}, stops <= starts
    while True:
        found = Words(texts).find(data, starts, stops)
        rest = (found < 0) & ~empty
        if not rest.any() or len(negatives) > 1:  # two are an error already
            return Labels((found == 0).astype(np.float32), negatives), empty
        row = int(np.argmax(rest))
        texts.append(data[starts[row] : stops[row]].tobytes())
        negatives[texts[-1].decode(errors="backslashreplace")] = row


def where_there(found, bad, missing):
    """(Labels, bad) of cells, of which those that are missing (n) bool are NaN and not bad."""
    found.values[missing] = np.nan
    return found, bad & ~missing


def _first(negatives, name, rows):
    """`negatives`, with the first of some rows (n) bool under a name, if there is one."""
    row = int(np.argmax(rows)) if len(rows) else 0
    if len(rows) and rows[row]:
        negatives[name] = row
    return negatives
