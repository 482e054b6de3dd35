"""Tables whose rows come and go, against dictionaries in float64 over random histories, through checkpoints of what has changed and load on other numbers
of ranks.

The sets of rows and of waiting keys are equal, weights and optimizer state agree, for 1 to 4 ranks and 1 or 2 threads each.
"""

from dataclasses import replace

import numpy as np
import pytest
from living_histories import STEPS, check, histories, plain_first, waiting_of
from mpi4py import MPI
from saved_models import assert_same_rows, joined, manifest_of, some_ranks
from small_training import DIM, INIT_STD, RULES, all_rows, reads, small_config, small_model
from synthetic_batches import FIELD_NAMES, owner_of

from deshpc.checkpoint.checkpoints import Checkpoints
from deshpc.checkpoint.folders import step_folder
from deshpc.checkpoint.load import load_model, row_blocks, verify
from deshpc.config import override
from deshpc.config.load import build
from deshpc.training.step import steps

pytestmark = pytest.mark.mpi

CUTS, TOLERANCE = (21, 42), 1e-9

CASES = {  # name, rule, [table], [train]
    "sights, age and zeros": (
        "lr", "ftrl", {"admit_after": 3, "max_age_steps": 9, "zero_age_steps": 4, "max_waiting_keys": 60, "evict_every_steps": 3},
        {"exchange": "allreduce"},
    ),
    "chances and decayed counts": (
        "fm", "adagrad, clipped",
        {"admit_after": 2, "admit_probability": 0.6, "half_life_steps": 3, "min_decayed_count": 0.2, "max_rows": 70, "evict_every_steps": 4},
        {"exchange": "rows", "overlap": "on"},
    ),
    "the last seen of a budget": (
        "fm", "sgd, clipped", {"max_rows": 50, "evict_every_steps": 5}, {"exchange": "reduce_scatter", "routing": "broadcast", "overlap": "on"},
    ),
    "fields, fixed point": (
        "lr", "adagrad", {"admit_after": 2, "half_life_steps": 4, "max_rows": 40, "max_age_steps": 20, "evict_every_steps": 1},
        {"split": "field", "accumulate": "int64"},
    ),
    "bytes of a rank": ("lr", "adagrad", {"admit_probability": 0.7, "max_bytes_per_rank": 2000, "evict_every_steps": 7}, {}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_rows_come_and_go_as_in_dictionaries(world, tmp_path, case):
    name, rule, table, train = CASES[case]
    config = override(small_config(name, rule=RULES[rule], **train), *(f"table.{option}={value}" for option, value in table.items()))
    batches, folder, plain = histories(), world.bcast(tmp_path), plain_first(config, name, rule, table)
    tolerance = 1e-6 if train.get("accumulate") else TOLERANCE
    for phase, (begin, end) in enumerate(zip((0, *CUTS), (*CUTS, STEPS), strict=True)):
        size = world.size if phase != 1 else max(1, world.size - 1)
        before, plain = plain, plain.after(batches[begin:end], lambda key, size=size: owner_of(key, size))
        with some_ranks(world, size) as comm:
            if comm is None:
                continue
            with small_model(comm, config, threads=1 + (phase + world.size) % 2) as model:
                if phase:
                    load_model(model, step_folder(folder / str(phase - 1), begin))
                    check(model, before, tolerance)
                checkpoints, found, middle = Checkpoints(model, folder / str(phase), 1, phase < 2, full_every=2), [], begin + 7
                for first, last in ((begin, middle), (middle, end)):  # a whole one, and what has changed since, from which the next begin
                    found += [one.loss for one in steps(model, [reads(model, batch) for batch in batches[first:last]])]
                    checkpoints.write(manifest_of(model, config, last))
                checkpoints.finish()
                assert np.allclose(found, plain.losses, rtol=tolerance)
                check(model, plain, tolerance)
    assert plain.removed and {*plain.weights} & plain.removed  # rows went, and some of their keys came back


DEEP = {  # of [model], of [train]
    "replicated": ({"name": "deepfm", "hidden": [5], "fields": [{"name": FIELD_NAMES[2], "replicated": True}]}, {"exchange": "rows"}),
    "dimensions": ({"name": "dcn", "hidden": [5], "fields": [{"name": FIELD_NAMES[0], "dim": 2}]}, {"exchange": "reduce_scatter"}),
    "columns": ({"name": "fm"}, {"split": "column", "routing": "broadcast"}),
}  # fmt: skip


@pytest.mark.parametrize("case", DEEP)
def test_every_kind_of_table_keeps_the_rows_that_one_rank_keeps(world, tmp_path, case):
    model, train = DEEP[case]
    options = {"admit_after": 2, "half_life_steps": 5, "min_decayed_count": 0.3, "max_age_steps": 12, "max_rows": 45, "evict_every_steps": 4}
    config = build({
        "data": {"format": "synthetic"}, "model": {"dim": DIM, "init_std": INIT_STD, **model}, "table": options,
        "train": {"precision": "float64", "overlap": "on", **train},
    })  # fmt: skip
    found = []
    for comm, threads in ((MPI.COMM_SELF, 1), (world, 2)):
        with small_model(comm, config, threads) as deep:
            folder, losses = world.bcast(tmp_path) / str(threads), []
            checkpoints = Checkpoints(deep, folder, 1, True, full_every=2)
            for begin, end in ((0, 22), (22, 40)):
                losses += [one.loss for one in steps(deep, [reads(deep, batch) for batch in histories()[begin:end]])]
                if comm is world:
                    checkpoints.write(manifest_of(deep, config, end))
            checkpoints.finish()
            found.append((all_rows(deep), losses, waiting_of(deep)))
    (rows, losses, waiting), (others, other_losses, other_waiting) = found
    divided = rows.fields != 2 if case == "replicated" else np.ones(len(rows), bool)
    assert divided.sum() == 45 and (case != "replicated" or not divided.all()) and waiting
    for name in ("keys", "counts", "steps", "decayed"):
        assert np.array_equal(getattr(rows, name), getattr(others, name)), name
    assert np.allclose(rows.numbers, others.numbers, rtol=0, atol=1e-9) and np.allclose(losses, other_losses)
    assert waiting == other_waiting
    manifest = verify(step_folder(folder, 40))
    assert manifest["base"]["steps"] == 22
    on_disk = joined(row_blocks(step_folder(folder, 40), manifest))
    assert on_disk.decayed.astype(np.float32).tolist() == others.decayed.astype(np.float32).tolist()
    assert_same_rows(replace(on_disk, decayed=None), replace(others, decayed=None))
