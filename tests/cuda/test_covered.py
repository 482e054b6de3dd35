"""What the tests beside this one leave out, as scripts/kernel_coverage.py and scripts/mutate_kernels.py have found.

First rows that travel, of which a single rank has none: against Python lists and NumPy.  Messages are filled with rubbish
before, so that a byte that is not written shows, as does one that is written beside.  Then shares of batches, which only
several ranks have; sums of very many occurrences; new rows of zeros; and training with embeddings of other sizes than in
test_training, so that every kernel of a variant runs, with dense features and with keys of many occurrences.
"""

from dataclasses import replace

import numpy as np
import pytest
from device_rows import assert_same_bits
from mpi4py import MPI
from small_training import RULES, small_config, train_on
from synthetic_batches import N_FIELDS, awkward_batches, owner_of

from deshpc.backend.arguments import Occurrences, Sums
from deshpc.backend.cpu.simd import Lanes
from deshpc.backend.cuda.backend import CudaBackend
from deshpc.backend.record import RecordLayout
from deshpc.backend.rules import StateStart
from deshpc.backend.weight_form import WeightForm
from deshpc.hashing.partition import KeyPartition
from deshpc.route.distinct import Deduplication
from deshpc.table.shard import Initialisation, Shard

RANKS, FIELDS, RUBBISH = 3, 4, 0xA5


def rubbish(backend, count):
    return backend.array(np.full(count, RUBBISH, np.uint8))


def on(backend, *arrays):
    return [None if one is None else backend.array(one) for one in arrays]


def places_in(backend, memory, offsets):
    """Addresses on the device of the bytes at `offsets` of an array."""
    return backend.array(backend.address(memory) + np.asarray(offsets, np.int64))


# ---------------------------------------------------------------------- requests


@pytest.mark.parametrize("unique", [0, 1, 50, 700])
def test_requests_are_grouped_and_read_again(few, unique):
    backend, rng = CudaBackend(few), np.random.default_rng(1)
    keys = rng.choice(2**60, unique, replace=False).astype(np.uint64)
    fields, ranks = rng.integers(0, FIELDS, unique).astype(np.uint16), rng.integers(0, RANKS, unique).astype(np.int32)
    ranks[ranks == 1] = 2  # rank 1 is asked for nothing
    order = np.lexsort((np.arange(unique), fields, ranks))
    on_keys, on_fields, on_ranks = on(backend, keys, fields, ranks)
    counts = np.array([[((ranks == r) & (fields == f)).sum() for f in range(FIELDS)] for r in range(RANKS)], np.int32)
    lengths = counts.sum(axis=1)
    begins = 16 + 8 * np.array([lengths[2] + 1, 0, 0], np.int64)  # the requests may lie anywhere: rank 2's before rank 0's
    message, places = rubbish(backend, 32 + 8 * unique), backend.zeros(unique, np.int32)
    backend.rows.group_requests(on_keys, on_fields, on_ranks, counts, places, begins, message)
    assert np.array_equal(backend.host(places)[order], np.arange(unique))
    read, fields_read = backend.zeros(unique, np.uint64), backend.zeros(unique, np.uint16)
    backend.rows.read_requests(message, begins, counts, read, fields_read)
    assert_same_bits(backend.host(read), keys[order])
    assert_same_bits(backend.host(fields_read), fields[order])
    untouched = np.ones(message.size, bool)
    for begin, length in zip(begins, lengths, strict=True):
        untouched[begin : begin + 8 * length] = False
    assert (backend.host(message)[untouched] == RUBBISH).all()


@pytest.mark.parametrize("counts", [[2, 0, 3], [0, 4], [3, 0], [1], [0, 0, 1, 0], [300, 1, 0, 260, 0, 7], [0, 0]], ids=str)
def test_addresses_of_stretches(few, counts):
    backend = CudaBackend(few)
    message, n = backend.zeros(1000, np.uint8), sum(counts)
    begins, found = 96 + 500 * np.arange(len(counts))[::-1], backend.zeros(n, np.int64)
    backend.rows.segment_addresses(message, begins, np.array(counts, np.int64), 24, found)
    expected = [begin + 24 * place for begin, count in zip(begins, counts, strict=True) for place in range(count)]
    assert (backend.host(found) - backend.address(message)).tolist() == expected


