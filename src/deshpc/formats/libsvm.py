"""libsvm's and libffm's text: a line is a label and entries, index:value in libsvm, field:index:value in libffm.

Spaces and tabs, one or more, separate them; entries keep their order and may repeat.  A # begins a comment.  The label
-1 stands for 0.  An index is hashed as decimal text without leading zeros, in the field "feature" for libsvm and in the
one named by its number for libffm.
"""

import re

import numpy as np

from deshpc.formats import lines
from deshpc.formats.block import shown
from deshpc.formats.byte import byte, occurrences
from deshpc.formats.columns import Columns, Entries, Multi
from deshpc.formats.label_kinds import EXPECTED, LEAST, OTHER_LOSSES
from deshpc.formats.labels import is_number
from deshpc.formats.number import MALFORMED, number
from deshpc.formats.word import SHORT_BITS, byte_at, digit_bits, digits_value, word
from deshpc.hashing.key import field_seed
from deshpc.hashing.xxh64 import hash_key, hash_key_of_word
from deshpc.jit import kernel

_SPACE, _TAB, _LF, _CR, _HASH, _COLON, _ZERO, _NINE = (ord(character) for character in " \t\n\r#:09")
_MINUS_BYTE, _POINT_BYTE, _ZERO_BYTE = (np.uint64(ord(character)) for character in "-.0")
_POWERS = np.array([10.0**e for e in range(9)])
_TOKEN = rb"[^ \t\r#]+"
_0, _3, _8 = (np.uint64(x) for x in (0, 3, 8))

_BLOCK_ENDS, _BLANK_LINE, _COMMENT_LINE = lines.BLOCK_ENDS, lines.BLANK_LINE, lines.COMMENT_LINE
_BAD_LABEL, _BAD_ENTRY, _BAD_FIELD = range(lines.OTHER, lines.OTHER + 3)


class Libsvm:
    """Reads libsvm's text: `formats.open` says how readers are used."""

    divisible = rows_are_lines = True
    entry = "index:value"
    has_fields = False

    def __init__(self, config, schema, chunk_bytes=lines.CHUNK_BYTES):
        self.schema, self._chunk_bytes = schema, chunk_bytes
        self.seeds = np.array([field_seed(field.name) for field in schema.key_fields], np.uint64)

    def blocks(self, paths, bad_rows):
        """The rows of one file after the other, block by block; DataError names file, line and field."""
        return lines.blocks(paths, bad_rows, lambda *text: _Block(self, *text), self._chunk_bytes)

    def divides(self, part):
        """True: a line is a row."""
        return True

    def room(self, paths):
        """(rows, keys) of plain files, if each of their lines is a row and none has a comment."""
        rows, colons = lines.count(paths, _COLON, self._chunk_bytes)
        return rows, colons // (2 if self.has_fields else 1)

    def key_fields(self, offsets, keys, fields, weights):
        """A block's entries as the key fields of its Columns."""
        return (Multi(offsets, keys, weights),)


class Libffm(Libsvm):
    """Reads libffm's text: `formats.open` says how readers are used."""

    entry = "field:index:value"
    has_fields = True

    def key_fields(self, offsets, keys, fields, weights):
        return Entries(offsets, keys, fields, weights)


class _Block:
    """Rows of `reader`, a Libsvm or Libffm; see `lines.blocks`."""

    loose = True

    def __init__(self, reader, data, start, end):
        text = data[start:end]
        rows = min(occurrences(text, _LF), lines.BLOCK_ROWS)
        entries = occurrences(text, _COLON) // (2 if reader.has_fields else 1)
        self._reader = reader
        self._labels = np.empty(rows, np.float32)
        self._offsets = np.zeros(rows + 1, np.int64)
        self._keys = np.empty(entries, np.uint64)
        self._fields = np.empty(entries if reader.has_fields else 0, np.uint16)
        self._weights = np.empty(entries, np.float32)

    def read(self, data, position, end, rows):
        reader = self._reader
        labels = reader.schema.labels
        options = reader.has_fields, reader.schema.label is not None, labels != "classes", LEAST[labels], reader.seeds
        arrays = self._labels, self._offsets, self._keys, self._fields, self._weights
        return _parse(data, position, end, rows, *options, *arrays)

    def complaint(self, text, why, where):
        before, token = re.findall(_TOKEN, text[:where]), re.match(_TOKEN, text[where:])[0]
        schema = self._reader.schema
        if why == _BAD_LABEL:
            classes = f"0, 1 or -1 (which stands for 0){OTHER_LOSSES}"
            return f", field {schema.label!r}: {shown(token)} is not {classes if schema.labels == 'classes' else EXPECTED[schema.labels]}"
        here = f", entry {len(before) + (schema.label is None)}: {shown(token)}"
        if why == _BAD_FIELD:
            number = token.split(b":")[0].decode()
            return f"{here}: the field number {number} is not below data.libffm_fields = {len(schema.key_fields)}"
        query = "; a query id is not supported" if token.startswith(b"qid:") else ""
        return f"{here} is not {self._reader.entry}, where the value is a finite number and all else digits{query}"

    def columns(self, rows):
        n = len(rows)
        entries = self._offsets[n]
        return Columns(
            key_fields=self._reader.key_fields(
                self._offsets[: n + 1], self._keys[:entries], self._fields[:entries], self._weights[:entries]
            ),
            dense_fields=(),
            labels=None if self._reader.schema.label is None else self._labels[:n],
            rows=rows,
        )


