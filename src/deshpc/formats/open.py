"""The door to files of samples: which module reads which data.format, block by block.

A reader is made by `Reader(config, schema)` and has

schema                    : the Schema of its blocks
blocks(paths, bad_rows)   : Columns of at most some ten thousand rows each, all rows of one file after the other; what it
                            holds in memory is bounded by a block, not by a file; a yielded block is never written again.
                            A path may be Standard (`formats.source`) where the format is text, RowGroups of Parquet
rows_are_lines            : whether every line of a plain file is a row, whatever is in it
divisible                 : whether lines can be rows.  Then a file may be a Part (`formats.parts`), and there are
divides(part)             : whether the Part's line ends end rows; where all do, the rows of the Parts are those of the files
room(paths)               : (rows, keys) of plain files, or Parts of them, if no row is bad: never fewer than `blocks` gives;
                            None where that is not known beforehand

A row that cannot be read goes to `bad_rows`, a BadRows; what spoils the rest of a file is always a DataError.
"""

from importlib import import_module

from deshpc.config import DataConfig
from deshpc.config.schema import NAMED_FORMATS
from deshpc.errors import ConfigError
from deshpc.formats.schema import Schema

_READERS = {
    "csv": ("deshpc.formats.text", "Text"),
    "tsv": ("deshpc.formats.text", "Text"),
    "criteo": ("deshpc.formats.criteo", "Criteo"),
    "libsvm": ("deshpc.formats.libsvm", "Libsvm"),
    "libffm": ("deshpc.formats.libsvm", "Libffm"),
    "parquet": ("deshpc.formats.parquet", "Parquet"),
    "table": ("deshpc.formats.table", "Table"),  # whose paths are TableParts
}


_NAMELESS = {
    "cache": "caches have the hashed keys of their rows, not the columns of the files that they were made of",
    "synthetic": "generated samples have no columns",
}


def open_format(config: DataConfig, label: bool = True, weight: bool = True, labels: str = "classes", keep: tuple[str, ...] = ()):
    """The reader of files in `config.format`.

    label : whether rows have a label; without, its column need not exist, and `Columns.labels` is None
    weight : whether the column of weights is read, where the configuration names one
    labels : what labels are, see `formats.label_kinds`
    keep : columns whose cells are carried along, as `Columns.carried`, whether they are fields or not; a block may have them alone.
        ConfigError unless the format names its columns
    """
    if config.format not in _READERS:
        raise ConfigError(
            f"data.format: {config.format!r} is not read from rows; expected one of {', '.join(sorted(_READERS))}"
        )
    require_names(config.format, keep)
    module, name = _READERS[config.format]
    schema = Schema.from_config(config, label, weight, labels)
    return getattr(import_module(module), name)(config, schema, **({"keep": tuple(keep)} if keep else {}))


def require_names(name, keep):
    """ConfigError where a data.format of this name has no columns that could be kept, but some are to be."""
    why = _NAMELESS.get(name, f"lines of data.format = {name!r} have no named columns")
    if keep and name not in NAMED_FORMATS:
        raise ConfigError(f"--keep {','.join(keep)}: {why}; csv, tsv and parquet have")