# ---------------------------------------------------------------------- rows


def records(rng, layout, count):
    """(bytes (count, record), their weights (count, weights))."""
    held = rng.integers(0, 256, (count, layout.record_bytes), dtype=np.uint8)
    weights = rng.standard_normal((count, layout.weights)).astype(layout.precision)
    held[:, layout.first_weight : layout.weights_end] = weights.view(np.uint8)
    return held, weights


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("scalars, dim", [(1, 0), (1, 5), (0, 8), (1, 16)])
@pytest.mark.parametrize("asked", [0, 1, 300])
def test_rows_are_sent_as_they_were_asked_for_and_lie_like_records_at_home(few, precision, scalars, dim, asked):
    backend, rng = CudaBackend(few), np.random.default_rng(2)
    layout = RecordLayout(scalars, dim, precision, 0, 0)
    held, weights = records(rng, layout, 20)
    memory, size = backend.array(held), layout.weights * np.dtype(precision).itemsize
    addresses = places_in(backend, memory, layout.record_bytes * np.arange(20))
    local, place = rng.integers(0, 20, asked).astype(np.int32), rng.permutation(asked)
    message = rubbish(backend, (asked + 1) * size)
    targets = places_in(backend, message, size * place)
    backend.rows.send_rows(layout.number, layout.first_weight, layout.weights, 2, backend.array(local), addresses, targets)
    sent = backend.host(message)
    assert np.array_equal(sent[: asked * size].view(precision).reshape(asked, layout.weights)[place], weights[local])
    assert (sent[asked * size :] == RUBBISH).all()

    buffers = backend.buffers()
    home = backend.host(backend.rows.home_addresses(layout, targets, buffers))
    assert home.size == asked and not (home % 16).any()
    if asked:
        arrived = backend.host(buffers._arrays["home records"])
        begins = home - backend.address(buffers._arrays["home records"]) + layout.first_weight
        assert np.array_equal(np.stack([arrived[begin : begin + size] for begin in begins]).view(precision), weights[local])
        assert len(set(begins)) == asked and np.diff(np.sort(begins)).min(initial=layout.weights_end) >= layout.weights_end


# ---------------------------------------------------------------------- gradients


def some_sums(rng, count, kind, dim, weighted, scalars=1):
    """Scalar, vector and square sums."""
    shapes = count, (count, dim), count
    if np.dtype(kind).kind == "i":
        scalar, vector, own = (rng.integers(-(2**60), 2**60, shape) for shape in shapes)
    else:
        scalar, vector, own = (rng.standard_normal(shape).astype(kind) for shape in shapes)
    return (scalar if scalars else None), (vector if dim else None), (own if dim and weighted else None)