@kernel
def _parse(data, position, end, rows, has_fields, labelled, numeric, least, seeds, labels, offsets, keys, fields, weights):
    """Read the lines data[position:end] into a block, which has `rows` rows, up to a line that is none.

    data       : (any) uint8     data[end - 1] is a line feed
    has_fields : bool            whether an entry has a field number: else its field is 0
    labelled   : bool            else a first token without a colon is passed over
    numeric    : bool            whether labels are numbers, from `least` on, not 0, 1 or -1
    seeds      : (F) uint64      of the fields
    labels     : (n) float32     out
    offsets    : (n + 1) int64   in and out, offsets[0] = 0: row i has the entries offsets[i] .. offsets[i + 1]
    keys       : (nnz) uint64
    fields : (nnz) uint16, or (0) without fields
    weights : (nnz) float32      out

    Returns (rows, position, why, where): why the kernel stopped at that line, and where in it the bad label or entry is.
    """
    last_word = len(data) - 17  # from there on a short value with a fraction may reach beyond the array
    while position < end and rows < len(labels):
        i = _pass_space(data, position)
        if byte(data, i) == _LF:
            return rows, position, _BLANK_LINE, 0
        if byte(data, i) == _HASH:
            return rows, position, _COMMENT_LINE, 0
        stop = i
        while not _ends_token(byte(data, stop)) and (labelled or byte(data, stop) != _COLON):
            stop += 1
        if labelled:
            label = number(data, i, stop)
            if not (is_number(label, least) if numeric else label == 0 or label == 1 or label == -1):
                return rows, position, _BAD_LABEL, i - position
            labels[rows] = label if numeric else label == 1
            i = stop
        elif byte(data, stop) != _COLON:
            i = stop

        entry = offsets[rows]
        while True:
            i = _pass_space(data, i)
            if byte(data, i) == _LF or byte(data, i) == _HASH:
                break
            start = i
            field = 0
            if has_fields:
                while _is_digit(byte(data, i)):
                    field = min(10 * field + (byte(data, i) - _ZERO), len(seeds))
                    i += 1
                if i == start or byte(data, i) != _COLON:
                    return rows, position, _BAD_ENTRY, start - position
                if field >= len(seeds):
                    return rows, position, _BAD_FIELD, start - position
                i += 1

            text = word(data, i) if i <= last_word else _0
            bits = digit_bits(text)
            if _0 < bits <= SHORT_BITS and (bits == _8 or byte_at(text, _0) != _ZERO_BYTE):
                key = hash_key_of_word(text, bits >> _3, seeds[field], field)
                i += np.int64(bits >> _3)
            elif _is_digit(byte(data, i)):
                key, i = _long_index(data, i, seeds[field], field)
            else:
                return rows, position, _BAD_ENTRY, start - position
            if byte(data, i) != _COLON:
                return rows, position, _BAD_ENTRY, start - position

            i += 1
            text = word(data, i) if i <= last_word else _0
            negative = byte_at(text, _0) == _MINUS_BYTE
            sign_bits = _8 if negative else _0
            text >>= sign_bits
            bits = digit_bits(text)
            stop = i + np.int64((sign_bits + bits) >> _3)
            short = _0 < bits <= SHORT_BITS
            value = np.float64(np.int64(digits_value(text, bits)))
            if short and byte_at(text, bits) == _POINT_BYTE:
                text = word(data, stop + 1)
                bits = digit_bits(text)
                short = bits <= SHORT_BITS
                power = _POWERS[bits >> _3]
                value = (value * power + np.float64(np.int64(digits_value(text, bits)))) / power
                stop += 1 + np.int64(bits >> _3)
            if short and _ends_token(byte(data, stop)):
                value = -value if negative else value
                i = stop
            else:
                value, i = _long_value(data, i)
            weight = np.float32(value)
            if not np.isfinite(weight):
                return rows, position, _BAD_ENTRY, start - position
            keys[entry] = key
            weights[entry] = weight
            if has_fields:
                fields[entry] = field
            entry += 1
        while byte(data, i) != _LF:
            i += 1
        rows += 1
        offsets[rows] = entry
        position = i + 1
    return rows, position, _BLOCK_ENDS, 0


@kernel
def _long_index(data, i, seed, field):
    """The key of the index that starts at i, with a digit, in that field, and where it ends."""
    first = i
    while _is_digit(byte(data, i)):
        i += 1
    while first < i - 1 and byte(data, first) == _ZERO:
        first += 1
    return hash_key(data, first, i, seed, field), i


@kernel
def _long_value(data, i):
    """The number in the token that starts at i, MALFORMED if it is not a finite number, and where the token ends."""
    stop = i
    while not _ends_token(byte(data, stop)):
        stop += 1
    return number(data, i, stop) if stop > i else MALFORMED, stop


@kernel(inline=True)
def _ends_token(character):
    """Whether a token ends before this byte: at white space or a comment."""
    return character in (_SPACE, _LF, _TAB, _CR, _HASH)


@kernel(inline=True)
def _is_digit(character):
    return _ZERO <= character <= _NINE


@kernel(inline=True)
def _pass_space(data, i):
    """The next byte from i on that is neither space nor tab, nor the carriage return of a line end."""
    while byte(data, i) == _SPACE or byte(data, i) == _TAB or byte(data, i) == _CR:
        i += 1
    return i
