"""Parquet files that are small on disk and large when they are decoded: what a batch takes is bounded."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deshpc.config import DataConfig, FieldConfig
from deshpc.errors import DataError
from deshpc.formats import record_batches
from deshpc.formats.bad_rows import BadRows
from deshpc.formats.open import open_format
from deshpc.formats.parquet_footer import longest_text, row_groups
from deshpc.hashing.key import key


def small_file(path, rows, **columns):
    """A Parquet file of one row group, without the schema that pyarrow would store beside its own."""
    table = pa.table({"label": pa.array(np.zeros(rows, np.int64)), **columns})
    pq.write_table(table, path, row_group_size=rows, store_schema=False, compression="zstd")
    assert path.stat().st_size < 200_000


def test_lists_of_equal_numbers_are_read_in_small_blocks(tmp_path):
    """8 million numbers in some kB: what a block holds when it is decoded counts, not what the file has of it."""
    rows, length = 4096, 2000
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * length)
    small_file(tmp_path / "a", rows, f=pa.ListArray.from_arrays(offsets, pa.array(np.zeros(rows * length, np.int64))))
    reader = open_format(DataConfig(format="parquet", fields=(FieldConfig("f", "multi"),)))
    sizes = [len(block) for block in reader.blocks([str(tmp_path / "a")], BadRows("error"))]
    assert sum(sizes) == rows and max(sizes) * length * 8 <= 64 << 20 and len(sizes) < 10


@pytest.mark.parametrize("lists", [False, True])
def test_a_long_text_of_many_rows_is_held_once(tmp_path, lists):
    """16,384 rows have a text of 40 kB: 655 MB."""
    rows = 16_384
    texts = pa.array([*(f"v{i}" for i in range(8200)), "x" * 40_000], pa.large_string())
    numbers = pa.array(np.concatenate([np.arange(8200), np.full(rows - 8200, 8200)]), pa.int32())
    field = pa.DictionaryArray.from_arrays(numbers, texts)
    if lists:
        field = pa.ListArray.from_arrays(pa.array(np.arange(rows + 1, dtype=np.int32)), field)
    small_file(tmp_path / "a", rows, f=field)
    reader = open_format(DataConfig(format="parquet", fields=(FieldConfig("f", "multi" if lists else "categorical"),)))
    found = 0
    for block in reader.blocks([str(tmp_path / "a")], BadRows("error")):
        assert pa.total_allocated_bytes() < 100 << 20
        keys = block.key_fields[0].keys
        assert keys[-1] == key(0, "f", "x" * 40_000) and len(keys) == len(block)
        found += len(block)
    assert found == rows


def test_a_row_group_with_too_many_values_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(record_batches, "_MOST_VALUES", 999)
    small_file(tmp_path / "a", 10, f=pa.array([[1] * 100] * 10))
    reader = open_format(DataConfig(format="parquet", fields=(FieldConfig("f", "multi"),)))
    with pytest.raises(DataError, match="a row group has 1,000 values in 'f.*'; at most 999 are read"):
        next(iter(reader.blocks([str(tmp_path / "a")], BadRows("error"))))


def test_sizes_are_those_that_pyarrow_reads(tmp_path):
    table = pa.table({"a": [1, 2, None] * 50, "b.c": [["x", "y"], [], None] * 50, "d": pa.array([{"value": "q", "weight": 1.5}] * 150)})
    pq.write_table(table, tmp_path / "a", row_group_size=40)
    metadata, found = pq.ParquetFile(tmp_path / "a").metadata, row_groups(tmp_path / "a")
    assert len(found) == metadata.num_row_groups == 4
    for i, (rows, nbytes, values) in enumerate(found):
        group = metadata.row_group(i)
        assert (rows, nbytes) == (group.num_rows, group.total_byte_size)
        columns = [group.column(j) for j in range(group.num_columns)]
        assert {path: one.values for path, one in values.items()} == {one.path_in_schema: one.num_values for one in columns}


@pytest.mark.parametrize("codec", ["none", "snappy", "gzip", "zstd", "brotli", "lz4"])
def test_the_longest_text_of_a_dictionary(tmp_path, codec):
    texts = ["", "a", "\xe9" * 300, "b" * 599, "c"] * 9
    pq.write_table(pa.table({"a": texts}), tmp_path / "a", compression=codec)
    assert longest_text(tmp_path / "a", row_groups(tmp_path / "a")[0][2]["a"]) == 600
    pq.write_table(pa.table({"a": texts}), tmp_path / "a", compression=codec, use_dictionary=False)
    assert longest_text(tmp_path / "a", row_groups(tmp_path / "a")[0][2]["a"]) == 0
