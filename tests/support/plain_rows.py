"""Files of rows read by plain Python: split, float, the csv module for headers, and the definition of a key.

Every reader of text returns the good rows, each with its number from 0, and the lines, from 1, of the bad ones.
"""

import csv
import math
import re

import numpy as np

from deshpc.hashing.key import key

NUMBER = re.compile(rb"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
INTEGERS = [f"I{i + 1}" for i in range(13)]
VALUES = [f"C{i + 1}" for i in range(26)]
BOM = b"\xef\xbb\xbf"


def number(cell):
    """The number in a cell, NaN where it is empty, None where it is neither."""
    cell = cell.strip(b" ")
    if not cell:
        return math.nan
    return float(cell) if NUMBER.fullmatch(cell) and math.isfinite(float(cell)) else None


def weight(text):
    """The finite float32 of a text that is a number, else None."""
    with np.errstate(over="ignore"):
        x = np.float32(float(text)) if NUMBER.fullmatch(text) else np.float32(np.nan)
    return x if np.isfinite(x) else None


def criteo_rows(data, labelled=True):
    """([(row, label, 13 numbers, 26 cells)], [line]) of Criteo's text."""
    texts = [text.removesuffix(b"\r") for text in data.removeprefix(BOM).split(b"\n")]
    while texts and not texts[-1]:
        texts.pop()
    good, bad = [], []
    for row, text in enumerate(texts):
        cells = text.split(b"\t")
        label = number(cells[0]) if labelled else 0
        cells = cells[labelled:]
        numbers = [number(cell) for cell in cells[:13]]
        if len(cells) == 39 and label in (0, 1) and None not in numbers:
            good.append((row, label, numbers, cells[13:]))
        else:
            bad.append(row + 1)
    return good, bad


def _entry(token, fields):
    """(field, key, weight) of an entry; None if it is none."""
    parts = token.split(b":")
    if len(parts) != (2 if fields is None else 3) or not all(re.fullmatch(b"[0-9]+", part) for part in parts[:-1]):
        return None
    x, field = weight(parts[-1]), 0 if fields is None else int(parts[0])
    if x is None or (fields is not None and field >= fields):
        return None
    return field, key(field, "feature" if fields is None else str(field), parts[-2].lstrip(b"0") or b"0"), x


def sparse_rows(data, fields=None, labelled=True):
    """([(row, label, [(field, key, weight)])], [line]) of libsvm's text, or of libffm's, which has so many `fields`."""
    texts = data.removeprefix(BOM).split(b"\n")
    while texts and not texts[-1].strip(b" \t\r"):
        texts.pop()
    good, bad, row = [], [], -1
    for line, text in enumerate(texts, 1):
        tokens = [token for token in re.split(b"[ \t\r]+", text.split(b"#")[0]) if token]
        if not tokens and b"#" in text:
            continue
        row += 1
        label = 0
        if tokens and labelled:
            first = tokens.pop(0)
            label = {0.0: 0, 1.0: 1, -1.0: 0}.get(float(first)) if NUMBER.fullmatch(first) else None
        elif tokens and b":" not in tokens[0]:
            tokens.pop(0)
        elif not tokens:
            label = None
        entries = [_entry(token, fields) for token in tokens]
        if label is None or None in entries:
            bad.append(line)
        else:
            good.append((row, label, entries))
    return good, bad


def separated_rows(data, separator, quoting):
    """(names, [(row, line, cells)], [line]) of CSV (`quoting`) or TSV; names is None, and there are no rows, without a header that can be read.

    A quote that is never closed costs its line.
    """
    data = data if data.endswith(b"\n") else data + b"\n"
    head, _, body = data.partition(b"\n")
    names = _names(head.removeprefix(BOM).removesuffix(b"\r"), separator, quoting)
    good, bad, blanks, row, line, at = [], [], [], 0, 2, 0
    while names is not None and at < len(body):
        end = body.index(b"\n", at) + 1
        if body[at:end] in (b"\n", b"\r\n"):
            blanks.append(line)
            at, line, row = end, line + 1, row + 1
            continue
        bad, blanks = bad + blanks, []
        cells, after = _cells(body, at, separator.encode(), quoting)
        if cells is None:
            after = after or end
            bad.append(line)
        elif len(cells) != len(names):
            bad.append(line)
        else:
            good.append((row, line, cells))
        line, row, at = line + body.count(b"\n", at, after), row + 1, after
    return names, good, bad


def _names(line, separator, quoting):
    try:
        text = line.decode()
        if not text.strip():
            return None
        return next(csv.reader([text], delimiter=separator, strict=True)) if quoting else text.split(separator)
    except (UnicodeDecodeError, csv.Error):
        return None


def _cells(body, at, separator, quoting):
    """(cells, where the next row begins); None for cells where text follows a quote, for both where one is never closed."""
    cells, sound = [], True
    while True:
        if quoting and body.startswith(b'"', at):
            cell, first = b"", at + 1
            while True:
                last = body.find(b'"', first)
                if last < 0:
                    return None, None
                cell += body[first:last]
                if not body.startswith(b'""', last):
                    break
                cell, first = cell + b'"', last + 2
            at = last + 1
            rest = re.compile(b"[^\n" + separator + b"]*").match(body, at)
            sound &= rest[0] == b"" or (rest[0] == b"\r" and body.startswith(b"\n", rest.end()))
        else:
            rest = re.compile(b"[^\n" + separator + b"]*").match(body, at)
            cell = rest[0].removesuffix(b"\r") if body.startswith(b"\n", rest.end()) else rest[0]
        cells.append(cell)
        at = rest.end() + 1
        if body.startswith(b"\n", rest.end()):
            return cells if sound else None, at


def values(cell, separator, weight_separator):
    """[(value, weight)] of a multi field's cell; None where one is none."""
    found = []
    for part in filter(None, cell.split(separator)):
        value, colon, text = part.rpartition(weight_separator) if weight_separator else (b"", b"", b"")
        x = weight(text.strip(b" ")) if colon else np.float32(1)
        if x is None or (colon and not value):
            return None
        found.append((value if colon else part, x))
    return found
