"""Rows of a shard on a device: content of new records, growth of the index, rows read out and written in, counters.

Records are compared byte by byte with the documented layout and SplitMix64 in Python integers (`device_shards`), the index
with a dict, and what is read out with the CPU's shard where the same bits are the claim.
"""

import numpy as np
import pytest
from cuda_device import REAL
from device_shards import CHUNK, Form, check, check_look_up, fast, index_of, look_up, new_record, new_shard, open_both

from deshpc.backend.cuda.backend import CudaBackend
from deshpc.backend.cuda.launch import Kernels
from deshpc.backend.cuda.table import FREE, LIVE, NEXT, TICKET
from deshpc.backend.open import open_backend
from deshpc.backend.rules import StateStart
from deshpc.errors import DeshpcError
from deshpc.hashing.key_fields import fields_of
from deshpc.table.shard import Rows

FTRL = StateStart(2, 0.0, 0.1, -(1.0 + 0.1**0.5) / 0.05, -0.3)
FORMS = {
    "sgd": Form(1, 5, "float32", StateStart()),
    "sgd, no linear weight, float64": Form(0, 1, "float64", StateStart()),
    "adagrad": Form(1, 16, "float32", StateStart(1, 0.1)),
    "adagrad, float64": Form(1, 3, "float64", StateStart(1, 0.1)),
    "adagrad, no embedding": Form(1, 0, "float64", StateStart(1, 0.3)),
    "row-wise": Form(1, 8, "float32", StateStart(1, 0.1), row_wise=True),
    "row-wise, no linear weight": Form(0, 3, "float64", StateStart(1, 0.1), row_wise=True),
    "adam": Form(1, 4, "float32", StateStart(2)),
    "ftrl": Form(1, 6, "float32", FTRL),
    "ftrl, float64": Form(1, 5, "float64", FTRL),
    "ftrl, no linear weight": Form(0, 7, "float32", FTRL),
    "ftrl, no embedding": Form(1, 0, "float32", FTRL),
    "only a jump": Form(1, 6, "float32", StateStart(2, 0.5, 0.25, 0.0, 3.0)),
    "only a slope": Form(1, 6, "float32", StateStart(2, 0.5, 0.25, 2.0)),
}


def draw(generator, n):
    keys = generator.integers(1, 2**64, n, dtype=np.uint64)
    keys[:3] = [1, 2**63, 2**64 - 1][:n]
    return keys, fields_of(keys)


@pytest.mark.parametrize("name", FORMS)
def test_new_records(few, name):
    """Of new rows among old ones and keys that come twice, in more than one block."""
    backend, shard, model = open_both(few, FORMS[name])
    generator = np.random.default_rng(1)
    keys, fields = draw(generator, 130)
    check_look_up(backend, shard, model, keys[:40], fields[:40], 2**32 - 1)
    check(backend, shard, model)
    order = generator.permutation(np.repeat(np.arange(130), 2))
    check_look_up(backend, shard, model, keys[order], fields[order], 9)
    check(backend, shard, model)


def test_new_records_on_every_schedule(device):
    backend, shard, model = open_both(device, FORMS["ftrl"])
    keys, fields = draw(np.random.default_rng(2), 70)
    check_look_up(backend, shard, model, keys, fields, 3)
    check(backend, shard, model)


def rows_of_keys(generator, keys, width, precision):
    n = len(keys)
    return Rows(
        keys, generator.integers(0, 2**16, n).astype(np.uint16), generator.integers(0, 2**32, n).astype(np.uint32),
        generator.integers(0, 2**32, n).astype(np.uint32), generator.standard_normal((n, width)).astype(precision),
    )  # fmt: skip


def select(rows, which):
    return Rows(*(np.ascontiguousarray(array[which]) for array in rows.arrays.values()))


def assert_same_rows(found, expected):
    for name, array in expected.arrays.items():
        own = getattr(found, name)
        assert own.dtype == array.dtype and own.shape == array.shape and own.tobytes() == array.tobytes(), name


