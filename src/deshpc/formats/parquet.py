"""Read Parquet files into blocks of keys and numbers, with pyarrow.  docs/data.md describes what a column may hold."""

from functools import partial

import numpy as np

from deshpc.errors import DataError
from deshpc.formats import header
from deshpc.formats.arrow import LabelArrays, array_parser_of
from deshpc.formats.block import block_of, shown
from deshpc.formats.record_batches import reading, record_batches

_BLOCK_ROWS = 16_384
_BLOCK_BYTES = 64 << 20  # a block has fewer rows where they are long


class Parquet:
    """The reader, as `formats.open` has it, for Parquet files; columns are found by name."""

    divisible = False

    def __init__(self, config, schema):
        self.schema = schema
        fields = schema.key_fields + schema.dense_fields
        self._names = [field.name for field in fields]
        self._parsers = [array_parser_of(field, number) for number, field in enumerate(fields)]  # key fields are the first
        if schema.label is not None:
            self._names.insert(0, schema.label)
            self._parsers.insert(0, LabelArrays())

    def blocks(self, paths, bad_rows):
        """Columns, block by block, of one file after the other.  DataError names file, row (from 0) and field."""
        for path in paths:
            row = 0
            for batch in record_batches(str(path), self._names, partial(self._check, path), _BLOCK_ROWS, _BLOCK_BYTES):
                block = self._block(path, row, batch, bad_rows)
                row += len(batch)
                if len(block):
                    yield block

    def _check(self, path, schema):
        header.require(schema.names, self._names, path)
        for name, parser in zip(self._names, self._parsers, strict=True):
            kind = schema.field(name).type
            if not parser.takes(kind):
                raise DataError(f"{path}, field {name!r}: the column is of type {kind}; expected {parser.wants}")

    def _block(self, path, row, batch, bad_rows):
        """The Columns of a RecordBatch, whose first row is number `row` of the file."""

        def parse(rows):
            some = batch if rows is None else batch.take(rows)
            columns = zip(self._names, self._parsers, strict=True)
            return reading(path, lambda: [parser.parse(some.column(name)) for name, parser in columns])

        def complain(at, column):
            name = self._names[column]
            value = _text_of(batch.column(name)[at])
            return f"{path}, row {row + at} (from 0), field {name!r}: {value} is not {self._parsers[column].expected}"

        return block_of(self.schema, np.arange(row, row + len(batch)), parse, complain, bad_rows)


def _text_of(scalar):
    try:
        return shown(str(scalar.as_py()))
    except UnicodeDecodeError:
        return "the value, which is not UTF-8,"
