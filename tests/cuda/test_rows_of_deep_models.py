"""Tables of deep models on a device, and the operators on them: rows that have their fields, no linear weight or no own terms.

Step by step against the CPU backend, with gradients of the states that are drawn: in fixed point everything has its bits.
"""

from typing import NamedTuple

import numpy as np
import pytest
from device_rows import FIXED, SINGLE, assert_same_bits
from mpi4py import MPI
from small_training import small_config
from synthetic_batches import N_FIELDS, awkward_batches

from deshpc.backend.cuda.backend import CudaBackend
from deshpc.backend.exact_norm import total
from deshpc.backend.open import open_backend
from deshpc.comm.group import Group
from deshpc.hashing.partition import KeyPartition
from deshpc.ops.bi_interaction import BiInteraction
from deshpc.ops.by_samples import BySamples
from deshpc.ops.pool import Pool
from deshpc.route.routed import RoutedBatch, WholeBatch
from deshpc.table.optimizer import open_optimizer
from deshpc.table.table import Table

DIM, ROOM, SCALE = 8, 3, 2.0**40
STEPS = (0, 1, 3, 4, 5)  # one without keys, one of a single key


class Found(NamedTuple):
    train: bool


class Steps:
    """What a table and its operator come to on one backend."""

    def __init__(self, backend, group, kind, rule, linear, squares, bi_interaction, weighted):
        self.backend, self.kind = backend, kind
        optimizer = open_optimizer(small_config(optimizer=rule, rate=0.1).optimizer)
        self.partition = KeyPartition(1, 1)
        self.table = Table(
            backend, group, self.partition, int(linear), DIM, kind.storage, kind.compute, optimizer, 7, 0.3, sums=kind.sums,
            own_terms=squares, by_field=not bi_interaction,
        )  # fmt: skip
        columns = DIM * np.arange(N_FIELDS)[::-1]
        form = self.table.form
        operator = BiInteraction(backend, form) if bi_interaction else Pool(backend, form, columns, linear, squares)
        self.operator = BySamples(backend, group, self.table, operator, ROOM, repeats=False)
        self.batches = awkward_batches(5, max(STEPS) + 1, weighted)
        self.found = []  # arrays and numbers, in order

    def run(self):
        """All that the steps give, and the rows at the end."""
        for step in STEPS:
            self.step(step, self.batches[step])
        self.look_up(self.batches[2], insert=False)  # of which some keys are unseen
        rows = self.table.export()
        return [*self.found, rows.keys, rows.fields, rows.counts, rows.steps, rows.numbers]

    def look_up(self, batch, insert):
        batch = batch.on(self.backend)
        owned = [WholeBatch(batch, self.partition, 0)]
        shards = self.table.look_up(RoutedBatch(batch.step, len(batch), batch, batch.labels, batch.dense, owned), insert)
        state = self.operator.partial(shards, len(batch), SCALE, Found(insert), stays=True)
        width = self.operator.width
        self.found.append(np.ascontiguousarray(self.backend.host(state)[:, :width]))
        self.found.append(np.array(self.operator.magnitude(shards)))
        return shards, state.shape[1]

    def step(self, step, batch):
        shards, columns = self.look_up(batch, insert=True)
        gradient = np.random.default_rng(step).standard_normal((len(batch), columns)).astype(self.kind.compute)
        on_device, largest = self.backend.array(gradient), self.backend.array(np.ones(len(batch)))
        self.operator.partial_adjoint(shards, on_device, SCALE)
        bound = self.operator.largest_term(None, on_device, None, largest, 0, len(batch))
        self.found.append(np.array(bound))
        inverse_scale = 1 / SCALE if self.kind.fixed else 1.0
        self.found.append(np.array(total(self.table.square_norm(shards, inverse_scale)())))
        self.table.update(shards, step + 1, 0.5, inverse_scale)


@pytest.mark.thorough(2)
@pytest.mark.parametrize(
    "kind, rule, linear, squares, bi_interaction, weighted",
    [(FIXED, "ftrl", True, True, False, 2), (FIXED, "adagrad", False, False, False, 0), (FIXED, "adam", True, False, True, 1),
     (FIXED, "rowwise_adagrad", False, True, False, 1), (SINGLE, "adagrad", True, False, False, 1),
     (SINGLE, "adagrad", True, False, True, 0)],
    ids=str,
)  # fmt: skip
def test_steps(few, kind, rule, linear, squares, bi_interaction, weighted):
    arguments = kind, rule, linear, squares, bi_interaction, weighted
    group = Group(MPI.COMM_SELF)
    expected, found = (Steps(backend, group, *arguments).run() for backend in (open_backend("cpu", 1), CudaBackend(few)))
    group.free()
    for one, other in zip(found, expected, strict=True):
        if kind.fixed:
            assert_same_bits(one, other)
        else:  # keys of many occurrences are added up in another order, by which weights of later steps differ
            assert one.dtype == other.dtype
            assert np.allclose(one, other, rtol=1e-4, atol=1e-5)
    assert len(expected[-1]) > 100
