"""Rows on disk against a sorted array and a dictionary: any key range, block by block, without reading the others."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from saved_models import assert_same_rows, joined, random_rows, slice_rows, write_model

from deshpc.checkpoint.load import row_blocks, rows_of, verify
from deshpc.checkpoint.manifest import NAME, read_manifest, write_manifest
from deshpc.checkpoint.rows_file import RowsFile, write_rows
from deshpc.errors import DataError
from deshpc.hashing.partition import KeyPartition, owners
from deshpc.storage.container import Container, ContainerWriter

BLOCK = 64


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """(folder, manifest, all Rows) of three ranks."""
    rows = random_rows(5, 1_000)
    edges = np.searchsorted(rows.keys, [np.uint64(KeyPartition(3, 1).key_range(rank)[1]) for rank in range(3)], side="right")
    parts = [slice_rows(rows, begin, end) for begin, end in zip([0, *edges[:-1]], edges, strict=True)]
    folder = write_model(tmp_path_factory.mktemp("rows") / "model", parts, block_rows=BLOCK)
    return folder, read_manifest(folder), rows


def test_all_rows_come_in_key_order(saved):
    folder, manifest, rows = saved
    assert manifest["rows"] and sum(manifest["rows"]) == len(rows)
    assert_same_rows(joined(row_blocks(folder, manifest)), rows)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_any_key_range(saved, data):
    folder, manifest, rows = saved
    key = st.one_of(st.integers(0, 2**64 - 1), st.sampled_from(rows.keys.tolist()))
    first, last = sorted((data.draw(key), data.draw(key)))
    blocks = list(row_blocks(folder, manifest, first, last))
    wanted = [i for i, one in enumerate(rows.keys.tolist()) if first <= one <= last]
    assert [one for block in blocks for one in block.keys.tolist()] == [rows.keys.tolist()[i] for i in wanted]
    if wanted:
        assert_same_rows(joined(blocks), slice_rows(rows, wanted[0], wanted[-1] + 1))


WHOLE = 1 + 5 + 2 * 1 + 2 * 5  # numbers of a row of w and five columns, by a rule that keeps two for each
PLACES = [  # of three ranks' columns 0, 1 to 2 and 3 to 4 in such a row, counted by hand
    [0, 1, 6, 7, 8, 13], [2, 3, 9, 10, 14, 15], [4, 5, 11, 12, 16, 17],
]  # fmt: skip


def split_model(folder, split, parts):
    """(folder, manifest) of a model of `parts`, the Rows of three ranks, that says so of its split."""
    write_model(folder, parts, block_rows=BLOCK)
    manifest = json.loads((folder / NAME).read_text())
    del manifest["crc32"]
    write_manifest(folder, {**manifest, "model": {**manifest["model"], "scalars": 1, "dim": 5, "planes": 2, "scalar_state": 2, "vector_state": 10, "split": split}})
    return folder, read_manifest(folder)


def parts_of(split, rows):
    if split == "column":
        return [replace(rows, numbers=rows.numbers[:, places]) for places in PLACES]
    return [rows.take(rows.fields // 3 == rank) for rank in range(3)]


@pytest.mark.parametrize("split", ["field", "column"])
def test_whole_rows_in_key_order_by_any_split(tmp_path, split):
    rows = random_rows(7, 900, numbers=WHOLE)
    folder, manifest = split_model(tmp_path / "model", split, parts_of(split, rows))
    assert verify(folder) == manifest and rows_of(manifest) == len(rows)
    assert_same_rows(joined(row_blocks(folder, manifest)), rows)
    for begin, end in ((0, 1), (5, 5 + BLOCK), (333, 700), (880, len(rows))):
        found = list(row_blocks(folder, manifest, int(rows.keys[begin]), int(rows.keys[end - 1])))
        assert_same_rows(joined(found), slice_rows(rows, begin, end))
        assert max(map(len, found)) <= 3 * BLOCK


@pytest.mark.parametrize("split", ["field", "column"])
def test_no_rows_by_any_split(tmp_path, split):
    folder, manifest = split_model(tmp_path / "model", split, [random_rows(1, 0)] * 3)
    assert sum(map(len, row_blocks(folder, manifest))) == rows_of(manifest) == 0 and verify(folder) == manifest


def test_columns_of_different_rows_are_refused(tmp_path):
    """Each file is sound, but they do not belong together."""
    first, second, third = parts_of("column", random_rows(7, 900, numbers=WHOLE))
    other = replace(second, keys=second.keys + (np.arange(len(second)) == len(second) - 1).astype(np.uint64))
    folder, manifest = split_model(tmp_path / "model", "column", [first, other, third])
    for task in (lambda: verify(folder), lambda: list(row_blocks(folder, manifest))):
        with pytest.raises(DataError, match="model: damaged: .* columns of different rows"):
            task()


@pytest.mark.parametrize(("ranks", "threads"), [(1, 1), (2, 1), (3, 2), (4, 1), (7, 5)])
def test_the_ranks_share_out_the_rows_and_hold_one_block_at_a_time(saved, monkeypatch, ranks, threads):
    folder, manifest, rows = saved
    read, partition = [], KeyPartition(ranks, threads)
    monkeypatch.setattr(Container, "read", lambda self, name, _read=Container.read: read.append(_read(self, name)) or read[-1])
    owner = owners(partition, rows.keys, rows.fields) // threads
    for rank in range(ranks):
        read.clear()
        first, last = partition.key_range(rank)
        blocks = list(row_blocks(folder, manifest, first, last))
        mine = rows.keys[owner == rank]
        assert np.concatenate([block.keys for block in blocks]).tolist() == mine.tolist()
        assert max(len(array) for array in read) <= BLOCK
        assert sum(array.nbytes for array in read[::5]) <= 8 * (len(mine) + 4 * BLOCK)  # keys: two ends in at most two files


@pytest.mark.parametrize(("ranks", "shards"), [(1, 1), (1, 3), (3, 1), (4, 2), (5, 7), (100, 3)])
def test_key_ranges_are_the_owners(ranks, shards):
    """Each range's ends, and their neighbours outside, have the owners that the compiled partition gives them."""
    partition = KeyPartition(ranks, shards)
    ranges = [partition.key_range(rank) for rank in range(ranks)]
    assert ranges[0][0] == 0 and ranges[-1][1] == 2**64 - 1
    assert all(last + 1 == first for (_, last), (first, _) in zip(ranges, ranges[1:], strict=False))
    ends = np.array(ranges, np.uint64)
    for side in (0, 1):
        found = owners(partition, ends[:, side].copy(), np.zeros(ranks, np.uint16)) // shards
        assert found.tolist() == list(range(ranks))


def test_no_rows(tmp_path):
    folder = write_model(tmp_path / "empty", [random_rows(1, 0), random_rows(1, 0)])
    assert list(row_blocks(folder, read_manifest(folder))) == []


def test_a_list_of_blocks_that_lies_is_refused(tmp_path):
    rows = random_rows(6, 9)
    for blocks in ([[9, 1, 2], [9, 3, 4]], [[8, 1, 2]], [[9]], None, "x", [["a", 1, 2]]):
        with ContainerWriter(tmp_path / "x", "checkpoint rows", {"blocks": blocks}) as writer:
            for name in ("keys", "fields", "counts", "steps", "numbers"):
                writer.add(f"{name}/0", getattr(rows, name))
            writer.finish()
        with pytest.raises(DataError, match="list of blocks|no section|has not their sections|not in order"):
            RowsFile(tmp_path / "x")


def test_a_writer_that_fails_leaves_nothing(tmp_path):
    def blocks():
        yield random_rows(1, 5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_rows(tmp_path / "x", "r", 0, 1, 1, blocks())
    assert list(tmp_path.iterdir()) == []
