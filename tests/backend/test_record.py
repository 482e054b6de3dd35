"""The record against its documentation: where everything lies, in sums of bytes, and that the kernels put it there.

A shard is filled with distinct numbers and its memory read byte by byte with `struct`, which knows the documented record
alone; new rows and updates of one row are checked in the same way.
"""

import ctypes
import itertools
import struct
from dataclasses import replace

import numpy as np
import pytest

from deshpc.backend.arguments import Sums
from deshpc.backend.cpu import update
from deshpc.backend.cpu.simd import Lanes
from deshpc.backend.open import open_backend
from deshpc.backend.record import RecordLayout
from deshpc.backend.rules import Adam, Ftrl, StateStart
from deshpc.backend.weight_form import WeightForm
from deshpc.hashing.key_fields import fields_of
from deshpc.table.shard import Initialisation, Rows, Shard

KEYS = np.array([2**32 + 7, 2**63 + 2**33 + 1, 2**64 - 1], np.uint64)  # of the fields 1, 2 and 65535
LETTER = {"float32": "f", "float64": "d"}


@pytest.mark.parametrize(
    ("layout", "first", "state", "linear_state", "tail", "size"),
    [
        (RecordLayout(1, 0, "float32", 1, 0), 12, 16, 16, 20, 32),  # LR, Adagrad
        (RecordLayout(1, 0, "float32", 2, 0), 12, 16, 16, 24, 64),
        (RecordLayout(1, 0, "float64", 1, 0), 8, 16, 16, 24, 64),
        (RecordLayout(1, 8, "float32", 1, 8), 12, 48, 80, 84, 96),  # FM, Adagrad
        (RecordLayout(1, 16, "float32", 1, 16), 12, 80, 144, 148, 160),
        (RecordLayout(1, 16, "float32", 2, 32), 12, 80, 208, 216, 256),  # FM, Adam
        (RecordLayout(1, 16, "float32", 1, 1), 12, 80, 84, 88, 128),  # FM, row-wise Adagrad
        (RecordLayout(1, 16, "float32", 0, 0), 12, 80, 80, 80, 96),  # FM, SGD
        (RecordLayout(1, 5, "float32", 1, 5), 12, 36, 56, 60, 96),
        (RecordLayout(1, 5, "float64", 1, 5), 8, 56, 96, 104, 128),
        (RecordLayout(0, 12, "float32", 0, 12), 16, 64, 112, 112, 128),
        (RecordLayout(0, 3, "float64", 0, 6), 16, 40, 88, 88, 128),
        (RecordLayout(1, 16, "bfloat16", 1, 16), 12, 48, 112, 116, 128),
        (RecordLayout(1, 5, "bfloat16", 1, 5), 12, 28, 48, 52, 64),  # state begins at a multiple of 4
        (RecordLayout(0, 32, "bfloat16", 0, 64), 16, 80, 336, 336, 352),
    ],
)
def test_offsets_of_documented_records(layout, first, state, linear_state, tail, size):
    assert (layout.first_weight, layout.weights_end, layout.linear_state, layout.tail) == (first, state, linear_state, tail)
    assert layout.record_bytes == size
    size = {"float64": 8, "float32": 4, "bfloat16": 2}[layout.precision]
    sign = -1 if size == 2 else 1
    expected = [first] * layout.scalars + [sign * place for place in range(16, 16 + size * layout.dim, size)]
    assert layout.places[: layout.weights].tolist() == expected and (layout.places[layout.weights :] > 0).all()


def test_embedding_and_its_state_are_aligned_to_16_bytes():
    for (precision, step), planes, k in itertools.product((("float32", 4), ("float64", 2)), (0, 1, 2), range(0, 100)):
        for scalars in (0, 1):
            layout = RecordLayout(scalars, k, precision, scalars * planes, planes * k)
            assert layout.record_bytes % 32 == 0 and layout.tail % 4 == 0 and layout.tail + 12 <= layout.record_bytes
            if k % step == 0:
                itemsize = 16 // step
                planes_at = layout.places[layout.weights + layout.scalar_state :: k or 1]
                assert layout.weights_end % 16 == 0 and not (planes_at % 16).any() and len(planes_at) == (planes if k else 0)
                assert layout.places[layout.scalars :][:k].tolist() == [16 + itemsize * i for i in range(k)]


def dissect(address, scalars, dim, precision, planes, width):
    """The documented record at `address`: (key, w's, v, state of v plane by plane, state of w, step, count, field)."""
    letter, size = LETTER[precision], struct.calcsize(LETTER[precision])
    numbers = dim + planes * width + planes * scalars
    raw = ctypes.string_at(address, 16 + numbers * size + 12)
    key, linear = struct.unpack_from("<Q", raw)[0], struct.unpack_from(f"<{scalars}{letter}", raw, 16 - scalars * size)
    rest = struct.unpack_from(f"<{numbers}{letter}", raw, 16)
    v, of_v, of_w = rest[:dim], rest[dim : dim + planes * width], rest[dim + planes * width :]
    return key, linear, v, of_v, of_w, *struct.unpack_from("<3I", raw, 16 + numbers * size)


SHAPES = [
    (scalars, dim, precision, planes, width)
    for scalars, dim, precision in itertools.product((0, 1), (0, 1, 4, 5), ("float32", "float64"))
    for planes, width in ((0, dim), (1, dim), (2, dim), (1, min(dim, 1)))
    if scalars + dim
]


