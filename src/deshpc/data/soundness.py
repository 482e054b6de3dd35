"""What samples have to be before a kernel sees them.  Kernels index by offsets, fields and labels, and know no key 0."""

import numpy as np

from deshpc.data.dataset import Dataset
from deshpc.errors import DataError
from deshpc.formats.label_kinds import EXPECTED, LEAST, MOST
from deshpc.hashing.key_fields import is_key_of


def require_sound(piece, schema, rows, name):
    """DataError, which begins with what name(row) gives for the first bad row, unless these rows of a Dataset are sound.

    schema : Schema of the samples
    rows : (n) int64, or None for all of the piece, whose offsets then have to be those of all its keys
    """
    if rows is None:
        own, rows = _all(piece, name), range(len(piece))
    else:
        own = _picked(piece, rows, name)
    for occurrences, array, fault in _faults(own, np.array(schema.numbers_of_keys, np.uint16), schema.labels):
        at = int(np.argmax(fault))
        row = int(np.searchsorted(own.offsets, at, side="right")) - 1 if occurrences else at
        raise DataError(f"{name(int(rows[row]))}: {array[1].format(array[0][at])}")


def _faults(own, of_keys, kind):
    """Yield (whether it has one number an occurrence, (array, words), fault) of each array with faults.

    of_keys (F) uint16 : number of the field whose keys each field's are

    Whole arrays are looked at by what is quickest, a minimum or a maximum; which number it is, is asked only then.
    """
    keys, fields, labels, n_fields = own.keys, own.fields, own.labels, len(of_keys)
    if len(fields) and fields.max() >= n_fields:
        yield True, (fields, f"damaged: field number {{}}; there are {n_fields}"), fields >= n_fields
    shared = (of_keys != np.arange(n_fields)).any()
    fits = is_key_of(keys, of_keys[np.minimum(fields, n_fields - 1)] if shared else fields)
    if not fits.all():
        yield True, (keys, "damaged: {} is not a key of its field"), ~fits
    several = not isinstance(kind, str)  # of which one may not be known
    for column, own_kind in zip(labels.T, kind, strict=True) if several else ((labels, kind),):
        fault = (column != 0) & (column != 1) if own_kind == "classes" else ~((column >= LEAST[own_kind]) & (column <= MOST))
        if several:
            fault &= ~np.isnan(column)
        if fault.any():
            yield False, (column, f"damaged: the label is {{}}; expected {EXPECTED[own_kind]}"), fault
    for numbers, occurrences, what in ((own.values, True, "value"), (own.dense, False, "dense feature")):
        if numbers is not None and not np.isfinite(numbers).all():
            bad = ~np.isfinite(numbers.reshape(len(numbers), -1)).all(axis=1)
            yield occurrences, (numbers, f"damaged: a {what} is not finite: {{}}"), bad
    if own.weights is not None and not (own.weights.min(initial=0) >= 0 and own.weights.max(initial=0) < np.inf):
        yield False, (own.weights, "damaged: the weight is {}; expected a finite number of at least 0"), ~((own.weights >= 0) & (own.weights < np.inf))
    if own.truth is not None and not (own.truth.min(initial=0) >= 0 and own.truth.max(initial=0) <= 1):
        yield False, (own.truth, "damaged: the true probability is {}; expected 0 to 1"), ~((own.truth >= 0) & (own.truth <= 1))


def _all(piece, name):
    offsets = piece.offsets
    if offsets[0] != 0 or offsets[-1] != len(piece.keys) or (offsets[1:] < offsets[:-1]).any():
        at = int(np.argmax((offsets[1:] < offsets[:-1]) | (offsets[1:] > len(piece.keys))))
        raise DataError(f"{name(at)}: damaged: offsets are not those of its keys")
    return piece


def _picked(piece, rows, name):
    """The rows of a piece as a Dataset of copies."""
    begins, ends = piece.offsets[rows], piece.offsets[rows + 1]
    bad = (begins < 0) | (ends < begins) | (ends > len(piece.keys))
    if bad.any():
        raise DataError(f"{name(int(rows[np.argmax(bad)]))}: damaged: offsets are not those of its keys")
    offsets = np.concatenate([[0], np.cumsum(ends - begins)])
    at = np.repeat(begins - offsets[:-1], ends - begins) + np.arange(offsets[-1])
    return Dataset(
        offsets, piece.keys[at], piece.fields[at], None if piece.values is None else piece.values[at], piece.dense[rows],
        piece.labels[rows], None if piece.truth is None else piece.truth[rows], None if piece.weights is None else piece.weights[rows],
    )  # fmt: skip
