"""Runs on a device whose rows come and go, against dictionaries in float64, through save and load.

The sets of rows and of waiting keys are equal, decayed counts and weights agree, on one rank and on several, which add up the digits of
a budget.
"""

import numpy as np
import pytest
from cuda_device import REAL
from living_histories import check, histories, plain_first
from saved_models import manifest_of
from small_training import RULES, reads, small_config, small_model
from synthetic_batches import owner_of

from deshpc.backend.cuda.backend import CudaBackend
from deshpc.checkpoint.load import load_model
from deshpc.checkpoint.save import save_model
from deshpc.config import override
from deshpc.training.step import steps

pytestmark = pytest.mark.mpi

CUT, END = 14, 28
CASES = {  # name, rule, [table], [train]
    "sights, age and zeros": (
        "lr", "ftrl", {"admit_after": 2, "max_age_steps": 7, "zero_age_steps": 3, "max_waiting_keys": 50, "evict_every_steps": 3},
        {"exchange": "allreduce", "accumulate": "int64"},
    ),
    "chances and decayed counts": (
        "fm", "adagrad, clipped",
        {"admit_after": 2, "admit_probability": 0.6, "half_life_steps": 1, "min_decayed_count": 0.02, "max_rows": 50, "evict_every_steps": 4},
        {"exchange": "rows", "overlap": "on"},
    ),
    "the last seen of two budgets": (
        "fm", "sgd, clipped", {"max_rows": 40, "max_bytes_per_rank": 5000, "evict_every_steps": 5},
        {"exchange": "reduce_scatter", "routing": "broadcast", "overlap": "on"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_rows_come_and_go_on_a_device_as_in_dictionaries(world, few, tmp_path, case):
    name, rule, table, train = CASES[case]
    config = override(small_config(name, rule=RULES[rule], **train), *(f"table.{option}={value}" for option, value in table.items()))
    batches, folder = histories(), world.bcast(tmp_path)
    plain, tolerance = plain_first(config, name, rule, table, CudaBackend(few)), 1e-6 if train.get("accumulate") else 1e-9
    for begin, end in ((0, CUT), (CUT, END)):
        before, plain = plain, plain.after(batches[begin:end], lambda key: owner_of(key, world.size))
        with small_model(world, config, backend=CudaBackend(few)) as model:
            if begin:
                load_model(model, folder / "half")
                check(model, before, tolerance)
            found = [one.loss for one in steps(model, [reads(model, batch) for batch in batches[begin:end]])]
            assert np.allclose(found, plain.losses, rtol=tolerance)
            check(model, plain, tolerance)
            save_model(model, folder / "half", manifest_of(model, config, end))
    assert plain.removed and {*plain.weights} & plain.removed  # rows went, and some of their keys came back


def test_a_look_waits_once(few, world):
    """On one rank, for how many rows are left: whatever goes by, and however many digits a budget has."""
    if REAL or world.size > 1:
        pytest.skip("what a real device waits for is not counted, and several ranks add up digits")
    table = {"admit_after": 2, "max_age_steps": 4, "max_waiting_keys": 5, "half_life_steps": 2, "max_rows": 30, "evict_every_steps": 100}
    config = override(small_config("lr"), *(f"table.{option}={value}" for option, value in table.items()))
    with small_model(world, config, backend=CudaBackend(few)) as model:
        for _ in steps(model, histories()[:8]):
            pass
        before = few.synchronisations
        model.eviction.evict(7)
        assert few.synchronisations == before + 1 and model.eviction.last_look["rows"] == len(model.table) == 30
        assert model.table.waiting_keys == 5 and few.synchronisations == before + 1
        model.eviction.meet_kernels()
        assert len(model.table) == model.table.waiting_keys == 0