@pytest.mark.parametrize(("scalars", "dim", "precision", "planes", "width"), SHAPES)
def test_rows_are_written_where_the_documentation_says(scalars, dim, precision, planes, width):
    """New ones and loaded ones; what is read out has its own order: w, v, state of w, state of v."""
    layout = RecordLayout(scalars, dim, precision, scalars * planes, planes * width)
    start = StateStart(planes, 0.25, 0.5)
    shard = Shard(open_backend("cpu", 1), layout, Initialisation(3, 0.1, start))
    fields = fields_of(KEYS)
    addresses = shard.look_up(KEYS, fields, 11).addresses.tolist()
    assert all(b - a == layout.record_bytes for a, b in itertools.pairwise(addresses))
    new = shard.export()
    for j, address in enumerate(addresses):
        key, linear, v, of_v, of_w, *tail = dissect(address, scalars, dim, precision, planes, width)
        assert (key, tail) == (KEYS[j], [11, 0, fields[j]])
        assert linear == (0,) * scalars and v == tuple(new.numbers[j, scalars : scalars + dim]) and len(set(v)) == dim
        assert of_v == (0.25,) * (width * (planes > 0)) + (0.5,) * (width * (planes > 1))
        assert of_w == ((0.25, 0.5)[:planes] if scalars else ())
    numbers = 1.0 + np.arange(3 * layout.numbers).reshape(3, -1).astype(precision)
    counts, steps = np.array([5, 0, 2**32 - 1], np.uint32), np.array([2**32 - 2, 1, 0], np.uint32)
    shard.load(Rows(KEYS, fields, counts, steps, numbers))
    for j, address in enumerate(addresses):
        key, linear, v, of_v, of_w, *tail = dissect(address, scalars, dim, precision, planes, width)
        assert (key, tail) == (KEYS[j], [steps[j], counts[j], fields[j]])
        assert (*linear, *v, *of_w, *of_v) == tuple(numbers[j])
    assert np.array_equal(shard.export().numbers, numbers)


@pytest.mark.parametrize("dim", [0, 4, 5])
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("rule", [Adam, Ftrl])
def test_an_update_touches_its_own_row_alone(dim, precision, rule):
    """Two planes of state: each in its place, and every byte of the neighbours and of the padding as before."""
    kind = np.dtype(precision).type
    layout = RecordLayout(1, dim, precision, 2, 2 * dim)
    numbers = 1.0 + np.arange(3.0 * layout.numbers).reshape(3, -1).astype(precision)
    shard = Shard(open_backend("cpu", 1), layout, Initialisation(3, 0.1, StateStart(2)))
    addresses = shard.look_up(KEYS, fields_of(KEYS), 4).addresses
    rows = replace(shard.export(), numbers=numbers, counts=np.array([6, 7, 8], np.uint32))
    shard.load(rows)
    size = layout.record_bytes
    before = ctypes.string_at(int(addresses[0]), 3 * size)
    values = rule(*(kind(x) for x in (0.5, 0.9, 0.99, 0.1, 0.01, 1, 1, 1e-3)[: len(rule._fields)]))
    scalar, vector = np.array([0.5], precision), 0.25 + np.arange(dim, dtype=precision).reshape(1, dim)
    form = WeightForm(Lanes(dim, precision, precision) if dim else None, kind(0), kind(0), dim)
    sums = Sums(scalar.copy(), vector.copy() if dim else None, np.zeros(1, precision) if dim else None)
    update.rows(
        values, form, layout.linear_state, layout.tail, 4, addresses[1:2].copy(), sums, 1.0, np.uint32(9), kind(1), kind(0), None, None
    )
    after = ctypes.string_at(int(addresses[0]), 3 * size)
    assert after[:size] == before[:size] and after[2 * size :] == before[2 * size :]
    used = 16 + (3 * dim + 2) * kind(0).itemsize + 12
    assert after[size + used : 2 * size] == before[size + used : 2 * size]
    key, linear, v, of_v, of_w, *tail = dissect(int(addresses[1]), 1, dim, precision, 2, dim)
    assert (key, tail) == (KEYS[1], [9, 8, 2])
    w, gradients = numbers[1, : 1 + dim].astype(np.float64), np.concatenate([scalar, vector[0]]).astype(np.float64)
    old = np.concatenate([numbers[1, 1 + dim : 3 + dim, None], numbers[1, 3 + dim :].reshape(2, dim)], axis=1).astype(float)
    if rule is Adam:
        state = np.stack([0.9 * old[0] + 0.1 * gradients, 0.99 * old[1] + 0.01 * gradients**2])
        weights = w - 0.5 * state[0] / (np.sqrt(state[1]) + 1e-3)
    else:
        alpha, beta, l1, l2 = 0.5, 0.9, 0.99, 0.1
        grown = old[1] + gradients**2
        z = old[0] + gradients - (np.sqrt(grown) - np.sqrt(old[1])) / alpha * w
        state = np.stack([z, grown])
        weights = np.where(np.abs(z) <= l1, 0, (np.sign(z) * l1 - z) / ((beta + np.sqrt(grown)) / alpha + l2))
    close = {"rtol": 1e-4 if precision == "float32" else 1e-12, "atol": 1e-4 if precision == "float32" else 1e-12}
    assert np.allclose([*linear, *v], weights, **close)
    assert np.allclose(of_w, state[:, 0], **close) and np.allclose(np.reshape(of_v, (2, dim)), state[:, 1:], **close)
