"""Towers in blocks: how samples are cut, that each thread adds up in slots of its own, and that threads hardly matter."""

import threading
from collections import defaultdict
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from deep_training import MODELS, deep_config, joined, randomise
from mpi4py import MPI
from small_training import all_rows, insert, reads, small_model
from synthetic_batches import awkward_batches

from deshpc.comm.shares import slice_of
from deshpc.nn.blocks import block_edges, fixed_edges
from deshpc.nn.slot_sums import SlotSums
from deshpc.training.step import step

SIZES = [*range(700), 8191, 8192, 8193, 32_769, 100_000]


def check_edges(edges, samples):
    """All samples in order, in blocks of about one size that are not too large."""
    assert edges[0] == 0 and edges[-1] == samples and edges == sorted(edges)
    assert max(np.diff(edges)) <= 2048 and max(np.diff(edges)) - min(np.diff(edges)) <= 1


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_blocks_are_all_samples_in_order_and_not_too_large(threads):
    for samples in SIZES:
        edges = block_edges(samples, SimpleNamespace(threads=threads, block_samples=2048))
        check_edges(edges, samples)
        assert (len(edges) - 1) % threads == 0 or samples < 32 * threads  # every thread has as many


def test_blocks_of_fixed_point_are_the_same_on_any_ranks():
    """Side by side, those of the ranks' shares are those of one rank, and so many in each of the batch's sixteenths."""
    before, backend = 0, SimpleNamespace(block_samples=2048)  # knows no threads
    for samples in SIZES:
        alone = fixed_edges(samples, backend)
        check_edges(alone, samples)
        assert len(alone) - 1 >= before and (len(alone) - 1) % 16 == 0  # the slots of the largest batch are enough for any
        before = len(alone) - 1
        for ranks in (1, 2, 4, 8, 16):
            found = [0]
            for rank in range(ranks):
                begin, end = slice_of(samples, ranks, rank)
                edges = fixed_edges(samples, backend, ranks, rank)
                assert edges[0] == 0 and edges[-1] == end - begin and len(edges) - 1 == before // ranks
                found += [begin + edge for edge in edges[1:]]
            assert found == alone


@pytest.mark.parametrize("samples", [96, 101, 175])  # 3 and 5 blocks
@pytest.mark.parametrize("threads", [2, 3])
def test_no_two_threads_add_up_in_one_slot(threads, samples, monkeypatch):
    users, of = defaultdict(set), SlotSums.of

    def watched(self, slot, name):
        users[id(self), slot].add(threading.get_ident())
        return of(self, slot, name)

    monkeypatch.setattr(SlotSums, "of", watched)
    batch = replace(joined(awkward_batches(61, steps=8)).share(0, samples), global_samples=samples)
    with small_model(MPI.COMM_SELF, deep_config("wide_deep"), threads) as model:
        step(model, reads(model, batch))
    assert len(users) > 1 and all(len(idents) == 1 for idents in users.values())


@pytest.mark.parametrize("kind", MODELS)
def test_gradients_on_any_number_of_threads(kind):
    """The same but for the order in which they are added, and in fixed point the same bits."""
    batch, rule = joined(awkward_batches(62, steps=10)), {"name": "sgd", "learning_rate": 1.0, "reduction": "sum"}
    for accumulate, tolerance in (("float64", 1e-12), ("int64", 0.0)):
        moved = []
        for threads in (1, 2, 3):
            model = {"normalisation": "batch", "dropout": 0.2}
            config = deep_config(kind, rule=rule, model=model, accumulate=accumulate, exchange="allreduce")
            with small_model(MPI.COMM_SELF, config, threads) as model:
                insert(model, reads(model, batch))
                randomise(model)
                before = all_rows(model).numbers, model.parameters.arrays()["values"]
                step(model, reads(model, batch))
                moved.append([all_rows(model).numbers - before[0], model.parameters.arrays()["values"] - before[1]])
        for other in moved[1:]:
            for one, expected in zip(other, moved[0], strict=True):
                assert np.abs(one - expected).max() <= tolerance * np.abs(expected).max()
