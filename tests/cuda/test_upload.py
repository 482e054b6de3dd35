"""Batches on their way to a device: gathered side by side by another thread, one batch ahead, against NumPy."""

import numpy as np
import pytest
from device_rows import assert_same_bits
from mpi4py import MPI
from small_training import all_rows, small_config, small_model
from synthetic_batches import awkward_batches

from deshpc.backend.cuda.backend import CudaBackend
from deshpc.data.dataset import Dataset
from deshpc.data.reader import Reader
from deshpc.errors import DeshpcError
from deshpc.training.gathering import gathered_ahead
from deshpc.training.step import steps


def scattered(batch):
    """The same samples in another order, so that their occurrences do not lie side by side."""
    order = np.random.default_rng(3).permutation(len(batch))
    parts = [getattr(batch, name)[order] for name in ("begins", "ends", "dense", "labels")]
    return type(batch)(batch.step, batch.global_samples, batch.samples[order], *parts[:2], batch.keys, batch.fields, batch.values, *parts[2:])


def check(backend, batch, there):
    """The arrays on the device are those of the samples, one after another."""
    chosen = [np.arange(begin, end) for begin, end in zip(batch.begins, batch.ends, strict=True)]
    chosen = np.concatenate([np.zeros(0, np.int64), *chosen])
    offsets = np.concatenate([[0], np.cumsum(batch.ends - batch.begins)])
    expected = {
        "begins": offsets[:-1], "ends": offsets[1:], "keys": batch.keys[chosen], "fields": batch.fields[chosen],
        "dense": batch.dense, "labels": batch.labels,
    }  # fmt: skip
    for name, array in expected.items():
        assert_same_bits(backend.host(getattr(there, name)), array, name)
    if batch.values is None:
        assert there.values is None
    else:
        assert_same_bits(backend.host(there.values), batch.values[chosen])


@pytest.mark.parametrize("weighted", [0, 1, 2])
def test_a_batch_is_there_while_the_next_one_is_gathered(few, weighted):
    backend = CudaBackend(few)
    batches = [scattered(batch) for batch in awkward_batches(7, 6, weighted)]
    seen = []
    for batch in gathered_ahead(backend, batches):
        there = batch.on(backend)
        seen.append(batch)
        check(backend, batch, there)
    assert [id(one) for one in seen] == [id(one) for one in batches]
    check(backend, batches[0], batches[0].on(backend))  # without a start, as in evaluation
    backend.close()


def test_two_batches_stay_there(few):
    backend = CudaBackend(few)
    batches = list(awkward_batches(8, 3))
    there = [batch.on(backend) for batch in gathered_ahead(backend, batches[:2])]
    for batch, one in zip(batches, there, strict=False):
        check(backend, batch, one)
    backend.close()


def test_another_batch_than_was_started_is_an_error(few):
    backend = CudaBackend(few)
    one, other = awkward_batches(9, 2)
    one.start_on(backend)
    with pytest.raises(DeshpcError, match="another one asked for"):
        other.on(backend)
    backend.close()


def data_of(n):
    """A data set of n rows."""
    rng = np.random.default_rng(5)
    counts = rng.integers(0, 5, n)
    offsets = np.concatenate([[0], counts.cumsum()]).astype(np.int64)
    keys = rng.integers(1, 2**63, 90, dtype=np.uint64)[rng.integers(0, 90, offsets[-1])]
    return Dataset(
        offsets, keys, np.zeros(len(keys), np.uint16), None, rng.standard_normal((n, 2)).astype(np.float32),
        rng.integers(0, 2, n).astype(np.float32),
    )  # fmt: skip


def test_a_batch_is_valid_until_the_one_after_the_next_is_asked_for(few):
    """As without a batch ahead, with a reader that uses its arrays again and again."""
    backend, before = CudaBackend(few), []
    reader = Reader(data_of(400), 50, lambda samples: (0, samples), backend.host_buffers, 3, True, 128, 1, 3)
    for batch in gathered_ahead(backend, reader.epoch(0)):
        arrays = batch.begins, batch.ends, batch.dense, batch.labels
        before = [*before[-1:], (arrays, [array.copy() for array in arrays])]
        for held, copies in before:
            assert all(map(np.array_equal, held, copies))
        batch.on(backend)
    backend.close()


@pytest.mark.parametrize("overlap", ["on", "off"])
def test_training_reads_the_same_batches(few, overlap):
    data = data_of(700)
    config = small_config("fm", precision="float32", overlap=overlap)
    found = []
    for ahead in (True, False):
        backend = CudaBackend(few)
        with small_model(MPI.COMM_SELF, config, backend=backend) as model:
            reader = Reader(data, 50, lambda samples: (0, samples), backend.host_buffers, 3, True, 128, 1, 3 if ahead else 2)
            batches = reader.epoch(0)
            batches = gathered_ahead(backend, batches) if ahead else batches
            losses = [one.loss for one in steps(model, batches)]
            rows = all_rows(model)
            found.append((losses, rows.keys.tobytes(), rows.numbers.tobytes()))
    assert len(found[0][0]) == 14 and found[0] == found[1]