@pytest.mark.parametrize("name", FORMS)
def test_rows_read_out_are_those_written_in(few, name):
    """Among rows that are there already; the record has each number where the documented layout says."""
    form, backend = FORMS[name], CudaBackend(few)
    shard, generator = new_shard(backend, form), np.random.default_rng(3)
    keys = np.sort(draw(generator, 301)[0])
    width = form.scalars + form.dim + sum(form.widths)
    rows = rows_of_keys(generator, keys, width, form.precision)
    look_up(backend, shard, keys[::3].copy(), np.zeros(101, np.uint16), 3)
    shard.load(select(rows, generator.permutation(301)))
    assert_same_rows(shard.export(), rows)
    assert len(shard) == 301
    for size in (1_000, 301, 300, 7):
        blocks = list(shard.blocks(size))
        assert [len(block) for block in blocks] == [size] * (301 // size) + [301 % size] * (301 % size > 0)
        assert_same_rows(Rows.concatenate(blocks), rows)
    stored, _ = index_of(backend, shard)
    records = backend.host(shard._chunks[0]).reshape(-1, form.record_bytes)
    for key, field, count, step, numbers in zip(*rows.arrays.values(), strict=True):
        weight, vector, state = np.split(numbers, [form.scalars, form.scalars + form.dim])
        of_weight, of_vector = np.split(state, [form.widths[0]])
        body = b"".join(part.tobytes() for part in (vector, of_vector, of_weight))
        record = bytes(8 - weight.nbytes) + weight.tobytes() + body + np.array([step, count, field], np.uint32).tobytes()
        record = key.tobytes() + record
        assert records[stored[int(key)]].tobytes() == record + bytes(form.record_bytes - len(record))
    with pytest.raises(DeshpcError, match=f"rows of {width + 1} numbers do not fit a table of {width}"):
        shard.load(rows_of_keys(generator, keys, width + 1, form.precision))


@pytest.mark.parametrize("name", ["sgd", "adagrad, float64", "ftrl, no linear weight"])
def test_records_are_written_whole_where_there_are_none(few, name):
    """Every other record of a chunk of zeros, key included; the ones between, and read out again."""
    form, backend, generator = FORMS[name], CudaBackend(few), np.random.default_rng(7)
    layout, width, n = new_shard(backend, form).layout, form.scalars + form.dim + sum(form.widths), 70
    rows = rows_of_keys(generator, draw(generator, n)[0], width, form.precision)
    chunk = backend.aligned(2 * n * form.record_bytes, np.uint8)
    places = 2 * generator.permutation(n).astype(np.int32)
    addresses = backend.array(backend.address(chunk) + places * np.int64(form.record_bytes))
    backend.table.write_records(
        addresses, layout.tail, layout.places, rows.keys, rows.fields, rows.counts, rows.steps, rows.numbers
    )
    records = backend.host(chunk).reshape(2 * n, form.record_bytes)
    assert not records[1::2].any()
    assert [records[place, :8].tobytes() for place in places] == [key.tobytes() for key in rows.keys]
    fields, counts, steps = np.empty(n, np.uint16), np.empty(n, np.uint32), np.empty(n, np.uint32)
    numbers, chunks = np.empty((n, width), form.precision), backend.array(np.array([backend.address(chunk)]))
    backend.table.read_records(
        places, chunks, form.record_bytes, layout.tail, layout.places, layout.number, fields, counts, steps, numbers
    )
    assert_same_rows(Rows(rows.keys, fields, counts, steps, numbers), rows)


@pytest.mark.parametrize("name", ["adagrad", "ftrl, float64"])
def test_what_is_read_out_goes_from_device_to_cpu_and_back(few, name):
    backend, cpu, form = CudaBackend(few), open_backend("cpu", 1), FORMS[name]
    shard, others = new_shard(backend, form), [new_shard(cpu, form) for _ in range(2)]
    keys, fields = draw(np.random.default_rng(4), 257)
    look_up(backend, shard, keys, fields, 5)
    others[0].look_up(keys, fields, 5)
    assert_same_rows(shard.export(), others[0].export())
    others[1].load(shard.export())
    assert_same_rows(others[1].export(), others[0].export())
    back = new_shard(backend, form)
    back.load(others[1].export())
    assert_same_rows(back.export(), others[0].export())


def test_an_empty_shard(few):
    backend, shard, model = open_both(few)
    nothing, no_fields = np.zeros(0, np.uint64), np.zeros(0, np.uint16)
    for step in (0, None):
        check_look_up(backend, shard, model, nothing, no_fields, step)
    rows = shard.export()
    assert len(rows) == len(shard) == 0 and rows.numbers.shape == (0, 6) and list(shard.blocks()) == []
    assert shard.remove(np.array([5], np.uint64)) == 0
    asked = np.array([5, 9, 5], np.uint64)
    check_look_up(backend, shard, model, asked, np.zeros(3, np.uint16))
    shard.load(rows)
    check(backend, shard, model)


def test_rows_of_several_chunks(few):
    """Row numbers of both chunks are read, written, removed and entered again."""
    form = Form(dim=0)
    backend, shard, model = open_both(fast(few), form)
    generator = np.random.default_rng(5)
    keys = np.unique(generator.integers(1, 2**64, CHUNK + 700, dtype=np.uint64))
    rows = rows_of_keys(generator, keys, 2, "float32")
    shard.load(select(rows, generator.permutation(len(keys))))
    assert len(shard._chunks) == 2
    assert_same_rows(shard.export(), rows)
    leaving = generator.random(len(keys)) < 0.5
    assert shard.remove(keys[leaving]) == leaving.sum()
    assert_same_rows(shard.export(), select(rows, ~leaving))
    shard.load(select(rows, leaving))
    assert_same_rows(shard.export(), rows)
    assert len(shard._chunks) == 2 and shard._counters[NEXT] == len(keys)


@pytest.mark.parametrize("crowded", [False, True])
def test_the_index_is_widened_with_rows_and_marks(device, crowded):
    backend, shard, model = open_both(device)
    generator = np.random.default_rng(6)
    keys, fields = draw(generator, 150)
    if crowded:  # all begin at the last bucket, also of the wider index
        keys |= np.uint64(0xFFFFFFFF)
    check_look_up(backend, shard, model, keys, fields, 1)
    for rows, buckets in ((3, 64), (4, 128), (2_000, 1024)):  # of which each holds six tenths of four times as many
        shard.reserve(150 + rows)
        assert shard._mask + 1 == buckets
        check(backend, shard, model)
        check_look_up(backend, shard, model, keys[:60][::-1].copy(), fields[:60], 2)


@pytest.mark.parametrize("n", [0, 1, 40, 256, 300])
def test_rows_are_entered_and_listed(device, n):
    """index_rows into an empty index, indexed_rows of what is there; also where an index has several blocks' buckets."""
    backend, generator = CudaBackend(device), np.random.default_rng(n)
    table, buckets = backend.table, backend.aligned(8 * 512, np.uint64)
    keys = np.unique(generator.integers(1, 2**64, n, dtype=np.uint64))
    keys[: n // 2] |= np.uint64(0xFFFFFFFF)  # half of them begin at the last bucket
    rows, marks = generator.permutation(n).astype(np.int32), generator.integers(0, 2**32, n).astype(np.uint32)
    table.index_rows(keys, rows, marks, buckets, 511)
    held = np.zeros(n, np.uint64), np.zeros(n, np.int32), np.zeros(n, np.uint32)
    assert table.indexed_rows(buckets, *held) == n
    order, expected = np.argsort(held[0]), np.argsort(keys)
    for found, wanted in zip(held, (keys, rows, marks), strict=True):
        assert found[order].tolist() == wanted[expected].tolist()
    before = backend.host(buckets).reshape(-1, 8)
    table.forget_marks(buckets)
    after = backend.host(buckets).reshape(-1, 8)
    assert after[:, :6].tolist() == before[:, :6].tolist() and not after[:, 6:].any()


def test_kernels_leave_what_lies_behind_alone(few):
    """Where a launch has more threads than there is to do: the last buckets, rows and records of longer arrays."""
    backend, kernels = CudaBackend(few), Kernels(few)("table.cu", NUMBER="float", SCALARS=0, DIM=0, STATE_WIDTH=0, PLANES=0)
    ones = np.full(8 * 3, 2**64 - 1, np.uint64)
    buckets = backend.array(ones)
    kernels.forget_marks(2, buckets, 2)
    expected = ones.reshape(3, 8).copy()
    expected[:2, 6:] = 0
    assert backend.host(buckets).reshape(3, 8).tolist() == expected.tolist()
    old, new = np.zeros((2, 8), np.uint64), backend.aligned(8 * 4, np.uint64)
    old[:, 1] = [6, 7]
    kernels.move_rows(1, backend.array(old), 1, new, 3)
    assert backend.host(new).reshape(4, 8)[:, :4].tolist() == [[0] * 4, [0] * 4, [6, 0, 0, 0], [0] * 4]
    new.fill(0)
    rows, marks = backend.array(np.arange(3, dtype=np.int32)), backend.array(np.arange(3, dtype=np.uint32))
    kernels.index_rows(2, backend.array(np.array([6, 7, 9], np.uint64)), rows, marks, 2, new, 3)
    assert backend.host(new).reshape(4, 8)[:, :4].tolist() == [[0] * 4, [0] * 4, [6, 0, 0, 0], [7, 0, 0, 0]]
    listed = backend.array(np.full(4, 11, np.uint64)), backend.aligned(4, np.int32), backend.aligned(4, np.uint32)
    count = backend.array(np.array([1], np.uint32))
    kernels.indexed_rows(12, new, 12, *listed, count)  # three of the four buckets, behind one that is listed already
    assert backend.host(listed[0]).tolist() == [11, 6, 11, 11] and backend.host(count).tolist() == [2]


def test_counters_know_how_many_rows_there_may_be(few):
    """Room is sure, in doubt (which only the device can settle), or lacking."""
    counters, limits = CudaBackend(few).table.new_counters(), np.array([100, 70])
    counters[TICKET] = 7
    assert [counters[which] for which in (LIVE, NEXT, FREE, TICKET)] == [0, 0, 0, 7]
    assert counters.have_room(70, limits) and not counters.have_room(71, limits)
    counters[LIVE], counters[NEXT], counters[FREE] = 40, 60, 20
    assert few.to_host(counters.array).tolist() == [40, 60, 20]
    assert counters.have_room(30, limits) and not counters.have_room(31, limits)  # 20 free rows and ten more
    assert counters.fit(30, limits) and not counters.fit(31, limits)
    limits[0] = 69
    assert counters.have_room(29, limits) and not counters.have_room(30, limits)
    counters.note(25)
    assert counters.have_room(4, limits) and not counters.have_room(5, limits)
    few.to_device(np.array([50, 60, 10], np.int64), counters.array)  # of the 25 only ten were new
    assert counters.fit(5, limits) and counters.fit(19, limits) and not counters.fit(20, limits)
    assert [counters[which] for which in (LIVE, NEXT, FREE, TICKET)] == [50, 60, 10, 7]


def test_counters_come_to_the_host_while_it_goes_on(few):
    """What was started counts when the device has passed it; rows that were noted since stay in doubt."""
    counters, limits = CudaBackend(few).table.new_counters(), np.array([100, 100])
    counters.note(60)
    few.to_device(np.array([5, 5, 0], np.int64), counters.array)  # of the 60 only five were new
    counters.fetch()
    counters.note(20)
    if not REAL:
        assert counters.have_room(20, limits) and not counters.have_room(21, limits)  # nobody has waited yet
        waits = few.synchronisations
    few.wait(few.mark())
    assert counters.have_room(75, limits) and not counters.have_room(76, limits)
    counters.note(3)
    assert counters.have_room(72, limits) and not counters.have_room(73, limits)
    counters[FREE] = 4
    assert [counters[which] for which in (LIVE, NEXT, FREE)] == [5, 5, 4]
    assert REAL or few.synchronisations == waits + 1  # to know exactly, once


def test_the_record_of_the_model_is_that_of_the_cpu():
    """So that both sides of these tests are held against something else once."""
    cpu = open_backend("cpu", 1)
    for form in FORMS.values():
        shard = new_shard(cpu, form)
        keys, fields = draw(np.random.default_rng(8), 20)
        shard.look_up(keys, fields, 6)
        records = shard._chunks[0].reshape(-1, form.record_bytes)[:20]
        expected = [new_record(form, key, field, 6) for key, field in zip(keys.tolist(), fields.tolist(), strict=True)]
        assert [record.tobytes() for record in records] == expected
