"""Training whose exchanges go node by node: in fixed point the bits of one rank, on nodes of any ranks."""

from functools import cache

import pytest
from mpi4py import MPI
from pretended_nodes import PLACES, pretend
from small_training import small_config, train_on
from synthetic_batches import awkward_batches

pytestmark = pytest.mark.mpi


CONFIG = small_config("fm", precision="float32", accumulate="int64", levels="two")


@cache
def batches():
    return awkward_batches(5, 4, 1)


@cache
def alone():
    return train_on(MPI.COMM_SELF, batches(), CONFIG).digest()


@pytest.mark.parametrize("places", PLACES)
def test_fixed_point_has_the_bits_of_one_rank(world, monkeypatch, places):
    expected = alone()
    pretend(monkeypatch, places)
    assert train_on(world, batches(), CONFIG).digest() == expected
