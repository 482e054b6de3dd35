"""Global batches: the same samples in the same order for any number of ranks, each row once an epoch."""

import numpy as np
import pytest

from deshpc.backend.cpu.buffers import Buffers
from deshpc.comm.shares import slice_of
from deshpc.data.dataset import ChainedDataset, Dataset
from deshpc.data.order import EpochOrder
from deshpc.data.reader import Reader

ROWS, FIELDS = 103, 4


def dataset(weighted=True, rows=ROWS, width=1):
    """Rows of 0 to 5 occurrences whose contents name their row; width: numbers beside each key, if weighted."""
    rng = np.random.default_rng(5)
    offsets = np.concatenate([[0], rng.integers(0, 6, rows).cumsum()]).astype(np.int64)
    nnz = int(offsets[-1])
    row_of = np.repeat(np.arange(rows), np.diff(offsets))
    return Dataset(
        offsets,
        (row_of * 1000 + np.arange(nnz) + 1).astype(np.uint64),
        (np.arange(nnz) % FIELDS).astype(np.uint16),
        rng.random((nnz, width)[:width]).astype(np.float32) if weighted else None,
        rng.random((rows, 2)).astype(np.float32),
        (np.arange(rows) % 2).astype(np.float32),
        rng.random(rows).astype(np.float32),
    )


def chained(data, counts):
    """The same rows in pieces of so many rows."""
    edges = np.cumsum([0, *counts])
    assert edges[-1] == len(data)
    return ChainedDataset(
        counts,
        lambda i, verify: data.slice(edges[i], edges[i + 1]),
        lambda *rows: None,
        lambda i: None,
        len(data.keys),
        data.n_dense,
        data.value_width,
        data.has_truth,
    )


def occurrences(batch, i, part):
    """Sample i of a batch or data set, whose occurrences are `part`, as plain tuples."""
    values = None if batch.values is None else batch.values[part].tolist()
    return (
        batch.keys[part].tolist(),
        batch.fields[part].tolist(),
        values,
        batch.dense[i].tolist(),
        float(batch.labels[i]),
    )


def read(data, ranks, rank, batch_samples, epoch=0, shuffle=True, block_rows=16, seed=3, run_rows=1):
    """[(step, B, [(row, sample)])] of one rank's epoch."""
    reader = Reader(data, batch_samples, lambda total: slice_of(total, ranks, rank), Buffers, seed, shuffle, block_rows, run_rows)
    return [
        (
            b.step,
            b.global_samples,
            [(int(b.samples[i]), occurrences(b, i, slice(b.begins[i], b.ends[i]))) for i in range(len(b))],
        )
        for b in reader.epoch(epoch, first_step=7)
    ]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("batch_samples", [1, 10, 50, 200])
