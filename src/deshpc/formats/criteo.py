"""Criteo's text: a line has a label, 13 integers and 26 categorical values, separated by tabs; any of them but the
label may be missing.

A value is hashed as it stands, and an empty one like any other.  Most cells are short numbers followed by a tab, values
of 8 bytes, or empty: these are read as one 64-bit word, whichever they are, since branches that follow random data
would cost more than all the arithmetic.  The rest, and what lies too near the end of the array, takes the slow way.
"""

import numpy as np

from deshpc.formats import lines
from deshpc.formats.block import shown
from deshpc.formats.byte import byte, occurrences
from deshpc.formats.columns import Bucket, Categorical, Columns
from deshpc.formats.label_kinds import EXPECTED, LEAST, OTHER_LOSSES
from deshpc.formats.labels import is_number
from deshpc.formats.number import MALFORMED, number
from deshpc.formats.schema import CRITEO_CATEGORICALS, CRITEO_INTEGERS
from deshpc.formats.word import SHORT_BITS, byte_at, digit_bits, digits_value, has_separator, word
from deshpc.hashing.key import field_seed, key
from deshpc.hashing.xxh64 import hash_key, hash_key_of_word
from deshpc.jit import kernel

_TAB, _LF, _CR, _ZERO, _ONE = (ord(character) for character in "\t\n\r01")
_TAB_BYTE, _MINUS_BYTE = np.uint64(_TAB), np.uint64(ord("-"))
_BLANK_LINE, _BLOCK_ENDS, _BAD_CELL = lines.BLANK_LINE, lines.BLOCK_ENDS, lines.OTHER
_0, _1, _3, _8 = (np.uint64(x) for x in (0, 1, 3, 8))


class Criteo:
    """Reads Criteo's text: `formats.open` says how readers are used."""

    divisible = rows_are_lines = True

    def __init__(self, config, schema, chunk_bytes=lines.CHUNK_BYTES):
        self.schema, self._chunk_bytes = schema, chunk_bytes
        names = [f"C{i + 1}" for i in range(CRITEO_CATEGORICALS)]
        self.numbers = np.arange(len(schema.key_fields), dtype=np.uint64)[-CRITEO_CATEGORICALS:]
        self.seeds = np.array([field_seed(name) for name in names], np.uint64)
        self.empty_keys = np.array([key(field, name, "") for field, name in zip(self.numbers.tolist(), names, strict=True)], np.uint64)
        integers = [f"I{i + 1}" for i in range(CRITEO_INTEGERS)]
        self.columns = ([] if schema.label is None else [schema.label]) + integers + names

    def blocks(self, paths, bad_rows):
        """The rows of one file after the other, block by block; DataError names file, line and field."""
        return lines.blocks(paths, bad_rows, lambda *text: _Block(self, *text), self._chunk_bytes)

    def divides(self, part):
        """True: a line is a row."""
        return True

    def room(self, paths):
        """(rows, keys) of plain files, if each of their lines is a row."""
        rows, _ = lines.count(paths, None, self._chunk_bytes)
        return rows, rows * len(self.schema.key_fields)


class _Block:
    """Rows of `reader`, a Criteo; see `lines.blocks`."""

    loose = False

    def __init__(self, reader, data, start, end):
        room = min(occurrences(data[start:end], _LF), lines.BLOCK_ROWS)
        self._reader = reader
        self._labels = np.empty(room, np.float32)
        self._matrix = np.empty((room, len(reader.schema.key_fields)), np.uint64)
        self._keys = self._matrix[:, -CRITEO_CATEGORICALS:]
        if reader.schema.dense_fields:
            self._numbers = np.empty((room, CRITEO_INTEGERS), np.float64)
        else:
            self._numbers = self._matrix.view(np.float64)[:, :CRITEO_INTEGERS]

    def read(self, data, position, end, rows):
        reader = self._reader
        labelled = reader.schema.label is not None
        arrays = self._labels, self._numbers, self._keys
        of_label = labelled, reader.schema.labels != "classes", LEAST[reader.schema.labels]
        return _parse(data, position, end, rows, *of_label, reader.numbers, reader.seeds, reader.empty_keys, *arrays)

    def complaint(self, text, why, where):
        columns, labelled = self._reader.columns, self._reader.schema.label is not None
        cells = text.split(b"\t")
        if len(cells) != len(columns):
            return (
                f": the row has {len(cells)} cells; expected {len(columns)}, separated by tabs: {'a label, ' if labelled else ''}"
                f"{CRITEO_INTEGERS} integers and {CRITEO_CATEGORICALS} categorical values"
            )
        expected = "a finite number, or empty where it is missing"
        if labelled and where == 0:
            labels = self._reader.schema.labels
            expected = EXPECTED[labels] + OTHER_LOSSES * (labels == "classes")
        return f", field {columns[where]!r}: {shown(cells[where])} is not {expected}"

    def columns(self, rows):
        schema, n = self._reader.schema, len(rows)
        numbers = tuple(self._numbers[:n].T)
        keys = tuple(Categorical(column) for column in self._keys[:n].T)
        return Columns(
            key_fields=keys if schema.dense_fields else (*map(Bucket, numbers), *keys),
            dense_fields=numbers if schema.dense_fields else (),
            labels=None if schema.label is None else self._labels[:n],
            rows=rows,
            matrix=self._matrix[:n],
        )


