"""Rows in records, occurrences of them, and the number types of a model: what the tests of kernels on a device share."""

from typing import NamedTuple

import numpy as np
from cuda_device import REAL

from deshpc.backend import arguments
from deshpc.backend.cpu.simd import Lanes
from deshpc.backend.record import COUNT, FIELD, KEY, STEP, RecordLayout
from deshpc.backend.weight_form import WeightForm

EPS = {"float32": 2.0**-23, "float64": 2.0**-52}
"""Twice the unit roundoff, so bounds made with it leave room for the reference's own roundings in float64."""


class Kind(NamedTuple):
    """Number types: of storage, of arithmetic, and of sums."""

    storage: str
    compute: str
    sums: str

    def __str__(self):
        return "-".join(self)

    @property
    def number(self):
        return np.dtype(self.storage).type(0)

    @property
    def zero(self):
        return np.dtype(self.compute).type(0)

    @property
    def fixed(self):
        return self.sums == "int64"

    @property
    def eps(self):
        return EPS[self.compute]

    def form(self, dim):
        lanes = Lanes(dim, self.storage, self.compute, self.sums) if dim else None
        return WeightForm(lanes, self.number, self.zero, dim)


SINGLE = Kind("float32", "float32", "float32")
MIXED = Kind("float32", "float64", "float64")
DOUBLE = Kind("float64", "float64", "float64")
FIXED = Kind("float32", "float64", "int64")
FIXED_DOUBLE = Kind("float64", "float64", "int64")


def is_power_of_two(dim):
    return dim & (dim - 1) == 0


class Records:
    """Records full of random bytes, but for random numbers where `layout` has numbers, and small counts.

    weights (n, scalars + dim), state (n, ...) : as they are stored.  On a device they lie in another order, with bytes that
    belong to no record before, between and behind them.
    """

    def __init__(self, rng, layout, n, numbers=None):
        self.layout, self.n = layout, n
        self.bytes = rng.integers(0, 256, (2 * n + 2, layout.record_bytes), dtype=np.uint8)
        self.rows = 1 + 2 * rng.permutation(n)  # every second record is somebody else's
        if numbers is None:
            numbers = rng.standard_normal((n, layout.numbers))
        self.set_numbers(self.bytes, numbers.astype(layout.precision))
        for place in (layout.tail + STEP, layout.tail + COUNT, layout.tail + FIELD, KEY):
            self.bytes[self.rows, place + 3] = 0  # no count overflows

    def set_numbers(self, where, numbers):
        places = self.layout.places[:, None] + np.arange(numbers.itemsize)
        where[self.rows[:, None, None], places] = numbers.view(np.uint8).reshape(self.n, numbers.shape[1], numbers.itemsize)

    def numbers(self, where=None):
        """(n, numbers) of the storage type: w, v, state of w, state of v."""
        where = self.bytes if where is None else where
        size = np.dtype(self.layout.precision).itemsize
        places = self.layout.places[:, None] + np.arange(size)
        return where[self.rows[:, None, None], places].view(self.layout.precision)[:, :, 0]

    def weights(self):
        """(n, weights) float64."""
        return self.numbers()[:, : self.layout.weights].astype(np.float64)

    def tails(self, where=None):
        """(n, 2) uint32: last step, count."""
        where = self.bytes if where is None else where
        tail = self.layout.tail
        return np.ascontiguousarray(where[self.rows, tail : tail + 8]).view(np.uint32)

    def addresses(self, base, beyond=0):
        """(n + beyond) int64 where the records begin, 0 beyond the last."""
        return np.append(base + self.rows * self.layout.record_bytes, np.zeros(beyond, np.int64)).astype(np.int64)

    def on_host(self):
        """(bytes, addresses) for the CPU backend."""
        copy = self.bytes.copy()
        return copy, self.addresses(copy.ctypes.data)

    def on(self, backend, beyond=0):
        """(bytes, addresses) on the device of a backend."""
        memory = backend.array(self.bytes)
        return memory, backend.array(self.addresses(backend.address(memory), beyond))


def layout_without_state(scalars, dim, storage):
    return RecordLayout(scalars, dim, storage, 0, 0)


