"""Parquet files to Arrow record batches of bounded size; what pyarrow cannot read is a DataError.

Row groups are read one by one, page by page, in batches of as many rows as fit when they are decoded: a text that thousands of
rows share, or a million equal numbers in a list, take a few bytes of the file.  How many values a column has is read by
`parquet_footer`: where that is damaged, pyarrow ends the process.
"""

from deshpc.errors import ConfigError, DataError
from deshpc.formats.parquet_footer import longest_text, row_groups
from deshpc.formats.steady import open_steady

_READ_BYTES = 1 << 20  # of each column at a time, so that row groups may be large
_LONG_DICTIONARY = 8192
_VALUE_BYTES = 16  # of a value when it is decoded, with its levels
_MOST_VALUES = 1 << 28  # of a column in a row group, where rows have lists of them


def record_batches(path, choose, batch_rows, batch_bytes, groups=None):
    """Record batches with some columns, in the order of the file's rows.

    choose      : the Arrow schema of the file -> names of the columns, before anything is read
    batch_rows  : rows of a batch, fewer where they are long when decoded: batch_bytes, by the mean size of a row group's rows
    groups      : range of the row groups that are read; None: all
    """
    pyarrow_parquet = _pyarrow_parquet()
    sizes = row_groups(path)

    def opened(**options):
        settings = {"buffer_size": _READ_BYTES, "pre_buffer": False, "page_checksum_verification": True}
        return reading(path, lambda: pyarrow_parquet.ParquetFile(open_steady(path), **settings, **options))

    def batches(file, group, rows, columns):
        reader, read = file.iter_batches(rows, row_groups=[group], columns=columns, use_threads=False), 0
        while (batch := reading(path, lambda: next(reader, None))) is not None:
            read += len(batch)
            yield batch
        expected = metadata.row_group(group).num_rows
        if read != expected:  # pyarrow ends with the shortest column, and says nothing
            raise DataError(f"{path}: damaged: row group {group} (from 0) has {read} rows; the file's footer says {expected}")

    with opened() as file:
        names = reading(path, lambda: choose(file.schema_arrow))
        metadata, texts = file.metadata, reading(path, lambda: _lone_texts(file.schema, names))
        if file.num_row_groups != len(sizes):
            raise DataError(f"{path}: cannot be read as a Parquet file: its metadata are damaged")
    rows = [_rows_of(path, names, size, batch_rows, batch_bytes) for size in sizes]
    groups = range(len(rows)) if groups is None else groups

    # Texts that a file holds as a short dictionary stay one: each is hashed once.  A long one would be built by pyarrow,
    # slowly, where the writer has given it up; it is made all the same where a batch of such texts might be too large.
    with opened(metadata=metadata, read_dictionary=list(texts.values())) as dictionaries:
        first = next((batch for group in groups for batch in batches(dictionaries, group, rows[group], names)), None)
        long = [name for name in texts if first is None or len(_dictionary(first.column(name))) > _LONG_DICTIONARY]
        short = [leaf for name, leaf in texts.items() if name not in long]
        with opened(metadata=metadata, read_dictionary=short) as file:
            for group in groups:  # one by one: pyarrow cannot join lists' dictionaries
                fits = all(_fits(path, sizes[group], texts[name], rows[group], batch_bytes) for name in long)
                yield from batches(file if fits else dictionaries, group, rows[group], names)


def _rows_of(path, names, size, batch_rows, batch_bytes):
    """Rows of a batch of a row group, by the mean size of its rows when they are decoded.

    All rows may be in one of them, which is read in one piece: so a column's values have a limit.
    """
    rows, nbytes, chunks = size
    own = {leaf: chunk.values for leaf, chunk in chunks.items() if any(leaf == name or leaf.startswith(f"{name}.") for name in names)}
    for leaf, count in own.items():
        if count > max(rows, _MOST_VALUES):
            raise DataError(
                f"{path}: a row group has {count:,} values in {leaf!r}; at most {_MOST_VALUES:,} are read: write smaller row groups"
            )
    row_bytes = (nbytes + _VALUE_BYTES * sum(own.values())) // max(1, rows)
    return max(1, min(batch_rows, batch_bytes // max(1, row_bytes)))


def _fits(path, size, leaf, batch_rows, batch_bytes):
    """Whether the texts of so many rows of a row group hold even if each is the longest one of its column's dictionary."""
    rows, nbytes, chunks = size
    if leaf not in chunks:  # pyarrow will say what is wrong
        return False
    texts = batch_rows * max(1, chunks[leaf].values // max(1, rows))
    if texts * nbytes <= batch_bytes:
        return True
    longest = longest_text(path, chunks[leaf])
    return longest is not None and texts * longest <= batch_bytes


def reading(path, action, kind="a Parquet file"):
    """The result of an action of pyarrow, whose errors become DataErrors.  kind : of what is read, in words"""
    import pyarrow

    try:
        return action()
    except (pyarrow.ArrowException, OSError, ValueError, MemoryError) as error:
        raise DataError(f"{path}: cannot be read as {kind}: {error}") from None


def _pyarrow_parquet():
    try:
        import pyarrow.parquet
    except ImportError:
        raise ConfigError("data.format = 'parquet' needs the package pyarrow: pip install 'deshpc[data]'") from None
    return pyarrow.parquet


def _lone_texts(schema, names):
    """{name: path of its leaf} of the columns that are texts, or lists of texts."""
    leaves = [schema.column(i) for i in range(len(schema))]
    texts = {}
    for name in names:
        own = [leaf for leaf in leaves if leaf.path == name or leaf.path.startswith(f"{name}.")]
        if len(own) == 1 and own[0].physical_type == "BYTE_ARRAY" and own[0].logical_type.type in ("NONE", "STRING"):
            texts[name] = own[0].path
    return texts


def _dictionary(array):
    """The dictionary of an array of texts, or of lists of texts."""
    import pyarrow.types as types

    while not types.is_dictionary(array.type):
        array = array.values
    return array.dictionary
