"""Parquet files to Arrow record batches of bounded size; what pyarrow cannot read is a DataError.

Row groups are read one by one, page by page.  The sizes of column chunks, which the footer has too, are not asked for:
where they are damaged pyarrow ends the process.
"""

from deshpc.errors import ConfigError, DataError

_READ_BYTES = 1 << 20  # of each column at a time, so that row groups may be large
_LONG_DICTIONARY = 8192


def record_batches(path, names, check, batch_rows, batch_bytes):
    """Record batches with the columns `names`, in the order of the file's rows.

    check       : is given the Arrow schema of the file before anything is read
    batch_rows  : rows of a batch, fewer where they are long: batch_bytes, by the mean size of the file's rows
    """
    pyarrow_parquet = _pyarrow_parquet()

    def opened(**options):
        settings = {"buffer_size": _READ_BYTES, "pre_buffer": False, "page_checksum_verification": True}
        return reading(path, lambda: pyarrow_parquet.ParquetFile(path, **settings, **options))

    def batches(file, group):
        reader, read = file.iter_batches(rows, row_groups=[group], columns=names, use_threads=False), 0
        while (batch := reading(path, lambda: next(reader, None))) is not None:
            read += len(batch)
            yield batch
        expected = metadata.row_group(group).num_rows
        if read != expected:  # pyarrow ends with the shortest column, and says nothing
            raise DataError(f"{path}: damaged: row group {group} (from 0) has {read} rows; the file's footer says {expected}")

    with opened() as file:
        reading(path, lambda: check(file.schema_arrow))
        metadata, texts = file.metadata, reading(path, lambda: _lone_texts(file.schema, names))
        groups = range(file.num_row_groups)
        row_bytes = reading(path, lambda: max(map(_row_bytes, map(metadata.row_group, groups)), default=1))
        rows = max(1, min(batch_rows, batch_bytes // row_bytes))

    # Texts that a file holds as a short dictionary stay one: each is hashed once.  A long one would be built by pyarrow,
    # slowly, where the writer has given it up.
    with opened(metadata=metadata, read_dictionary=list(texts.values())) as file:
        first = next((batch for group in groups for batch in batches(file, group)), None)
    short = [leaf for name, leaf in texts.items() if first is not None and _dictionary_length(first.column(name)) <= _LONG_DICTIONARY]
    with opened(metadata=metadata, read_dictionary=short) as file:
        for group in groups:  # one by one: pyarrow cannot join the dictionaries of lists
            yield from batches(file, group)


def reading(path, action):
    """The result of an action of pyarrow, whose errors become DataErrors."""
    import pyarrow

    try:
        return action()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (pyarrow.ArrowException, OSError, ValueError, MemoryError) as error:
        raise DataError(f"{path}: cannot be read as a Parquet file: {error}") from None


def _pyarrow_parquet():
    try:
        import pyarrow.parquet
    except ImportError:
        raise ConfigError("data.format = 'parquet' needs the package pyarrow: pip install 'deshpc[data]'") from None
    return pyarrow.parquet


def _row_bytes(group):
    """Mean bytes of a row of a row group, before compression."""
    return max(1, group.total_byte_size // max(1, group.num_rows))


def _lone_texts(schema, names):
    """{name: path of its leaf} of the columns that are texts, or lists of texts."""
    leaves = [schema.column(i) for i in range(len(schema))]
    texts = {}
    for name in names:
        own = [leaf for leaf in leaves if leaf.path == name or leaf.path.startswith(f"{name}.")]
        if len(own) == 1 and own[0].physical_type == "BYTE_ARRAY" and own[0].logical_type.type in ("NONE", "STRING"):
            texts[name] = own[0].path
    return texts


def _dictionary_length(array):
    """Number of texts in the dictionary of an array of texts, or of lists of texts."""
    import pyarrow.types as types

    while not types.is_dictionary(array.type):
        array = array.values
    return len(array.dictionary)
