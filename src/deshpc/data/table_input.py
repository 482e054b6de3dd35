"""The samples of tables in memory, as data sets: as those of Parquet files with the same columns."""

from deshpc.data.input import RowInput
from deshpc.data.loading import held_unfinished
from deshpc.errors import ConfigError
from deshpc.formats.table import Table, TablePart


class TableInput(RowInput):
    """Tables that every rank has: each of a node's threads reads a part of the rows.

    Transforms, labels and bad rows are those of a RowInput.
    """

    def __init__(self, config, labels, tables):
        """labels : as of RowInput;  tables : {part: pyarrow.Table}, the same on every rank"""
        if not tables:
            raise ConfigError(
                "data.format = 'table': rows come from Python, as deshpc.train(config, train=table) or deshpc.evaluate(run, data=table), "
                "and no file keeps them; for files, set data.format to theirs, such as --set data.format=csv --data FILE"
            )
        super().__init__(config, labels)
        self._tables, self._reader = tables, Table(config, self.schema)

    def has(self, part):
        """Whether there is a table of this part."""
        return part in self._tables

    def _unfinished(self, part, workers):
        rows = self._tables[part].num_rows

        def blocks_of(worker, bad_rows):
            begin, end = (rows * one // workers.size for one in (worker, worker + 1))
            return self._reader.blocks([self._part(part, begin, end)], bad_rows)

        return held_unfinished(self.schema, blocks_of, self._config.on_bad_row, workers)

    def _columns(self, part, bad_rows):
        return self._reader.blocks([self._part(part, 0, self._tables[part].num_rows)], bad_rows)

    def _names(self, part):
        return f"the table {part}"

    def _part(self, part, begin, end):
        return TablePart(part, self._tables[part], begin, end)
