"""Indices beyond 2^32 in every kernel whose contract allows them: arrays that are larger than any machine's memory.

The executor's memory is real where it is touched only, and `first_block` lets the last blocks of a grid run alone.  An index
that wraps around meets memory that nobody has written, or leaves the right place as it was.
"""

import numpy as np
import pytest
from cuda_device import REAL
from executor.device import ExecutorDevice
from executor.schedule import Schedule

from deshpc.backend.cpu.dense import drop
from deshpc.backend.cuda.launch import Kernels

pytestmark = pytest.mark.skipif(REAL, reason="no device has that much memory")

FAR = 2**32
WIDTH, COLUMN, DIM = 20, 1, 16
ROWS = FAR // DIM + 100  # rows of DIM numbers whose last are beyond FAR
OCCURRENCES = 2**31 - 1
RECORD_BYTES = 65_568  # the last record of a chunk begins beyond FAR


class Space:
    """A device with arrays of any size."""

    def __init__(self):
        self.device = ExecutorDevice()
        self.kernels = Kernels(self.device)

    def array(self, count, dtype, parts=(), zeros=False):
        """`count` numbers; parts : {begin: numbers}; nothing else counts as written unless `zeros`."""
        try:
            array = (self.device.zeros if zeros else self.device.empty)((count,), np.dtype(dtype))
        except MemoryError:
            pytest.skip("the address space or the system's overcommit is limited")
        for begin, numbers in dict(parts).items():
            numbers = np.asarray(numbers, dtype)
            self.device.to_device(numbers, array[begin : begin + numbers.size])
        return array

    def of(self, numbers, dtype):
        return self.array(len(numbers), dtype, {0: numbers})

    def at_end(self, count, dtype, numbers, zeros=True):
        """`count` numbers, the last of which are these."""
        return self.array(count, dtype, {count - len(numbers): numbers}, zeros)

    def last(self, kernel, count, *arguments, blocks=2):
        """Start as many threads as `count`, of which the last blocks run."""
        self.last_blocks(kernel, -(-count // kernel.threads), *arguments, blocks=blocks)

    def last_blocks(self, kernel, count, *arguments, blocks=2):
        self.device.schedule = Schedule(first_block=max(0, count - blocks))
        kernel.blocks(count, *arguments)
        self.device.schedule = Schedule()

    def read(self, array, begin, count):
        return self.device.to_host(array[begin : begin + count])

    def end(self, array, count=1):
        return self.read(array, array.size - count, count).tolist()


@pytest.fixture
def space():
    return Space()


# ------------------------------------------------------------------ index and table

BUCKETS = 2**30
HOME = 2**29 + 5  # a bucket whose slots are beyond 2^31, and its words beyond FAR
HELD = [HOME + BUCKETS * i for i in range(1, 6)]  # the fifth of these keys lies in the next bucket
FRESH = [HOME + 7, HOME + 8]


def words(key_rows_marks):
    """The eight words of a bucket."""
    bucket = np.zeros(8, np.uint64)
    for place, (key, row, mark) in enumerate(key_rows_marks):
        bucket[place] = key
        bucket[4:6].view(np.int32)[place], bucket[6:8].view(np.uint32)[place] = row, mark
    return bucket


def held_buckets(rows, mark=0):
    return np.concatenate([words([(key, row, mark) for key, row in zip(HELD[part], rows[part], strict=True)]) for part in (slice(4), slice(4, 5))])


def contents(bucket):
    """[(key, row, mark)] of eight words."""
    triples = zip(bucket[:4].tolist(), bucket[4:6].view(np.int32).tolist(), bucket[6:8].view(np.uint32).tolist(), strict=True)
    return [one for one in triples if one[0]]


def test_a_look_up_in_an_index_of_more_than_2_to_the_31_slots(space):
    lookup, mask, base = space.kernels("lookup.cu"), np.uint64(BUCKETS - 1), 10
    rows = [65_535, 65_536 + 65_535, 7, 8, 9]
    buckets = space.array(8 * BUCKETS, np.uint64, {8 * HOME: held_buckets(rows)}, zeros=True)
    order = [FRESH[1], HELD[0], HELD[4], FRESH[0], FRESH[1], HELD[1], 0]
    n = len(order)
    keys, slots, misses = space.of(order, np.uint64), space.array(n, np.uint32), space.of([0], np.uint32)
    lookup.find(n, keys, n, buckets, mask, slots, misses)
    assert space.read(misses, 0, 1).tolist() == [3]
    none = 2**32 - 1
    slot = {key: 4 * HOME + i for i, key in enumerate(HELD)} | {key: 4 * key for key in FRESH}
    assert space.read(slots, 0, n).tolist() == [slot[key] if key in HELD else none for key in order]
    lookup.claim(n, keys, n, buckets, mask, slots)
    assert space.read(slots, 0, n).tolist() == [slot.get(key, none) for key in order]
    firsts, counts = space.array(n, np.int32), space.array(1, np.uint64)
    lookup.mark(n, slots, n, buckets, base)
    lookup.count.blocks(1, slots, n, buckets, base, firsts, counts)
    assert space.read(firsts, 0, n).tolist() == [0, 1, 2, 3, 0, 5, -1]
    assert space.read(counts, 0, 1).tolist() == [5 + (2 << 32)]
    next_row = 3 * 65_536 - 2
    counters, taken = space.of([2**33, next_row, 0], np.int64), space.array(4, np.int64)
    lookup.take_rows(1, counts, counters, taken)
    assert space.read(counters, 0, 3).tolist() == [2**33 + 2, next_row + 2, 0]
    chunks = [10**15, 2 * 10**15, 3 * 10**15]
    numbers, addresses, fresh = space.array(n, np.int32), space.array(n, np.int64), space.array(n, np.int32)
    lookup.number.blocks(
        1, slots, firsts, n, buckets, space.of([0], np.uint64), taken, 0, space.of([0], np.int32), space.of(chunks, np.int64),
        RECORD_BYTES, numbers, addresses, fresh,
    )  # fmt: skip
    row_of = {FRESH[1]: next_row, FRESH[0]: next_row + 1} | dict(zip(HELD, rows, strict=True))
    distinct = [FRESH[1], HELD[0], HELD[4], FRESH[0], HELD[1]]
    expected = [chunks[row_of[key] >> 16] + (row_of[key] & 65_535) * RECORD_BYTES for key in distinct]
    assert space.read(addresses, 0, 5).tolist() == expected
    marks = [base + n - 1 - order.index(key) if key in order else 0 for key in [*HELD, *FRESH]]
    of_all = list(zip([*HELD, *FRESH], [*rows, next_row + 1, next_row], marks, strict=True))
    found = [contents(space.read(buckets, 8 * bucket, 8)) for bucket in (HOME, HOME + 1, *FRESH)]
    assert found == [of_all[:4], of_all[4:5], of_all[5:6], of_all[6:]]


def test_fields_of_rows(space):
    record = space.of([0] * 10 + [7, 0], np.uint32)
    addresses, fields = space.at_end(OCCURRENCES, np.int64, [space.device.address(record)] * LAST), space.array(OCCURRENCES, np.uint16)
    space.last(space.kernels("lookup.cu").row_fields, OCCURRENCES, addresses, OCCURRENCES, 32, fields)
    assert space.end(fields, 2) == [7, 7]
    groups = space.of([0, 1, 1, OCCURRENCES - 1, OCCURRENCES, OCCURRENCES], np.int64)
    space.last(routing(space).fields_of_groups, OCCURRENCES, OCCURRENCES, groups, 2, 3, fields)
    assert space.end(fields, 2) == [2, 0]


def table(space):
    return space.kernels("table.cu", NUMBER="float", SCALARS=0, DIM=0, STATE_WIDTH=0, PLANES=0)


def test_marks_of_an_index_are_forgotten(space):
    buckets = space.at_end(8 * (HOME + 2), np.uint64, held_buckets([1, 2, 3, 4, 5], mark=9))
    space.last(table(space).forget_marks, HOME + 2, buckets, HOME + 2)
    assert space.end(buckets, 16) == held_buckets([1, 2, 3, 4, 5]).tolist()


def test_an_index_moves_into_a_larger_one(space):
    old = space.at_end(8 * (HOME + 2), np.uint64, held_buckets([1, 2, 3, 4, 5], mark=9))
    new = space.array(8 * BUCKETS, np.uint64, zeros=True)
    space.last(table(space).move_rows, HOME + 2, old, HOME + 2, new, np.uint64(BUCKETS - 1))
    found = [contents(space.read(new, 8 * bucket, 8)) for bucket in (HOME, HOME + 1)]
    assert sorted(found[0] + found[1]) == [(key, row, 9) for row, key in enumerate(HELD, 1)] and len(found[0]) == 4


def test_rows_are_entered_into_an_index(space):
    buckets = space.array(8 * BUCKETS, np.uint64, zeros=True)
    keys, rows, marks = space.of(FRESH, np.uint64), space.of([5, 6], np.int32), space.of([7, 8], np.uint32)
    table(space).index_rows(2, keys, rows, marks, 2, buckets, np.uint64(BUCKETS - 1))
    found = [contents(space.read(buckets, 8 * key, 8)) for key in FRESH]
    assert found == [[(FRESH[0], 5, 7)], [(FRESH[1], 6, 8)]]


def test_rows_of_an_index_are_listed(space):
    slots = 4 * (HOME + 2)
    buckets = space.at_end(2 * slots, np.uint64, held_buckets([1, 2, 3, 4, 5], mark=9))
    keys, rows, marks, count = space.array(5, np.uint64), space.array(5, np.int32), space.array(5, np.uint32), space.of([0], np.uint32)
    space.last(table(space).indexed_rows, slots, buckets, slots, keys, rows, marks, count)
    found = zip(*(space.read(one, 0, 5).tolist() for one in (keys, rows, marks)), strict=True)
    assert sorted(found) == [(key, row, 9) for row, key in enumerate(HELD, 1)]


NUMBERS = 3  # of a record
TAIL = 2**31 + 64  # of a record
MANY = FAR // NUMBERS + 300
LAST = 600


def test_records_are_read(space):
    """More numbers than 2^32, of a record that begins beyond 2^32 in its chunk and is larger than 2^31."""
    begin = 65_535 * RECORD_BYTES
    chunk = space.array((begin + TAIL) // 4 + 3, np.uint32)
    for place, held in {16: np.float32([1.5, 2.5]), TAIL - 4: np.float32([3.5]), TAIL: np.uint32([7, 8, 9])}.items():
        space.device.to_device(held.view(np.uint32), chunk[(begin + place) // 4 :][: held.size])
    chunks, places = space.of([0, space.device.address(chunk)], np.int64), space.of([16, 20, TAIL - 4], np.int64)
    rows = space.at_end(MANY, np.int32, [65_536 + 65_535] * LAST, zeros=False)
    fields, counts, steps = (space.array(MANY, dtype) for dtype in (np.uint16, np.uint32, np.uint32))
    numbers = space.array(MANY * NUMBERS, np.float32)
    space.last(
        table(space).read_records, MANY * NUMBERS, rows, MANY, chunks, RECORD_BYTES, TAIL, places, NUMBERS, fields, counts, steps,
        numbers,
    )  # fmt: skip
    assert [space.end(one) for one in (steps, counts, fields)] == [[7], [8], [9]]
    assert space.end(numbers, NUMBERS) == [1.5, 2.5, 3.5]


def test_records_are_written(space):
    size = 256
    records = space.array((LAST * size + TAIL) // 4, np.uint32)
    addresses = space.at_end(MANY, np.int64, space.device.address(records) + size * np.arange(LAST), zeros=False)
    keys, fields = space.at_end(MANY, np.uint64, [2**40 + 5]), space.at_end(MANY, np.uint16, [9])
    counts, steps = space.at_end(MANY, np.uint32, [8]), space.at_end(MANY, np.uint32, [7])
    numbers, places = space.at_end(MANY * NUMBERS, np.float32, [1.5, 2.5, 3.5]), space.of([16, 20, TAIL - 4], np.int64)
    space.last(
        table(space).write_records, MANY * NUMBERS, addresses, MANY, TAIL, places, NUMBERS, keys, fields, counts, steps, numbers
    )
    last = records[(LAST - 1) * size // 4 :]
    assert space.read(last, 0, 2).view(np.uint64).tolist() == [2**40 + 5]
    assert space.read(last, 4, 2).view(np.float32).tolist() == [1.5, 2.5]
    tail = space.read(last, TAIL // 4 - 1, 4)
    assert tail[:1].view(np.float32).tolist() == [3.5] and tail[1:].tolist() == [7, 8, 9]


def test_new_records_are_written(space):
    """More threads than 2^32: 32 of them a record."""
    kernels = space.kernels("table.cu", NUMBER="float", SCALARS=1, DIM=120, STATE_WIDTH=0, PLANES=0)
    size, n = 512, 2**27 + 40
    records = space.array(LAST * size, np.uint8)
    addresses = space.at_end(n, np.int64, space.device.address(records) + size * np.arange(LAST), zeros=False)
    ranks = np.arange(n - LAST, n)
    fresh, numbers = space.at_end(n, np.int32, ranks, zeros=False), space.at_end(n, np.int32, ranks, zeros=False)
    keys, fields = space.at_end(n, np.uint64, ranks + 2**40, zeros=False), space.at_end(n, np.uint16, ranks % 100, zeros=False)
    taken = space.of([n, n, 0, 0], np.int64)
    space.last(
        kernels.write_new, n * size // 16, taken, fresh, numbers, addresses, keys, fields, n, size, 5, np.uint64(1), 0.5, 0.0, 0.0,
        0.0, 0.0,
    )  # fmt: skip
    last = space.read(records, (LAST - 1) * size, size)
    assert last[:8].view(np.uint64).tolist() == [2**40 + n - 1]
    assert last[16 + 480 :][:12].view(np.uint32).tolist() == [5, 0, (n - 1) % 100]


# ------------------------------------------------------------------ sums and updates


def sums_of(space, count, dtype, held=0):
    """scalar_sums, vector_sums, square_sums of so many keys, whose last hold something."""
    parts = [np.full(size, held) for size in (1, DIM, 1)]
    return [space.at_end(count * size, dtype, part) for size, part in zip((1, DIM, 1), parts, strict=True)]


def state_of(space, samples, dtype, numbers):
    """state (samples, WIDTH), the last row with these numbers from COLUMN on; zero elsewhere."""
    return space.at_end(samples * WIDTH, dtype, [*numbers, *[0] * (WIDTH - COLUMN - len(numbers))])


_FLOAT = {"NUMBER": "float", "COMPUTE": "float", "SUM": "float", "VALUES": 0, "SCALARS": 1, "ADJOINT": 0}  # of FM
_NO_KEYS = None, None, None  # addresses, fields, columns: other adjoints read them
G_A = np.arange(1, DIM + 1)
G = 3


def test_sums_of_a_key_that_spans_tiles(space):
    kernels = space.kernels("sums.cu", **_FLOAT, DIM=DIM)
    n, lanes, samples = 70, 8, ROWS
    state, keys = state_of(space, samples, np.float32, [*G_A, G]).reshape(samples, WIDTH), ROWS
    places, order = space.of([keys - 2] * 50 + [keys - 1] * 20, np.uint32), space.of(np.arange(n), np.uint32)
    of_sample = space.of([samples - 1] * n, np.int32)
    heads, tails = (space.array(3 * (DIM + 2), np.float32) for _ in range(2))
    sums, spans, span_count = sums_of(space, keys, np.float32), space.array(3, np.uint32), space.of([0], np.uint32)
    kernels.sum_tiles(
        3 * lanes, places, order, n, keys, of_sample, None, state, COLUMN, *_NO_KEYS, 1.0, *sums, heads, tails, spans, span_count
    )
    kernels.sum_spans.blocks(3, places, n, heads, tails, spans, span_count, *sums)
    scalar, vector, square = sums
    assert space.end(vector, 2 * DIM) == [*(50 * G_A).tolist(), *(20 * G_A).tolist()]
    assert space.end(scalar, 2) == space.end(square, 2) == [50 * G, 20 * G]


def test_sums_of_a_pool(space):
    kernels = space.kernels("sums.cu", **{**_FLOAT, "ADJOINT": 1}, DIM=DIM)
    n, lanes, samples, keys = 20, 8, ROWS, ROWS
    state = state_of(space, samples, np.float32, [G, *G_A]).reshape(samples, WIDTH)
    fields, columns = space.at_end(keys, np.uint16, [0, 1], zeros=False), space.of([2, 1], np.int64)  # from COLUMN on
    places, order = space.of([keys - 1] * n, np.uint32), space.of(np.arange(n), np.uint32)
    sums, of_sample = sums_of(space, keys, np.float32), space.of([samples - 1] * n, np.int32)
    part = space.array(DIM + 2, np.float32)
    kernels.sum_tiles(
        lanes, places, order, n, keys, of_sample, None, state, COLUMN, None, fields, columns, 1.0, *sums, part, part,
        space.array(1, np.uint32), space.of([0], np.uint32),
    )  # fmt: skip
    assert space.end(sums[1], DIM) == (n * G_A).tolist() and space.end(sums[0]) == [n * G]


def test_sums_of_more_tiles_than_parts_fit(space):
    """DIM + 2 numbers of each of 2^26 tiles."""
    dim, n, lanes = 128, OCCURRENCES, 32
    kernels = space.kernels("sums.cu", **_FLOAT, DIM=dim)
    tiles, shown = -(-n // 32), 400
    places = space.at_end(n, np.uint32, [0] * (shown - 40) + [1] * 40, zeros=False)
    order = space.at_end(n, np.uint32, np.arange(n - shown, n), zeros=False)
    samples = space.at_end(n, np.int32, [0] * shown, zeros=False)
    state = space.of([0, *range(1, dim + 1), G], np.float32).reshape(1, dim + 2)
    sums = [space.array(size, np.float32, zeros=True) for size in (2, 2 * dim, 2)]
    heads, tails = (space.array(tiles * (dim + 2), np.float32) for _ in range(2))
    spans, span_count = space.array(tiles, np.uint32), space.of([0], np.uint32)
    space.last(
        kernels.sum_tiles, tiles * lanes, places, order, n, 2, samples, None, state, COLUMN, *_NO_KEYS, 1.0, *sums,
        heads, tails, spans, span_count,
    )  # fmt: skip
    assert space.read(span_count, 0, 1).tolist() == [1] and space.read(spans, 0, 1).tolist() == [tiles - 2]
    kernels.sum_spans.blocks(1, places, n, heads, tails, spans, span_count, *sums)
    assert space.end(sums[1], dim) == [40 * c for c in range(1, dim + 1)]
    assert space.end(sums[0]) == space.end(sums[2]) == [40 * G]


@pytest.mark.parametrize("sums_type, held", [("float", 0), ("int64", FAR - 1)])
def test_atomic_sums(space, sums_type, held):
    """In fixed point the sums pass 2^32: an addition of 32 bits would lose the carry."""
    dtype = {"float": np.float32, "int64": np.int64}[sums_type]
    compute = {"float": "float", "int64": "double"}[sums_type]
    kernels = space.kernels("sums.cu", **{**_FLOAT, "COMPUTE": compute, "SUM": sums_type}, DIM=DIM)
    n, lanes, samples, keys = 5, 8, ROWS, ROWS
    state = state_of(space, samples, {"float": np.float32, "double": np.float64}[compute], [*G_A, G]).reshape(samples, WIDTH)
    local, of_sample, sums = space.of([keys - 1] * n, np.int32), space.of([samples - 1] * n, np.int32), sums_of(space, keys, dtype, held)
    kernels.add_atomically(n * lanes, local, n, keys, of_sample, None, state, COLUMN, *_NO_KEYS, 1.0, *sums)
    scalar, vector, square = sums
    assert space.end(vector, DIM) == (held + n * G_A).tolist() and space.end(scalar) == space.end(square) == [held + n * G]


def update(space):
    return space.kernels("update.cu", NUMBER="float", COMPUTE="float", SUM="float", DIM=DIM, VALUES=0, SCALARS=1, RULE=0)


def test_updates_of_rows(space):
    n, size, lanes = ROWS, 96, 4
    weights = np.arange(DIM + 1, dtype=np.float32)  # linear, embedding
    record = space.of([0, 0, 0, *weights.view(np.uint32), 0, 6, 0, 0], np.uint32)
    assert record.nbytes == size
    addresses = space.at_end(n, np.int64, [space.device.address(record)])
    scalar, square = space.at_end(n, np.float32, [8]), space.at_end(n, np.float32, [2])
    vector = space.at_end(n * DIM, np.float32, G_A)
    norms = space.array(n, np.float64)
    space.last(update(space).square_norms, n * lanes, addresses, n, 1.0, scalar, vector, square, norms)
    gradient = G_A - 2.0 * weights[1:]
    assert space.end(norms) == [64 + (gradient**2).sum()]
    fields = [0.5, *[0.0] * 7]
    space.last(update(space).rows, n * lanes, addresses, n, 1.0, scalar, vector, square, 9, 1.0, 0.0, *fields, -1, 0.0)
    found = space.device.to_host(record)
    assert found[3 : 4 + DIM].view(np.float32).tolist() == [-4.0, *(weights[1:] - 0.5 * gradient).tolist()]
    assert found[20:22].tolist() == [9, 7]
    assert [*space.end(scalar), *space.end(vector, DIM), *space.end(square)] == [0] * (DIM + 2)


# ------------------------------------------------------------------ operators

SAMPLES = ROWS  # WIDTH and DENSE numbers of each pass 2^32
DENSE = 17


class Ends:
    """Occurrences, the last two of which belong to the last sample; records of their rows."""

    def __init__(self, space):
        self.weights = np.arange(2 * (DIM + 1), dtype=np.float32).reshape(2, DIM + 1)
        records = np.zeros((2, 24), np.float32)
        records[:, 3 : 4 + DIM] = self.weights
        self.records = space.of(records.ravel(), np.float32)
        self.x = np.array([[2, 3], [4, 5]])  # embedding's and linear values
        begin = OCCURRENCES - 2
        self.offsets = space.at_end(SAMPLES + 1, np.int64, [begin] * LAST + [OCCURRENCES], zeros=False)
        self.local = space.at_end(OCCURRENCES, np.int32, [OCCURRENCES - 2, OCCURRENCES - 1], zeros=False)
        self.values = space.at_end(2 * OCCURRENCES, np.float32, self.x.ravel(), zeros=False)
        first = space.device.address(self.records)
        self.addresses = space.at_end(OCCURRENCES, np.int64, [first, first + 96], zeros=False)


def dense_of(space):
    values = np.arange(DENSE) % 5
    return values, space.at_end(SAMPLES * DENSE, np.float32, values)


def test_partial_of_a_factorization_machine(space):
    ends, kernels = Ends(space), space.kernels("fm.cu", NUMBER="float", COMPUTE="float", SUM="float", DIM=DIM, VALUES=2)
    state = space.array(SAMPLES * WIDTH, np.float32)
    space.last(
        kernels.partial, SAMPLES * 4, ends.offsets, SAMPLES, ends.local, ends.values, ends.addresses, 1.0, state, WIDTH, COLUMN
    )
    terms = ends.weights[:, 1:] * ends.x[:, :1]
    found = space.read(state, SAMPLES * WIDTH - WIDTH + COLUMN, DIM + 1).tolist()
    assert found == [*terms.sum(axis=0).tolist(), float(ends.weights[:, 0] @ ends.x[:, 1] - (terms**2).sum() / 2)]
    sizes = space.array(SAMPLES, np.float64)
    space.last(kernels.magnitude, SAMPLES * 4, ends.offsets, SAMPLES, ends.local, ends.values, ends.addresses, sizes)
    bound = (np.abs(ends.weights[:, 0] * ends.x[:, 1]) + (terms.astype(np.float64) ** 2).sum(axis=1) / 2).sum()
    assert space.end(sizes) == [bound]


def test_partial_of_a_pool(space):
    ends, (v, x) = Ends(space), (slice(1, None), slice(1))
    kernels = space.kernels("pool.cu", NUMBER="float", COMPUTE="float", SUM="float", DIM=DIM, VALUES=2, LINEAR=1, SQUARES=1, SEATED=0)
    fields, columns = space.at_end(OCCURRENCES, np.uint16, [0, 1], zeros=False), space.of([2, 2], np.int64)
    state = state_of(space, SAMPLES, np.float32, np.arange(1, 20)).reshape(SAMPLES, WIDTH)
    space.last(kernels.clear, SAMPLES * 32, state, SAMPLES, WIDTH - 1)
    assert space.end(state.reshape(SAMPLES * WIDTH), WIDTH) == [*[0] * (WIDTH - 1), 19]
    of_rows = ends.offsets, SAMPLES, ends.local, ends.values, ends.addresses, fields
    space.last(kernels.partial, SAMPLES * 4, *of_rows, columns, 1.0, state)
    terms, expected = ends.weights[:, v] * ends.x[:, x], np.array([0.0] * (WIDTH - 1) + [19])
    expected[2 : 2 + DIM] += terms.sum(axis=0)
    expected[0] = ends.weights[:, 0] @ ends.x[:, 1] - (terms**2).sum() / 2
    assert space.end(state.reshape(SAMPLES * WIDTH), WIDTH) == expected.tolist()
    sizes, groups = space.array(SAMPLES, np.float64), SAMPLES + 64
    space.last(kernels.magnitude, SAMPLES * 4, *of_rows, 2, space.array(groups * 2, np.float64), sizes)
    assert space.end(sizes) == [float((ends.weights[:, 0] * ends.x[:, 1]).sum() + (terms**2).sum() / 2)]
    bounds = space.array(SAMPLES, np.float64)
    space.last(kernels.largest_term, SAMPLES * 32, state, WIDTH, space.at_end(SAMPLES, np.float64, [3]), SAMPLES, bounds)
    assert space.end(bounds) == [9 * np.abs(expected).max()]


def test_partial_of_bi_interaction(space):
    ends, width = Ends(space), 1 + 2 * DIM
    kernels = space.kernels("bi_interaction.cu", NUMBER="float", COMPUTE="float", SUM="float", DIM=DIM, VALUES=2)
    state = space.array(SAMPLES * width, np.float32, zeros=True).reshape(SAMPLES, width)
    of_rows = ends.offsets, SAMPLES, ends.local, ends.values, ends.addresses
    space.last(kernels.partial, SAMPLES * 4, *of_rows, 1.0, state)
    terms, scalars = ends.weights[:, 1:] * ends.x[:, :1], ends.weights[:, 0] * ends.x[:, 1]
    expected = [scalars.sum(), *terms.sum(axis=0), *(terms**2).sum(axis=0)]
    assert space.end(state.reshape(SAMPLES * width), width) == expected
    sizes = space.array(SAMPLES, np.float64)
    space.last(kernels.magnitude, SAMPLES * 4, *of_rows, sizes)
    assert space.end(sizes) == [float((terms**2).sum())]


def test_partial_of_a_linear_model(space):
    ends, kernels = Ends(space), space.kernels("linear.cu", NUMBER="float", COMPUTE="float", SUM="float", VALUES=2)
    weights, state = space.array(OCCURRENCES, np.float32), space.array(SAMPLES * WIDTH, np.float32)
    addresses = space.at_end(OCCURRENCES, np.int64, space.end(ends.addresses, 2))
    space.last(kernels.gather_weights, OCCURRENCES, addresses, OCCURRENCES, weights)
    assert space.end(weights, 2) == ends.weights[:, 0].tolist()
    space.last(kernels.partial, SAMPLES, ends.offsets, SAMPLES, ends.local, ends.values, weights, 1.0, state, WIDTH, COLUMN)
    expected = float(ends.weights[:, 0] @ ends.x[:, 1])
    assert space.read(state, SAMPLES * WIDTH - WIDTH + COLUMN, 1).tolist() == [expected]
    sizes = space.array(SAMPLES, np.float64)
    space.last(kernels.magnitude, SAMPLES, ends.offsets, SAMPLES, ends.local, ends.values, addresses, sizes)
    assert space.end(sizes) == [expected]


def test_finish_of_a_factorization_machine(space):
    kernels = space.kernels("fm.cu", NUMBER="float", COMPUTE="float", SUM="float", DIM=DIM, VALUES=0)
    state, (x, dense) = state_of(space, SAMPLES, np.float32, [*G_A, G]), dense_of(space)
    weights, factors = np.arange(DENSE) % 3, np.arange(DENSE * DIM).reshape(DENSE, DIM) % 7
    logit = space.at_end(SAMPLES, np.float32, [1])
    space.last(
        kernels.finish, SAMPLES * 4, state, WIDTH, COLUMN, dense, DENSE, space.of(weights, np.float32),
        space.of(factors.ravel(), np.float32), logit, SAMPLES,
    )  # fmt: skip
    total, squares = G_A + x @ factors, ((x[:, None] * factors) ** 2).sum()
    assert space.end(logit) == [1 + G + x @ weights + ((total**2).sum() - squares) / 2]
    assert space.read(state, SAMPLES * WIDTH - WIDTH + COLUMN, DIM).tolist() == total.tolist()


def test_finish_of_a_linear_model(space):
    kernels = space.kernels("linear.cu", NUMBER="float", COMPUTE="float", SUM="float", VALUES=0)
    state, (x, dense) = state_of(space, SAMPLES, np.float32, [G]), dense_of(space)
    weights, logit = np.arange(DENSE) % 3, space.at_end(SAMPLES, np.float32, [1])
    space.last(kernels.finish, SAMPLES, state, WIDTH, COLUMN, dense, DENSE, space.of(weights, np.float32), logit, SAMPLES)
    assert space.end(logit) == [1 + G + x @ weights]


@pytest.mark.parametrize("file, numbers", [("fm.cu", DIM + 1), ("linear.cu", 1)])
def test_adjoint_of_finish(space, file, numbers):
    dim = {"DIM": DIM} if file == "fm.cu" else {}
    kernels = space.kernels(file, NUMBER="float", COMPUTE="float", SUM="float", VALUES=0, **dim)
    state, gradient = state_of(space, SAMPLES, np.float32, [*G_A, G]), space.at_end(SAMPLES, np.float32, [5])
    space.last(kernels.finish_adjoint, SAMPLES * numbers, state, WIDTH, COLUMN, gradient, SAMPLES)
    expected = [*(5 * G_A).tolist(), 5] if numbers > 1 else [5]
    assert space.read(state, SAMPLES * WIDTH - WIDTH + COLUMN, numbers).tolist() == expected


def test_sums_of_dense_features(space):
    """Two samples a part: as many parts as pass 2^32 sums."""
    samples, parts, x = 2 * SAMPLES, SAMPLES, 2.0
    dense, gradient = space.at_end(samples, np.float32, [x]), space.at_end(samples, np.float32, [5])
    kernels = space.kernels("fm.cu", NUMBER="float", COMPUTE="float", SUM="float", DIM=DIM, VALUES=0)
    state, factors = state_of(space, samples, np.float32, G_A), space.of(np.arange(DIM), np.float32)
    of_weights, of_factors = (space.array(parts * size, np.float32, zeros=True) for size in (1, DIM))
    space.last_blocks(
        kernels.sum_dense, parts, state, WIDTH, COLUMN, gradient, dense, 1, factors, samples, parts, 1.0, of_weights, of_factors
    )
    assert space.end(of_weights) == [5 * x] and space.end(of_factors, DIM) == (5 * x * (G_A - np.arange(DIM) * x)).tolist()


def test_sums_of_many_dense_features(space):
    samples, parts = SAMPLES, 2**31 // DENSE
    (x, dense), gradient = dense_of(space), space.at_end(samples, np.float32, [5])
    kernels = space.kernels("linear.cu", NUMBER="float", COMPUTE="float", SUM="float", VALUES=0)
    sums = space.array(parts * DENSE, np.float32, zeros=True)
    space.last_blocks(kernels.sum_dense, parts * DENSE, gradient, dense, DENSE, samples, parts, 1.0, sums, blocks=DENSE)
    assert space.end(sums, DENSE) == (5 * x).tolist()
    kernels = space.kernels("fm.cu", NUMBER="float", COMPUTE="float", SUM="float", DIM=DIM, VALUES=0)
    state, factors = state_of(space, samples, np.float32, G_A), space.array(DENSE * DIM, np.float32, zeros=True)
    of_weights, of_factors = (space.array(parts * DENSE * size, np.float32, zeros=True) for size in (1, DIM))
    space.last_blocks(
        kernels.sum_dense, parts * DENSE, state, WIDTH, COLUMN, gradient, dense, DENSE, factors, samples, parts, 1.0, of_weights,
        of_factors, blocks=DENSE,
    )  # fmt: skip
    assert space.end(of_weights, DENSE) == (5 * x).tolist()
    assert space.end(of_factors, DIM) == (5 * x[-1] * G_A).tolist()


def test_bounds_of_terms(space):
    kernels = space.kernels("fm.cu", NUMBER="float", COMPUTE="float", SUM="float", DIM=DIM, VALUES=0)
    state, gradient = state_of(space, SAMPLES, np.float32, [*G_A, G]), space.at_end(SAMPLES, np.float32, [5])
    n, terms = 2, space.array(2, np.float64)
    largest = space.of([1, 2], np.float64)
    kernels.largest_term(n, state, WIDTH, COLUMN, gradient, space.of([0], np.float32), 0, largest, SAMPLES - n, n, terms)
    assert space.end(terms) == [5 * 2 * DIM]


# ------------------------------------------------------------------ dense layers and interactions

STRETCHES = -(-SAMPLES // 64)  # of rows: a block each
OWN = np.arange(1, DENSE + 1) * (-1) ** np.arange(DENSE)


def matrix_of(space, numbers=OWN, rows=SAMPLES):
    """(matrix (rows, DENSE) whose last row has these numbers, the same side by side)"""
    flat = space.at_end(rows * len(numbers), np.float32, numbers)
    return flat.reshape((rows, len(numbers))), flat


def test_dense_layers(space):
    kernels, bias = space.kernels("tower.cu", COMPUTE="float", ACTIVATION=1), np.arange(DENSE)
    (y, flat_y), (gradient, flat_gradient) = matrix_of(space), matrix_of(space)
    space.last_blocks(kernels.bias_activation, STRETCHES, y, SAMPLES, DENSE, space.of(bias, np.float32))
    assert space.end(flat_y, DENSE) == np.maximum(OWN + bias, 0).tolist()
    sums, expected = space.array(STRETCHES * DENSE, np.float32), OWN * (OWN + bias > 0)
    space.last_blocks(kernels.activation_adjoint, STRETCHES, gradient, y, SAMPLES, DENSE, sums)
    assert space.end(flat_gradient, DENSE) == expected.tolist() and space.end(sums, DENSE) == expected.tolist()
    columns = space.kernels("columns.cu", COMPUTE="float")
    space.last_blocks(columns.sum_columns, STRETCHES, gradient, SAMPLES, DENSE, 64, sums)
    assert space.end(sums, DENSE) == expected.tolist()
    space.last_blocks(kernels.drop, STRETCHES, gradient, SAMPLES, DENSE, 5, FAR, 32768, 2.0)
    of_cpu = expected.astype(np.float32)[None]
    drop(of_cpu, np.uint64(5), FAR + SAMPLES - 1, np.uint64(32768), np.float32(2))
    assert space.end(flat_gradient, DENSE) == of_cpu[0].tolist() != expected.tolist()


def test_sums_of_embeddings(space):
    kernels = space.kernels("interaction.cu", COMPUTE="float", DIM=DIM)
    (x, flat_x), (_, total) = matrix_of(space), matrix_of(space, G_A)
    space.last(kernels.sum_fields, SAMPLES * DIM, x, SAMPLES, 1, total)
    expected, result = G_A + OWN[:DIM], space.at_end(SAMPLES, np.float32, [3])
    assert space.end(total, DIM) == expected.tolist()
    space.last(kernels.half_squares, SAMPLES * 4, total, SAMPLES, result)
    assert space.end(result) == [3 + (expected**2).sum() / 2]
    space.last(kernels.add_to_fields, SAMPLES * DIM, total, SAMPLES, 1, 0, x)
    assert space.end(flat_x, DENSE) == [*(OWN[:DIM] + expected).tolist(), OWN[DIM]]


def test_products_of_embeddings(space):
    kernels = space.kernels("dots.cu", COMPUTE="float", DIM=DIM, FIELDS=1)
    (x, _), (_, last), (_, result) = matrix_of(space), matrix_of(space, G_A), matrix_of(space)
    space.last_blocks(kernels.dots, SAMPLES, x, last, result, DENSE, DIM)
    assert space.end(result, DENSE) == [*OWN[:DIM].tolist(), float(G_A @ OWN[:DIM])]
    (gradient, flat_gradient), (_, last_gradient) = matrix_of(space), matrix_of(space, G_A)
    slope = float(G_A @ OWN[:DIM])
    space.last_blocks(kernels.dots_adjoint, SAMPLES, x, last, result, DENSE, DIM, gradient, 0, last_gradient)
    assert space.end(flat_gradient, DENSE) == [*(OWN[:DIM] + slope * G_A).tolist(), OWN[DIM]]
    assert space.end(last_gradient, DIM) == (G_A + slope * OWN[:DIM]).tolist()


def test_cross_networks(space):
    kernels, bias = space.kernels("cross.cu", COMPUTE="float"), np.arange(DENSE)
    (x, _), (_, z), (_, result) = matrix_of(space), matrix_of(space), matrix_of(space)
    space.last_blocks(kernels.cross, STRETCHES, x, x, z, SAMPLES, DENSE, space.of(bias, np.float32), result)
    of_z = OWN + bias
    assert space.end(z, DENSE) == of_z.tolist() and space.end(result, DENSE) == (OWN * of_z + OWN).tolist()
    (_, upstream), (gradient, flat_gradient) = matrix_of(space), matrix_of(space)
    sums = space.array(STRETCHES * DENSE, np.float32)
    space.last_blocks(kernels.cross_adjoint, STRETCHES, x, z, upstream, SAMPLES, DENSE, gradient, DENSE, 0, sums)
    assert space.end(flat_gradient, DENSE) == (OWN + OWN * of_z).tolist()
    assert space.end(z, DENSE) == space.end(sums, DENSE) == (OWN**2).tolist()


def test_scalars_of_cross_networks(space):
    """Every second layer doubles, and the last product is 1."""
    kernels, ones = space.kernels("cross.cu", COMPUTE="float"), (np.arange(DENSE) + 1) % 2
    (_, products), (_, scalars), (_, slopes) = matrix_of(space, ones), matrix_of(space), matrix_of(space)
    logit, upstream, blocks = space.array(SAMPLES, np.float32), space.at_end(SAMPLES, np.float32, [2]), -(-SAMPLES // 256)
    space.last(kernels.cross_scalars, SAMPLES, products, SAMPLES, DENSE, space.of(np.zeros(DENSE), np.float32), scalars, logit)
    powers = np.cumprod(1 + ones) / (1 + ones)
    assert space.end(scalars, DENSE) == powers.tolist() and space.end(logit) == [powers[-1]]
    sums = space.array(blocks * DENSE, np.float32)
    space.last(kernels.cross_scalars_adjoint, SAMPLES, products, scalars, upstream, SAMPLES, DENSE, slopes, sums)
    behind = 2 * powers[-1] / np.append(powers[1:], powers[-1])
    assert space.end(slopes, DENSE) == (behind * powers).tolist() and space.end(sums, DENSE) == behind.tolist()


@pytest.mark.parametrize("rows, h", [(SAMPLES, DENSE), (FAR + 300, 1)])
def test_arithmetic_on_matrices(space, rows, h):
    kernels, size, own = space.kernels("arrays.cu", COMPUTE="float", SOURCE="float"), rows * h, OWN[:h]
    (a, _), (b, _), (out, flat_out) = (matrix_of(space, one, rows) for one in (own, own + 3, own))
    space.last(kernels.fill, size, out, rows, h, 4.0)
    space.last(kernels.put, size, a, out, rows, h, 2.0, 1)
    assert space.end(flat_out, h) == (4 + 2 * own).tolist()
    space.last(kernels.multiply, size, a, b, 1, 1, out, rows, h)
    assert space.end(flat_out, h) == (own * (own + 3)).tolist()
    space.last(kernels.subtract_product, size, a, 1, b, out, rows, h)
    assert space.end(flat_out, h) == [0] * h
    numbers = space.at_end(rows, np.int64, np.arange(rows - LAST, rows), zeros=False)
    space.last(kernels.add_rows, size, a, numbers, out, rows, h)
    assert space.end(flat_out, h) == own.tolist()
    squares = space.array(rows, np.float32)
    space.last(kernels.row_products, rows * 32, a, a, rows, h, 0.5, squares.reshape(rows, 1))
    assert space.end(squares) == [(own**2).sum() / 2]


def test_sums_of_products(space):
    (x, _), (weights, _) = matrix_of(space), matrix_of(space, OWN + 3)
    kernels, sums = space.kernels("columns.cu", COMPUTE="float"), space.array(STRETCHES * DENSE, np.float32)
    space.last_blocks(kernels.sum_products, STRETCHES, x, weights, 1, SAMPLES, DENSE, sums)
    assert space.end(sums, DENSE) == (OWN * (OWN + 3)).tolist()


def test_half_differences(space):
    count, total = FAR + 300, space.at_end(FAR + 300, np.float32, [3])
    squares = space.at_end(count, np.float32, [1])
    space.last(space.kernels("cross.cu", COMPUTE="float").half_difference, count, total, count, squares)
    assert space.end(squares) == [4]


def test_normalised_samples(space):
    kernels, ones = space.kernels("normalisation.cu", COMPUTE="float", STATISTIC="double"), space.of(np.ones(DENSE), np.float32)
    (x, _), (_, normal), (_, y) = matrix_of(space), matrix_of(space), matrix_of(space)
    inverse, threads = space.array(SAMPLES, np.float32), SAMPLES * 32
    space.last(kernels.layer, threads, x, SAMPLES, DENSE, ones, ones, 0.0, inverse, normal, y)
    expected = (OWN - OWN.mean()) / OWN.std()
    assert np.abs(space.end(normal, DENSE) - expected).max() < 1e-6 and np.abs(space.end(y, DENSE) - expected - 1).max() < 1e-6
    gradient, flat_gradient = matrix_of(space, np.ones(DENSE))
    space.last(kernels.layer_adjoint, threads, gradient, SAMPLES, DENSE, normal, inverse, ones)
    assert np.abs(space.end(flat_gradient, DENSE)).max() < 1e-6  # what is added to all numbers of a sample changes nothing

    width = 2 * DENSE + 1
    sums = space.array(STRETCHES * width, np.float64)
    space.last_blocks(kernels.moments, STRETCHES, x, SAMPLES, DENSE, sums)
    assert space.end(sums, width) == [SAMPLES % 64, *OWN.tolist(), *(OWN**2).tolist()]
    mean, of_columns = space.of(OWN - 1, np.float64), space.of(np.full(DENSE, 2), np.float32)
    space.last_blocks(kernels.standardise, STRETCHES, x, SAMPLES, DENSE, mean, of_columns, of_columns, ones, normal, y)
    assert space.end(normal, DENSE) == [2] * DENSE and space.end(y, DENSE) == [5] * DENSE
    batch, (gradient, flat_gradient) = space.of([2, *[6] * DENSE, *[2] * DENSE], np.float64), matrix_of(space)
    space.last_blocks(kernels.batch_adjoint, STRETCHES, gradient, SAMPLES, DENSE, normal, of_columns, ones, batch)
    assert space.end(flat_gradient, DENSE) == ((OWN - 3 - 2) * 2).tolist()


def test_a_compressed_interaction_network(space):
    """Samples of 8 coordinates of 17 fields, and of 17 maps."""
    kernels, n, dim = space.kernels("cin.cu", COMPUTE="float"), SAMPLES // 8, 8
    width, rows = DENSE * dim, n * dim
    numbers = np.arange(width) % 7
    flat = space.at_end(n * width, np.float32, numbers)
    embeddings, first, size = flat.reshape((n, width)), space.at_end(n * width, np.float32, np.zeros(width)), n * width
    space.last(kernels.by_coordinate, size, embeddings, n, dim, DENSE, first)
    turned = numbers.reshape(DENSE, dim).T
    assert space.end(first, DENSE) == turned[-1].tolist()
    space.last(kernels.by_field, size, first, n, dim, DENSE, embeddings, 1)
    assert space.end(flat, width) == (2 * numbers).tolist()
    flat_gradient, spread = space.at_end(n * DENSE, np.float32, OWN), space.at_end(size, np.float32, OWN)
    gradient = flat_gradient.reshape((n, DENSE))
    space.last(kernels.spread_coordinates, size, gradient, n, dim, DENSE, spread, 1)
    assert space.end(spread, DENSE) == (2 * OWN).tolist()
    space.last(kernels.sum_coordinates, n * DENSE, spread, n, dim, DENSE, gradient)
    assert space.end(flat_gradient, DENSE) == ((dim + 1) * OWN).tolist()

    maps, count = space.at_end(rows, np.float32, [3]), rows * DENSE  # one map, 17 fields
    fields, out = space.at_end(count, np.float32, OWN), space.array(count, np.float32, zeros=True)
    space.last(kernels.products, count, maps, rows, 1, fields, DENSE, out)
    assert space.end(out, DENSE) == (3 * OWN).tolist()
    of_maps, of_first = space.array(rows, np.float32), space.at_end(count, np.float32, OWN)
    space.last(kernels.products_adjoint, rows + count, out, maps, rows, 1, fields, DENSE, of_maps, of_first)
    assert space.end(of_maps) == [3 * (OWN**2).sum()] and space.end(of_first, DENSE) == (10 * OWN).tolist()


# ------------------------------------------------------------------ loss and prefix sums

NUMEROUS = FAR + 300


def test_sums_over_samples(space):
    """More products of samples and parts than 2^32."""
    n, parts = 2**33, 2**29
    kernels = space.kernels("loss.cu", COMPUTE="float", SUM="float", VALUES=0)
    losses, gradient = space.at_end(n, np.float64, [1.5] * 3), space.at_end(n, np.float32, [2.0] * 3)
    high_low, beyond, sums = space.array(2 * parts, np.int64), space.array(parts, np.float64), space.array(parts, np.float32)
    space.last_blocks(kernels.sum_losses, parts, losses, n, parts, high_low, beyond)
    space.last_blocks(kernels.sum_gradient, parts, gradient, n, parts, 1.0, sums)
    assert space.end(high_low, 2) == [int(4.5 * 2**15), 0] and space.end(beyond) == [0] and space.end(sums) == [6]


def test_scores_are_counted_with_64_bits(space):
    n, bins = NUMEROUS, 1024
    kernels = space.kernels("loss.cu", COMPUTE="float", SUM="float", VALUES=0)
    logit, labels = space.at_end(n, np.float32, [0] * LAST, zeros=False), space.at_end(n, np.float32, [1] * LAST, zeros=False)
    counts = space.of(np.full(2 * bins, FAR - 1), np.int64)
    space.last(kernels.count_scores, n, logit, labels, n, counts)
    expected = np.full(2 * bins, FAR - 1)
    expected[bins + bins // 2] += 256 + n % 256
    assert space.device.to_host(counts).tolist() == expected.tolist()


def test_norms_are_added_up_with_64_bits(space):
    n, terms = NUMEROUS, space.of(np.zeros(41), np.int64)
    numbers = space.at_end(n, np.float64, [2.0**-32] * LAST, zeros=False)
    space.last(space.kernels("norm.cu").add_exactly, n, numbers, n, terms)
    assert space.device.to_host(terms)[7] == 256 + n % 256


def test_the_worst_of_many(space):
    n, kernels = NUMEROUS, space.kernels("loss.cu", COMPUTE="double", SUM="double", VALUES=0)
    numbers, blocks = space.at_end(n, np.float64, [7, 9, 8]), -(-n // 256)
    worst, samples = space.array(blocks, np.float64), space.array(blocks, np.int64)
    space.last_blocks(kernels.worst, blocks, numbers, n, worst, samples)
    assert space.end(worst) == [9] and space.end(samples) == [n - 2]


def test_parts_are_added_up(space):
    n, parts, kernels = ROWS, 17, space.kernels("loss.cu", COMPUTE="float", SUM="float", VALUES=0)
    sums = space.array(n * parts, np.float32, {n * part + n - 1: [part] for part in range(parts)}, zeros=True)
    total = space.array(n, np.float32)
    space.last(kernels.sum_parts, n, sums, parts, n, total)
    assert space.end(total) == [sum(range(parts))]
    assert [space.read(sums, n * part + n - 1, 1).tolist() for part in range(parts)] == [[0]] * parts


def test_ranks_are_added(space):
    n, ranks = FAR // 16 + 100, 17
    starts = {rank * n + n - LAST: np.arange(LAST) + rank for rank in range(ranks)}
    parts, total = space.array(ranks * n, np.float32, starts), space.array(n, np.float32)
    space.last(space.kernels("rank_sums.cu", SUM="float").add_ranks, n, parts, ranks, n, total, blocks=1)
    assert space.end(total) == [ranks * (LAST - 1) + sum(range(ranks))]


def test_the_largest_of_many_values(space):
    kernels = space.kernels("loss.cu", COMPUTE="double", SUM="double", VALUES=2)
    offsets = space.array(SAMPLES + 1, np.int64, {0: [0], SAMPLES + 1 - LAST: [OCCURRENCES - 2] * (LAST - 1) + [OCCURRENCES]})
    values, dense = space.at_end(2 * OCCURRENCES, np.float32, [1, 2, 9, 3]), space.at_end(SAMPLES * DENSE, np.float32, [7])
    largest = space.array(SAMPLES, np.float64)
    space.last(kernels.largest_values, SAMPLES, offsets, SAMPLES, values, dense, DENSE, largest)
    assert space.end(largest, 2) == [0, 9]
    space.device.to_device(np.array([11], np.float32), dense[dense.size - 1 :])
    space.last(kernels.largest_values, SAMPLES, offsets, SAMPLES, values, dense, DENSE, largest)
    assert space.end(largest, 2) == [0, 11]


def test_prefix_sums_of_many_counts(space):
    kernels, n, tile = space.kernels("scan.cu"), NUMEROUS, 2048
    counts, tiles = space.at_end(n, np.uint64, [3, 4, 5]), -(-n // tile)
    sums = space.array(tiles, np.uint64)
    space.last_blocks(kernels.sum_tiles, tiles, counts, n, sums)
    assert space.end(sums) == [12]
    before = space.at_end(tiles, np.uint64, [2**40])
    space.last_blocks(kernels.add_tiles, tiles, counts, n, before)
    assert space.end(counts, 3) == [2**40, 2**40 + 3, 2**40 + 7]


# ------------------------------------------------------------------ messages


def rows_of(space, sums="float"):
    return space.kernels("rows.cu", NUMBER="float", COMPUTE="float", SUM=sums, DIM=DIM, SCALARS=1)


def test_addresses_of_a_stretch(space):
    n, stride, addresses = ROWS, 64, space.array(ROWS, np.int64)
    firsts, begins = space.of([0, n - 2], np.int64), space.of([5, 7], np.int64)
    space.last(rows_of(space).segment_addresses, n, 10**12, firsts, begins, 2, n, stride, addresses)
    assert space.end(addresses, 3) == [10**12 + 5 + (n - 3) * stride, 10**12 + 7, 10**12 + 7 + stride]


def test_rows_are_sent_and_placed(space):
    width, n = DIM + 1, ROWS
    held = np.arange(LAST * (width + 3), dtype=np.float32).reshape(LAST, width + 3)
    records, message = space.of(held.ravel(), np.float32), space.array(LAST * width, np.float32)
    local = space.at_end(n, np.int32, np.arange(LAST), zeros=False)
    addresses = space.of(space.device.address(records) + 4 * (width + 3) * np.arange(LAST), np.int64)
    places = space.device.address(message) + 4 * width * np.arange(LAST)
    space.last(rows_of(space).send_rows, n * width, local, n, addresses, 12, width, space.at_end(n, np.int64, places, zeros=False))
    assert space.end(message, width) == held[-1, 3:].tolist()

    stride = 80
    home, at_home = space.array(n * stride // 4, np.float32), space.array(n, np.int64)
    sources = space.at_end(n, np.int64, places, zeros=False)
    space.device.to_device(np.arange(LAST * width, dtype=np.float32), message)  # of which all may be read
    base = space.device.address(home)
    space.last(rows_of(space).place_rows, n * width, sources, n, base, stride, 12, width, at_home)
    assert space.read(home, ((n - 1) * stride + 12) // 4, width).tolist() == list(range((LAST - 1) * width, LAST * width))
    assert space.end(at_home) == [base + (n - 1) * stride]


def test_gradients_are_sent_and_added(space):
    n, sent = ROWS, DIM + 2
    message = space.array(LAST * sent, np.float32, zeros=True)
    places = space.device.address(message) + 4 * sent * np.arange(LAST)
    targets, sums = space.at_end(n, np.int64, places, zeros=False), sums_of(space, n, np.float32, held=3)
    space.last(rows_of(space).send_gradients, n * sent, targets, n, sent, *sums)
    assert space.end(message, sent) == [3] * sent and [space.end(one) for one in sums] == [[0]] * 3

    sums = sums_of(space, n, np.float32, held=1)
    keys, order = space.of([n - 1, n - 1], np.uint32), space.of([1, 0], np.uint32)
    rows_of(space).add_gradients(2 * sent, keys, order, 2, space.of([places[-1], places[-1]], np.int64), *sums)
    assert [space.end(one) for one in sums] == [[7]] * 3


def test_squares_are_subtracted(space):
    n = ROWS
    record = space.of(np.arange(4 + DIM), np.float32)
    addresses = space.at_end(n, np.int64, [space.device.address(record)] * LAST, zeros=False)
    _, vector, square = sums_of(space, n, np.float32, held=2)
    space.last(rows_of(space).subtract_squares, n * DIM, addresses, n, vector, square)
    assert space.end(vector, DIM) == [2 - 2 * v for v in range(4, 4 + DIM)]


def test_gradients_of_many_requests_are_added(space):
    n = FAR // (DIM + 2) + 100
    message = space.of(np.arange(DIM + 2), np.float32)
    places = space.at_end(n, np.uint32, range(LAST), zeros=False)
    order = space.at_end(n, np.uint32, range(n - LAST, n), zeros=False)
    sources = space.at_end(n, np.int64, [space.device.address(message)] * LAST, zeros=False)
    sums = [space.array(LAST * size, np.float32, zeros=True) for size in (1, DIM, 1)]
    space.last(rows_of(space).add_gradients, n * (DIM + 2), places, order, n, sources, *sums)
    assert [*space.end(sums[0]), *space.end(sums[1], DIM), *space.end(sums[2])] == list(range(DIM + 2))


def routing(space, values=2):
    return space.kernels("routing.cu", VALUES=values)


SHOWN = 2 * 2048 + 100  # occurrences of the last tiles


def test_own_occurrences_are_picked(space):
    n, tiles = OCCURRENCES, -(-OCCURRENCES // 2048)
    keys = space.at_end(n, np.uint64, np.arange(SHOWN) + 1, zeros=False)
    fields, values = space.at_end(n, np.uint16, [1] * SHOWN, zeros=False), space.at_end(2 * n, np.float32, np.arange(2 * SHOWN), zeros=False)
    counts, total, before = space.array(tiles, np.uint64), space.of([n], np.uint64), space.array(n + 1, np.int64)
    of_field = space.of([0, 1], np.int64)
    space.last_blocks(routing(space).count_own, tiles, keys, fields, n, 2, of_field, 2, 1, counts)
    assert space.end(counts) == [n % 2048]
    prefix = space.at_end(tiles, np.uint64, [n - n % 2048 - 2048, n - n % 2048])
    picked = space.array(n, np.uint64), space.array(n, np.uint16), space.array(2 * n, np.float32)
    space.last_blocks(routing(space).pick_own, tiles, keys, fields, values, n, 2, of_field, 2, 1, prefix, total, *picked, before)
    assert space.end(picked[0]) == [SHOWN] and space.end(picked[1]) == [1]
    assert space.end(picked[2], 2) == [2 * SHOWN - 2, 2 * SHOWN - 1] and space.end(before, 2) == [n - 1, n]


def test_keys_are_packed_and_unpacked(space):
    n, ranks, fields, behind = OCCURRENCES, 2, 3, 8
    message = space.array(8 * n + behind, np.uint8)
    begins, firsts, order = space.of([8, 16], np.int64), space.of([0, 1], np.int64), space.at_end(n, np.uint32, range(n - LAST, n), zeros=False)
    unique, of_rank = space.at_end(n, np.uint64, np.arange(LAST) + 2**40, zeros=False), space.at_end(n, np.int32, [1] * LAST, zeros=False)
    places = space.array(n, np.int32)
    space.last(routing(space).pack_keys, n, order, n, unique, of_rank, firsts, begins, places, message)
    assert space.end(message, 8) == list((2**40 + LAST - 1).to_bytes(8, "little")) and space.end(places) == [n - 2]
    groups, keys, key_fields = space.of([0, 1, 1, 1, 1, 1], np.int64), space.array(n, np.uint64), space.array(n, np.uint16)
    space.last(routing(space).unpack_keys, n, message, n, groups, ranks, fields, begins, keys, key_fields)
    assert space.end(keys) == [2**40 + LAST - 1] and space.end(key_fields) == [2]


def test_occurrences_are_packed_and_unpacked(space):
    n, bytes_of_places = OCCURRENCES, 4 * OCCURRENCES
    message = space.array(bytes_of_places + 8 * n, np.uint8)
    begins, value_begins, firsts = (space.of([0, second], np.int64) for second in (4, bytes_of_places + 8, 1))
    bits = space.of([32, 32], np.int64)
    order, of_rank = space.at_end(n, np.uint32, range(n - LAST, n), zeros=False), space.at_end(n, np.uint32, [1] * LAST, zeros=False)
    occurrences, places = space.at_end(n, np.int32, range(LAST), zeros=False), space.of(range(LAST), np.int32)
    values = space.at_end(2 * n, np.float32, range(2 * LAST), zeros=False)
    space.last(routing(space).pack_occurrences, n, order, of_rank, n, occurrences, places, values, firsts, begins, value_begins, bits, message)
    last = space.read(message, bytes_of_places - 4, 4).view(np.int32)
    assert last.tolist() == [LAST - 1] and space.read(message, message.size - 8, 8).view(np.float32).tolist() == [2 * LAST - 2, 2 * LAST - 1]
    found, found_values = space.array(n, np.int32), space.array(2 * n, np.float32)
    space.last(routing(space).unpack_occurrences, n, message, n, firsts, space.of([0, 7], np.int64), 2, begins, value_begins, bits, found, found_values)
    assert space.end(found) == [LAST - 1 + 7] and space.end(found_values, 2) == [2 * LAST - 2, 2 * LAST - 1]


def test_counts_are_packed_and_unpacked(space):
    """Two bytes a sample of each of two ranks."""
    n, kernels = OCCURRENCES, routing(space)
    offsets = space.at_end(n + 1, np.int64, [FAR + 5] * LAST + [FAR + 7], zeros=False)
    of_rank = space.array(FAR + 7, np.uint32, {FAR + 5: [1, 1]})
    longest = space.of([1], np.int32)
    space.last(kernels.longest_sample, n, offsets, n, longest)
    assert space.device.to_host(longest).tolist() == [2]
    message, begins, too_many = space.array(4 * n, np.uint8), space.of([0, 2 * n], np.int64), space.of([2**32 - 1], np.uint32)
    space.last(kernels.pack_counts, 2 * n, offsets, n, of_rank, 2, begins, message, too_many)
    assert space.end(message, 4) == [0, 0, 2, 0]
    firsts, counts = space.of([0, n], np.int64), space.array(2 * n, np.uint64)
    space.last(kernels.unpack_counts, 2 * n, message, 2 * n, firsts, 2, begins, counts)
    assert space.end(counts, 2) == [0, 2]
