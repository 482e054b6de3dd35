"""Weights on a device: a sample of weight 3 is three equal samples, as `steps/test_weights.py` shows on a CPU."""

import numpy as np
import pytest
from mpi4py import MPI
from small_training import RULES, small_config, train_on
from weighted_batches import repeated, weighted_batches

from deshpc.backend.cuda.backend import CudaBackend

pytestmark = pytest.mark.mpi


@pytest.mark.parametrize("exchange", ["allreduce", "reduce_scatter"])
def test_weighted_is_repeated(world, few, exchange):
    """Weights travel to the device with the batch, and there between ranks; their sum comes back with the losses."""
    batches, rule = weighted_batches("sum")[:4], RULES["adagrad"]
    expected = train_on(MPI.COMM_SELF, [repeated(batch) for batch in batches], small_config("fm", rule=rule))
    found = train_on(world, batches, small_config("fm", rule=rule, exchange=exchange), backend=CudaBackend(few))
    for one, other in ((found.losses, expected.losses), (found.rows.numbers, expected.rows.numbers), (found.parameters, expected.parameters)):
        assert np.abs(one - other).max() <= 1e-11 * np.abs(other).max()
