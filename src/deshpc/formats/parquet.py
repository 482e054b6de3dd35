"""Read Parquet files into blocks of keys and numbers, with pyarrow.  docs/data.md describes what a column may hold."""

from dataclasses import dataclass, replace

import numpy as np

from deshpc.errors import DataError
from deshpc.formats import header
from deshpc.formats.arrow import CategoricalArrays, LabelArrays, SampleWeightArrays, array_parser_of, plain
from deshpc.formats.block import block_of, shown
from deshpc.formats.carried import Carried
from deshpc.formats.cells import LabelParser, SampleWeightParser, parser_of
from deshpc.formats.path_values import PathColumns
from deshpc.formats.record_batches import reading, record_batches
from deshpc.formats.words import missing_words

_BLOCK_ROWS = 16_384
_BLOCK_BYTES = 64 << 20  # a block has fewer rows where they are long


@dataclass(frozen=True)
class RowGroups:
    """Some row groups of a file.

    groups : range of their numbers, None: all
    row : rows of the file before them
    """

    path: str
    groups: range | None = None
    row: int = 0


class Parquet:
    """The reader, as `formats.open` has it, for Parquet files; columns are found by name."""

    divisible, rows_are_lines, kind = False, False, "a Parquet file"

    def __init__(self, config, schema, keep=()):
        self.schema, self.keep, self.missing = schema, keep, missing_words(config.missing)
        fields = schema.key_fields + schema.dense_fields
        self.names = [field.name for field in fields]
        self.parsers = [array_parser_of(*column, self.missing) for column in schema.columns]
        self.text_parsers = [parser_of(*column) for column in schema.columns]
        if schema.weight is not None:
            self.names.insert(0, schema.weight)
            self.parsers.insert(0, SampleWeightArrays(self.missing))
            self.text_parsers.insert(0, SampleWeightParser())
        for name, kind in reversed(schema.label_columns):
            positive, optional = config.positive if kind == "classes" else "", schema.tasks > 0
            self.names.insert(0, name)
            self.parsers.insert(0, LabelArrays(positive, self.missing, kind, optional))
            self.text_parsers.insert(0, LabelParser(positive, kind, optional))

    def blocks(self, paths, bad_rows):
        """Columns, block by block, of one file after the other.  DataError names file, row (from 0) and field."""
        for one in paths:
            some = one if isinstance(one, RowGroups) else RowGroups(one)
            row, file = some.row, ArrowRows(self, some.path, bad_rows)
            for batch in record_batches(str(some.path), file.choose, _BLOCK_ROWS, _BLOCK_BYTES, some.groups):
                block = file.block(row, batch)
                row += len(batch)
                if len(block) or self.keep:
                    yield block


class ArrowRows:
    """Record batches of one schema, which `reader`, a Parquet, reads.  path : of their file, or what they are called"""

    def __init__(self, reader, path, bad_rows):
        self._reader, self._path, self._bad_rows = reader, path, bad_rows
        self._of_path, self._kept_of_path = None, None

    def choose(self, schema):
        """The names of the columns to read, of a file with this Arrow schema; DataError where they are not as expected."""
        from pyarrow.types import is_floating

        reader, path = self._reader, self._path
        self._of_path = PathColumns(path, reader.names, schema.names, reader.text_parsers, reader.missing)
        own = [(reader.names[i], reader.parsers[i]) for i in self._of_path.own]
        header.require(schema.names, [name for name, _ in own], path)
        for name, parser in own:
            kind = schema.field(name).type
            if not parser.takes(kind):
                raise DataError(f"{path}, field {name!r}: the column is of type {kind}; expected {parser.wants}")
            if isinstance(parser, CategoricalArrays) and is_floating(kind):
                text = f"{path} has floats in this categorical field: 13.0 gets the key of 13, NaN that of the empty value"
                self._bad_rows.notes.setdefault(f"data.fields, {name!r}", text)
        self._kept_of_path = PathColumns(path, reader.keep, schema.names, (), None)
        kept = [reader.keep[i] for i in self._kept_of_path.own]
        header.require(schema.names, kept, f"--keep: {path}")
        return list(dict.fromkeys([*(name for name, _ in own), *kept]))

    def _kept(self, batch):
        """The columns that are kept of a RecordBatch."""
        texts = [self._kept_of_path.text(i) for i in range(len(self._reader.keep))]
        return tuple(
            plain(batch.column(name)) if text is None else [text.decode(errors="surrogateescape")] * len(batch)
            for name, text in zip(self._reader.keep, texts, strict=True)
        )

    def block(self, row, batch):
        """The Columns of a RecordBatch, whose first row is number `row` of the file."""
        reader, path, of_path = self._reader, self._path, self._of_path

        def column(i, name, some):
            return of_path.parse(i, len(some)) if of_path.text(i) is not None else reader.parsers[i].parse(some.column(name))

        def parse(rows):
            some = batch if rows is None else batch.take(rows)
            return reading(path, lambda: [column(i, name, some) for i, name in enumerate(reader.names)], reader.kind)

        def complain(at, i, problem):
            name, text = reader.names[i], of_path.text(i)
            value = _text_of(batch.column(name)[at]) if text is None else shown(text)
            return f"{path}, row {row + at} (from 0), field {name!r}: {value} {problem or f'is not {reader.parsers[i].expected}'}"

        block = block_of(reader.schema, path, np.arange(row, row + len(batch)), parse, complain, self._bad_rows)
        return replace(block, carried=Carried(row, reading(path, lambda: self._kept(batch)))) if reader.keep else block


def _text_of(scalar):
    try:
        return shown(str(scalar.as_py()))
    except UnicodeDecodeError:
        return "the value, which is not UTF-8,"