@pytest.mark.parametrize("kind", ["float32", "float64", "int64"])
@pytest.mark.parametrize(
    "scalars, dim, weighted, send_squares",
    [(1, 0, False, False), (1, 5, False, False), (1, 5, True, False), (1, 8, True, True), (0, 5, False, False), (0, 8, True, True)],
)
@pytest.mark.parametrize("unique", [0, 1, 90])
def test_gradients_leave_zero_behind_and_are_added_up_in_the_order_of_requests(
    few, kind, scalars, dim, weighted, send_squares, unique
):
    """From three home ranks to one owner, whose sums already hold something; some rows are asked for once, or never."""
    backend, rng, rows = CudaBackend(few), np.random.default_rng(3), 300
    width = scalars + dim + send_squares
    size = width * np.dtype(kind).itemsize
    local = np.concatenate([rng.permutation(rows)[:unique] // 2 for _ in range(RANKS)]).astype(np.int32)
    sums = some_sums(rng, rows, kind, dim, weighted, scalars)
    expected = [None if one is None else one.copy() for one in sums]
    message = rubbish(backend, (RANKS * unique + 1) * size)
    offsets = size * rng.permutation(RANKS * unique)
    for home in range(RANKS):
        part = slice(home * unique, (home + 1) * unique)
        sent = some_sums(rng, unique, kind, dim, weighted, scalars)
        given = on(backend, *sent)
        backend.rows.send_gradients(dim, *given, send_squares, places_in(backend, message, offsets[part]))
        assert all(one is None or not backend.host(one).any() for one in given)
        travelling = [one for one in sent[: 2 + send_squares] if one is not None]
        written = backend.host(message)
        for j, place in enumerate(offsets[part]):
            assert_same_bits(written[place : place + size].view(kind), np.concatenate([np.atleast_1d(one[j]) for one in travelling]))
        for total, one in zip(expected[: 2 + send_squares], sent, strict=False):
            if total is not None:
                for j, row in enumerate(local[part]):
                    total[row] += one[j]
    assert (backend.host(message)[RANKS * unique * size :] == RUBBISH).all()
    given = on(backend, *sums)
    backend.rows.add_gradients(
        places_in(backend, message, offsets), dim, backend.array(local), given[0], given[1], given[2] if send_squares else None
    )
    for total, one in zip(expected, given, strict=True):
        assert (total is None) == (one is None)
        if one is not None:
            assert_same_bits(backend.host(one), total)


@pytest.mark.parametrize("precision, compute", [("float32", "float32"), ("float32", "float64"), ("float64", "float64")])
@pytest.mark.parametrize("dim", [1, 5, 16])
def test_own_terms_are_subtracted_with_one_rounding(few, precision, compute, dim):
    backend, rng = CudaBackend(few), np.random.default_rng(4)
    layout = RecordLayout(1, dim, precision, 0, 0)
    held, weights = records(rng, layout, 60)
    memory = backend.array(held)
    _, vector, own = some_sums(rng, 60, compute, dim, True)
    exact = vector.astype(np.longdouble) - weights[:, 1:].astype(np.longdouble) * own[:, None]
    on_vector, on_own = on(backend, vector, own)
    backend.rows.subtract_squares(
        WeightForm(Lanes(dim, precision, compute), layout.number, np.dtype(compute).type(0), dim),
        places_in(backend, memory, layout.record_bytes * np.arange(60)), on_vector, on_own,
    )  # fmt: skip
    # the product of two float64 is exact to 2^-64 in a long double: half a unit and that
    assert (np.abs(backend.host(on_vector) - exact) <= np.finfo(compute).eps / 2 * np.abs(exact) * 1.01 + 1e-18).all()
    assert_same_bits(backend.host(on_own), own)
    assert_same_bits(backend.host(memory), held)


# ---------------------------------------------------------------------- shares of batches

# A share's arrays begin with its first occurrence, but its offsets count from the whole batch's.


@pytest.mark.parametrize("begin, end", [(0, 11), (11, 40), (39, 40), (7, 7)])
@pytest.mark.parametrize("weighted", [0, 1, 2])
@pytest.mark.parametrize("partition, modulus, residue", [(KeyPartition(1, 1), 1, 0), (KeyPartition(2, 3), 3, 1)], ids=["all", "some"])
def test_keys_of_a_share(few, begin, end, weighted, partition, modulus, residue):
    backend, batch = CudaBackend(few), awkward_batches(6, 2, weighted)[1]
    share = batch.on(backend).share(begin, end)
    parts = slice(batch.begins[begin], batch.ends[end - 1] if end > begin else batch.begins[begin])
    keys, sample = batch.keys[parts], np.repeat(np.arange(end - begin), (batch.ends - batch.begins)[begin:end])
    own = np.array([owner_of(key, partition.owners) % modulus == residue for key in keys], bool)
    unique, _ = Deduplication(backend.routing, partition, partition.ranks, N_FIELDS)(share, backend.buffers(), modulus, residue, with_values=True)
    counts = np.bincount(sample[own], minlength=end - begin)
    assert backend.host(unique.offsets).tolist() == [0, *np.cumsum(counts).tolist()]
    assert backend.host(unique.keys)[backend.host(unique.occurrences)].tolist() == keys[own].tolist()
    assert len(set(keys[own].tolist())) == unique.keys.size
    if weighted:
        assert_same_bits(backend.host(unique.values), batch.values[parts][own])
    largest = backend.zeros(end - begin, np.float64)
    backend.loss.largest_values(share.begins, share.ends, share.values, share.dense, largest)
    values = np.ones(len(keys)) if batch.values is None else np.abs(batch.values[parts]).reshape(len(keys), weighted).max(axis=1)
    expected = np.maximum(np.abs(batch.dense[begin:end]).max(axis=1), 0 if weighted else 1).astype(np.float64)
    np.maximum.at(expected, sample, values)
    assert_same_bits(backend.host(largest), expected)


# ---------------------------------------------------------------------- sums


def test_a_key_of_more_tiles_than_a_block_has_groups(few):
    """Occurrences are added up in tiles of 32, and the parts of a key by 128 groups in turns."""
    backend, n = CudaBackend(few), 32 * 300 + 5
    state = np.random.default_rng(9).integers(-1000, 1000, (n, 1)).astype(np.float64)
    offsets, local, on_state = on(backend, np.arange(n + 1), np.zeros(n, np.int32), state)
    addresses, sums = backend.zeros(1, np.int64), backend.zeros(1, np.int64)
    grouping = backend.lookup.group(offsets, local, addresses, backend.buffers())
    owned, form = Occurrences(offsets, local, None, addresses, grouping=grouping), WeightForm(None, np.float32(0), np.float64(0), 0)
    backend.linear.partial_adjoint(form, owned, on_state, 0, Sums(sums, None, None), 1.0)
    assert backend.host(sums).tolist() == [int(state.sum())]


# ---------------------------------------------------------------------- new rows


def test_the_state_of_a_new_weight_that_is_zero_has_no_jump(few):
    """As where model.init_std is 0."""
    backend, dim, keys = CudaBackend(few), 4, np.arange(1, 41, dtype=np.uint64)
    layout = RecordLayout(1, dim, "float32", 2, 2 * dim)
    shard = Shard(backend, layout, Initialisation(7, 0.0, StateStart(2, 0.5, 0.25, 2.0, 3.0)))
    shard.look_up(backend.array(keys), backend.zeros(40, np.uint16), 1)
    numbers = shard.export().numbers
    assert not numbers[:, : 1 + dim].any()
    expected = [0.5, 0.25, *[0.5] * dim, *[0.25] * dim]  # of the linear weight, of the embedding plane by plane
    assert numbers[:, 1 + dim :].tolist() == [expected] * 40


# ---------------------------------------------------------------------- embeddings of other sizes


@pytest.mark.parametrize(
    "dim, weighted, rule, precision",
    [
        (4, 0, "ftrl", "float32"),
        (8, 1, "rowwise_adagrad", "float32"),
        (16, 0, "adagrad", "float32"),
        (16, 0, "sgd", "float64"),
        (256, 0, "sgd", "float64"),
    ],
)
def test_embeddings_of_other_sizes_train_as_on_the_cpu(few, dim, weighted, rule, precision):
    batches, config = awkward_batches(23, 6, weighted), small_config(rule=RULES[rule], precision=precision)
    config = replace(config, model=replace(config.model, dim=dim))
    expected = train_on(MPI.COMM_SELF, batches, config)
    found = train_on(MPI.COMM_SELF, batches, config, backend=CudaBackend(few))
    of_rows, of_losses = (1e-11, 1e-11) if precision == "float64" else (2e-5, 1e-6)  # as in test_training
    assert np.array_equal(found.rows.keys, expected.rows.keys) and np.array_equal(found.rows.counts, expected.rows.counts)
    assert expected.rows.numbers.shape[1] > dim
    assert np.abs(found.losses - expected.losses).max() <= of_losses * np.abs(expected.losses).max()
    for one, other in ((found.rows.numbers, expected.rows.numbers), (found.parameters, expected.parameters)):
        assert one.shape == other.shape and np.abs(one - other).max() <= of_rows * np.abs(other).max()
