"""A run calls no kernel in its steps that it has not called before them: each would be compiled there, or read from disk.

Numba's own dispatchers say what they meet for the first time.  scripts/attacks/late_kernels.py asks runs of every combination.
"""

from itertools import product

import pytest
from late_kernels import late_kernels

import deshpc

pytestmark = [pytest.mark.mpi, pytest.mark.in_turns]

WAYS = [
    *product(("key",), ("allreduce", "reduce_scatter", "rows"), ("broadcast", "routed")),
    *product(("field",), ("pooled", "rows"), ("broadcast",)), ("column", "allreduce", "broadcast"),
]  # fmt: skip


REPLICATED = [way for way in WAYS if way[2] == "broadcast" and way[0] != "column"]  # elsewhere some exchanges refuse them


@pytest.mark.parametrize(
    ("split", "exchange", "routing", "replicated"), [*((*way, ()) for way in WAYS), *((*way, ("c0", "c7")) for way in REPLICATED)]
)
def test_steps_meet_no_kernel_for_the_first_time(world, directory, split, exchange, routing, replicated):
    config = {
        "data": {"format": "synthetic", "synthetic": {"train_rows": 500, "valid_rows": 50}},
        "model": {"name": "deepfm", "dim": 4, "hidden": [3], "fields": [{"name": name, "replicated": True} for name in replicated]},
        "train": {"split": split, "exchange": exchange, "routing": routing, "global_batch_samples": 240},  # a batch of 20 is left
        "compute": {"threads_per_rank": 1},
        "run": {"directory": str(directory), "save_model": False},
    }  # fmt: skip
    with late_kernels() as late:
        deshpc.train(config, world)
    assert late == []