class Occurrences(NamedTuple):
    """Occurrences of `distinct` rows in samples: offsets (samples + 1) int64, local (nnz) int32, values as `backend.values`."""

    offsets: np.ndarray
    local: np.ndarray
    values: np.ndarray | None

    @classmethod
    def draw(cls, rng, sizes, local, width):
        """Of samples of these sizes."""
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        nnz = int(offsets[-1])
        local = np.asarray(local, np.int32)
        assert local.shape == (nnz,)
        shape = (nnz,) if width == 1 else (nnz, 2)
        return cls(offsets, local, rng.standard_normal(shape).astype(np.float32) if width else None)

    @property
    def samples(self):
        return len(self.offsets) - 1

    @property
    def sample(self):
        """(nnz) the sample of each occurrence."""
        return np.repeat(np.arange(self.samples), np.diff(self.offsets))

    @property
    def x(self):
        """(nnz) float64 that each occurrence multiplies its embedding by."""
        return self._column(0)

    @property
    def linear_x(self):
        """(nnz) float64 that each occurrence multiplies its linear weight by."""
        return self._column(-1)

    def _column(self, column):
        if self.values is None:
            return np.ones(len(self.local))
        values = self.values if self.values.ndim == 1 else self.values[:, column]
        return values.astype(np.float64)

    def on(self, backend):
        """(offsets, local, values) on the device of a backend."""
        return tuple(None if one is None else backend.array(one) for one in self)

    def owned(self, addresses, backend=None):
        """As operators take them, of rows at these addresses; on the device of a backend."""
        arrays = self if backend is None else self.on(backend)
        return arguments.Occurrences(*arrays, addresses, in_order=backend is not None)


def small_batch(rng, samples, distinct, width):
    """Samples of 0 to 6 keys, some without any, with a key twice in a sample, and key 0 in every one that has keys."""
    sizes = rng.integers(0, 7, samples)
    sizes[samples // 2 :: 5] = 3 if samples == 1 else 0
    local = rng.integers(0, distinct, sizes.sum())
    begins = np.cumsum(sizes) - sizes
    local[begins[sizes > 0]] = 0
    local[begins[sizes > 2] + 2] = local[begins[sizes > 2] + 1]
    return Occurrences.draw(rng, sizes, local, width)


def fixed_sum(terms, scale):
    """The fixed-point sum of an iterable of float64 terms in Python's integers, each rounded to the nearest, ties to even."""
    return sum(round(float(term) * scale) for term in terms)


def per_sample(occurrences, terms):
    """(samples, ...) sums of the occurrences' terms (nnz, ...)."""
    total = np.zeros((occurrences.samples, *terms.shape[1:]))
    np.add.at(total, occurrences.sample, terms)
    return total


def with_column(rng, samples, own, column, behind, dtype):
    """A state (samples, column + own + behind) of random numbers: more than one operator has, all of them canaries."""
    state = rng.standard_normal((samples, column + own + behind)) * 100
    return state.astype(dtype)


def devices(device):
    """The device, and others that must give the same bits: of other schedules, or the same one again."""
    if REAL:
        return [device, device]
    from executor.device import ExecutorDevice
    from executor.schedule import Schedule

    return [device, ExecutorDevice(Schedule("reversed")), ExecutorDevice(Schedule("random", seed=11, resident_blocks=7))]


def assert_same_bits(actual, expected, what=""):
    """Equal shapes, types and bytes."""
    actual, expected = np.ascontiguousarray(actual), np.ascontiguousarray(expected)
    assert actual.shape == expected.shape and actual.dtype == expected.dtype, what
    kind = f"u{actual.dtype.itemsize}"
    differ = np.flatnonzero(actual.view(kind).ravel() != expected.view(kind).ravel())
    assert not differ.size, f"{what}: {differ.size} differ, first at {differ[0]}: {actual.flat[differ[0]]} {expected.flat[differ[0]]}"


def assert_within(actual, expected, bound, what=""):
    """|actual - expected| <= bound, elementwise; never where there is a NaN."""
    actual = np.asarray(actual, np.float64)
    assert actual.shape == np.shape(expected), what
    excess = np.abs(actual - expected)
    assert (excess <= bound).all(), f"{what}: off by {np.max(excess / np.maximum(bound, 1e-300)):.3g} bounds"