@kernel
def _parse(data, position, end, rows, labelled, numeric, least, fields, seeds, empty_keys, labels, numbers, keys):
    """Read the lines data[position:end] into the columns of a block, which has `rows` rows, up to a line that is none.

    data       : (any) uint8      data[end - 1] is a line feed
    labelled   : bool
    numeric    : bool             whether labels are numbers, from `least` on, not 0 or 1
    fields, seeds, empty_keys : (26) uint64   of the categorical fields: numbers, seeds of hashes, keys of empty cells
    labels     : (n) float32      out
    numbers    : (n, 13) float64  out, NaN where missing
    keys       : (n, 26) uint64   out

    Returns (rows, position, why, where): why the kernel stopped at that line and, for a bad cell, its column; 0 where
    the line has too few or too many cells.
    """
    last_word = len(data) - 9  # a word that starts here has one more byte after it
    row = np.uint64(rows)
    last = np.uint64(CRITEO_CATEGORICALS - 1)
    while position < end and row < np.uint64(len(labels)):
        i = position
        if byte(data, i) == _LF or (byte(data, i) == _CR and byte(data, i + 1) == _LF):
            return np.int64(row), position, _BLANK_LINE, 0
        if labelled:
            if (byte(data, i) == _ZERO or byte(data, i) == _ONE) and byte(data, i + 1) == _TAB:
                labels[row] = byte(data, i) - _ZERO
                i += 2
            else:
                stop = _cell_end(data, i)
                label = number(data, i, stop)
                if byte(data, stop) == _LF or not (is_number(label, least) if numeric else label == 0 or label == 1):
                    return np.int64(row), position, _BAD_CELL, 0
                labels[row] = label
                i = stop + 1

        for column in range(np.uint64(CRITEO_INTEGERS)):
            if i <= last_word:
                text = word(data, i)
                negative = byte_at(text, _0) == _MINUS_BYTE
                sign_bits = _8 if negative else _0
                text >>= sign_bits
                bits = digit_bits(text)
                if bits <= SHORT_BITS and byte_at(text, bits) == _TAB_BYTE and (bits != _0 or not negative):
                    magnitude = np.float64(np.int64(digits_value(text, bits)))
                    value = -magnitude if negative else magnitude
                    numbers[row, column] = value if bits != _0 else np.nan
                    i += np.int64((sign_bits + bits) >> _3) + 1
                    continue
            stop = _cell_end(data, i)
            value = number(data, i, stop)
            if byte(data, stop) == _LF or value == MALFORMED:
                return np.int64(row), position, _BAD_CELL, np.int64(column) + labelled
            numbers[row, column] = value
            i = stop + 1

        for column in range(last):
            if i <= last_word:
                text = word(data, i)
                empty = byte_at(text, _0) == _TAB_BYTE
                if empty or (byte(data, i + 8) == _TAB and not has_separator(text)):
                    hashed = hash_key_of_word(text, _8, seeds[column], fields[column])
                    keys[row, column] = empty_keys[column] if empty else hashed
                    i += 1 if empty else 9
                    continue
            stop = _cell_end(data, i)
            if byte(data, stop) == _LF:
                return np.int64(row), position, _BAD_CELL, 0
            keys[row, column] = hash_key(data, i, stop, seeds[column], fields[column])
            i = stop + 1

        if i <= last_word and byte(data, i + 8) == _LF and not has_separator(word(data, i)):
            keys[row, last] = hash_key_of_word(word(data, i), _8, seeds[last], fields[last])
            position = i + 9
        else:
            stop = _cell_end(data, i)
            if byte(data, stop) == _TAB:
                return np.int64(row), position, _BAD_CELL, 0
            position = stop + 1
            if stop > i and byte(data, stop - 1) == _CR:
                stop -= 1
            keys[row, last] = hash_key(data, i, stop, seeds[last], fields[last])
        row += _1
    return np.int64(row), position, _BLOCK_ENDS, 0


@kernel
def _cell_end(data, i):
    """Where the cell that starts at i ends: a tab or a line feed."""
    while byte(data, i) != _TAB and byte(data, i) != _LF:
        i += 1
    return i
