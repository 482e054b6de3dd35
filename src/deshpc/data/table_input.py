"""The samples of tables in memory, as data sets: as those of Parquet files with the same columns."""

from dataclasses import replace

from deshpc.data.input import RowInput
from deshpc.data.loading import held_unfinished
from deshpc.errors import ConfigError
from deshpc.formats.open import open_format
from deshpc.formats.table import TablePart


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
        self._tables = tables

    def has(self, part):
        """Whether there is a table of this part."""
        return part in self._tables

    def paths(self, part):
        """The table of a part, as the format's reader takes it."""
        return [TablePart(part, self._tables[part], 0, self._tables[part].num_rows)]

    def _unfinished(self, part, workers):
        (whole,), reader = self.paths(part), open_format(self._config, labels=self._labels)

        def blocks_of(worker, bad_rows):
            begin, end = (whole.end * one // workers.size for one in (worker, worker + 1))
            return reader.blocks([replace(whole, begin=begin, end=end)], bad_rows)

        return held_unfinished(self.schema, blocks_of, self._config.on_bad_row, workers)