def test_ranks_shares_together_are_the_batches_of_one_rank(shuffle, weighted, batch_samples):
    data = dataset(weighted)
    whole = read(data, 1, 0, batch_samples, shuffle=shuffle)
    assert [step for step, _, _ in whole] == list(range(7, 7 + -(-ROWS // batch_samples)))
    assert sum(total for _, total, _ in whole) == ROWS
    for ranks in (2, 3, 4):
        parts = [read(data, ranks, rank, batch_samples, shuffle=shuffle) for rank in range(ranks)]
        for number, (step, total, samples) in enumerate(whole):
            assert {(part[number][0], part[number][1]) for part in parts} == {(step, total)}
            assert [sample for part in parts for sample in part[number][2]] == samples


def test_every_row_once_an_epoch_with_its_own_contents():
    data = dataset()
    for shuffle, run_rows in ((False, 1), (True, 1), (True, 5)):
        samples = [sample for _, _, part in read(data, 1, 0, 10, shuffle=shuffle, run_rows=run_rows) for sample in part]
        assert sorted(row for row, _ in samples) == list(range(ROWS))
        for row, contents in samples:
            assert contents == occurrences(data, row, slice(data.offsets[row], data.offsets[row + 1]))


def test_shuffle_permutes_blocks_and_rows_inside_them_by_seed_and_epoch():
    block_rows = 16

    def order(seed, epoch):
        return EpochOrder(ROWS, block_rows, seed, epoch, True).rows(0, ROWS).tolist()

    rows = order(3, 0)
    assert rows == order(3, 0) and len({tuple(order(s, e)) for s in (3, 4) for e in (0, 1)}) == 4
    blocks = [row // block_rows for row in rows]
    changes = [b for i, b in enumerate(blocks) if i == 0 or blocks[i - 1] != b]
    assert len(changes) == -(-ROWS // block_rows)  # a block is finished before the next begins
    assert changes != sorted(changes) and rows[:block_rows] != sorted(rows[:block_rows])


@pytest.mark.parametrize("run_rows", [1, 2, 5, 16, 20])
def test_rows_of_a_run_stay_together(run_rows):
    block_rows = 16
    order = EpochOrder(ROWS, block_rows, 3, 0, True, run_rows).rows(0, ROWS).tolist()
    assert sorted(order) == list(range(ROWS))
    runs = []
    for row in order:
        run = row // block_rows, row % block_rows // run_rows
        if not runs or runs[-1][0] != run:
            runs.append((run, []))
        runs[-1][1].append(row)
    assert len({run for run, _ in runs}) == len(runs)  # none is torn apart
    assert all(rows == list(range(rows[0], rows[0] + len(rows))) for _, rows in runs)
    if run_rows < block_rows:
        of_first_block = [run for (_, run), _ in runs[: -(-block_rows // run_rows)]]
        assert of_first_block != sorted(of_first_block)


def test_rows_of_a_block_go_everywhere_equally_often():
    rows, draws = 6, 6_000
    counts, orders = np.zeros((rows, rows)), set()
    for seed in range(draws):
        order = EpochOrder(rows, rows, seed, 0, True).rows(0, rows)
        counts[np.arange(rows), order] += 1
        orders.add(tuple(order.tolist()))
    assert len(orders) == 720  # of 720; one is missing with a probability of 0.2 %
    expected = draws / rows
    assert ((counts - expected) ** 2 / expected).sum() < 52  # chi-squared, 25 degrees of freedom: above with 0.1 %


@pytest.mark.parametrize("counts", [(ROWS,), (50, 53)])
def test_truth_comes_with_rows_as_they_lie(counts):
    data = dataset()
    for shuffle in (False, True):
        reader = Reader(chained(data, counts), 20, lambda total: (0, total), Buffers, 3, shuffle, 16)
        truths = [batch.truth if batch.truth is None else batch.truth.tolist() for batch in reader.epoch(0)]
        expected = [data.truth[begin : begin + 20].tolist() for begin in range(0, ROWS, 20)]
        assert truths == ([None] * 6 if shuffle else expected)


def test_any_positions_of_an_epoch_can_be_asked_for():
    order = EpochOrder(ROWS, 16, 3, 2, True)
    rows = EpochOrder(ROWS, 16, 3, 2, True).rows(0, ROWS)
    for begin, end in ((90, 103), (0, 1), (15, 17), (40, 40), (3, 99), (103, 103)):
        assert np.array_equal(order.rows(begin, end), rows[begin:end])


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("counts", [(ROWS,), (5,) * 20 + (3,)])
def test_a_batch_is_valid_until_the_one_after_the_next_is_asked_for(shuffle, counts):
    """Also over the end of an epoch; one set of buffers for all would not do, where rows are gathered."""

    def contents(batch):
        own = [batch.keys[begin:end] for begin, end in zip(batch.begins, batch.ends, strict=True)]
        arrays = (batch.samples, batch.begins, batch.ends, batch.dense, batch.labels, batch.truth, np.concatenate(own))
        return [array.copy() for array in arrays if array is not None]

    def kept(buffers):
        reader = Reader(chained(dataset(), counts), 10, lambda total: (0, total), buffers, 3, shuffle, 16)
        before, same = None, True
        for batch in (batch for epoch in range(3) for batch in reader.epoch(epoch)):
            if before is not None:
                same &= all(np.array_equal(*pair) for pair in zip(contents(before[0]), before[1], strict=True))
            before = batch, contents(batch)
        return same

    one = Buffers()
    assert kept(Buffers) and kept(lambda: one) != (shuffle or len(counts) > 1)


def test_an_empty_data_set_has_no_batches():
    assert read(dataset(rows=0), 1, 0, 10) == []


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("width", [0, 1, 2])
@pytest.mark.parametrize("counts", [(16,) * 6 + (7,), (1, 2, 100), (50, 3, 50), (103,)])
def test_rows_in_pieces_make_the_same_batches(shuffle, width, counts):
    data = dataset(width > 0, width=width)
    parts = chained(data, counts)
    assert (len(parts), parts.value_width, parts.has_truth) == (ROWS, width, True)
    assert parts.keys_per_sample == data.keys_per_sample
    for batch_samples in (1, 10, 16, 50, 200):
        for ranks, rank in ((1, 0), (3, 0), (3, 2)):
            one = read(data, ranks, rank, batch_samples, shuffle=shuffle)
            assert read(parts, ranks, rank, batch_samples, shuffle=shuffle) == one
    assert len(parts.head(5)) == min(5, counts[0])


def test_batches_inside_a_piece_copy_no_keys():
    data, opened = dataset(), []
    edges = (0, 40, 80, ROWS)

    def piece(i, verify):
        assert verify
        opened.append(i)
        return data.slice(edges[i], edges[i + 1])

    parts = ChainedDataset(np.diff(edges), piece, lambda *rows: None, lambda i: None, len(data.keys), 2, 1, True)
    reader = Reader(parts, 20, lambda total: (0, total), Buffers)
    shares = [np.shares_memory(batch.keys, data.keys) for batch in reader.epoch(0)]
    assert all(shares) and opened == [0, 1, 2]  # each once, in order
    shares = [
        np.shares_memory(batch.keys, data.keys) for batch in Reader(parts, 50, lambda n: (0, n), Buffers).epoch(0)
    ]
    assert shares == [False, False, True]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_that_share_the_work_verify_every_piece_before_its_first_batch(ranks, shuffle):
    """And no rank uses a row of which neither the piece has been verified, by anybody, nor the row by itself."""
    data, counts = dataset(), (16, 1, 30, 33, 23)
    edges = np.cumsum([0, *counts])
    verified, marks = set(), np.zeros(len(counts), np.uint8)
    looked_at = {rank: set() for rank in range(ranks)}

    def shared(rank):
        def piece(i, verify):
            if verify:
                assert i not in verified
                verified.add(i)
            return data.slice(edges[i], edges[i + 1])

        def look_at(i, found, rows):
            assert len(found) == counts[i]
            looked_at[rank] |= set((rows + edges[i]).tolist())

        parts = ChainedDataset(counts, piece, look_at, lambda i: None, len(data.keys), 2, 1, True)
        parts.share_verification(rank, ranks, marks)
        reader = Reader(parts, 20, lambda total: slice_of(total, ranks, rank), Buffers, 3, shuffle, 16).epoch(0)
        for batch in reader:
            pieces = (np.searchsorted(edges, batch.samples, side="right") - 1).tolist()
            assert all(i in verified or row in looked_at[rank] for i, row in zip(pieces, batch.samples.tolist(), strict=True))
            yield batch

    for batches in zip(*map(shared, reversed(range(ranks))), strict=True):
        pieces = {int(np.searchsorted(edges, row, side="right")) - 1 for batch in batches for row in batch.samples}
        assert pieces <= verified
    assert verified == set(range(len(counts))) and marks.all()
    assert sum(map(len, looked_at.values())) < len(data) * (ranks - 1) or ranks == 1  # marks save most of the work
    assert any(looked_at.values()) == (ranks > 1)


@pytest.mark.parametrize("shuffle", [False, True])
def test_every_block_but_the_first_is_asked_for_before_its_first_row(shuffle):
    data, counts, asked = dataset(), (16, 16, 16, 16, 16, 16, 7), []
    edges = np.cumsum([0, *counts])
    parts = ChainedDataset(
        counts, lambda i, verify: data.slice(edges[i], edges[i + 1]), lambda *rows: None, asked.append, len(data.keys), 2, 1, True
    )
    reached = []
    for batch in Reader(parts, 4, lambda total: (0, total), Buffers, 3, shuffle, 16).epoch(0):
        reached = list(dict.fromkeys([*reached, *(batch.samples // 16).tolist()]))
        assert set(reached[1:]) <= set(asked)
    assert asked == reached[1:] and sorted(reached) == list(range(7))  # each once, in the epoch's order


@pytest.mark.parametrize("shuffle", [False, True])
def test_an_epoch_goes_on_from_any_batch(shuffle):
    for data in (dataset(), chained(dataset(), (40, 63))):
        reader = Reader(data, 10, lambda total: (0, total), Buffers, 3, shuffle, 16)

        def rows(first_step, first_batch, reader=reader):
            return [(batch.step, batch.samples.tolist()) for batch in reader.epoch(1, first_step, first_batch)]

        whole = rows(100, 0)
        assert len(whole) == 11
        for first in (1, 4, 10, 11):
            assert rows(100, first) == whole[first:]
