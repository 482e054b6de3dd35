"""A number that is not finite is found before it is saved, and named: of a row, of its optimizer's state, of a dense parameter.

One number of a sound model is spoilt, on whichever rank has it.  All ranks raise the same error, once, and what was saved before
is there byte for byte.
"""

import numpy as np
import pytest
from deep_training import deep_config
from saved_models import files_of, manifest_of
from small_training import DIM, all_rows, reads, small_config, small_model
from synthetic_batches import awkward_batches

from deshpc.checkpoint.checkpoints import Checkpoints
from deshpc.checkpoint.finite import require_finite
from deshpc.checkpoint.save import save_model
from deshpc.errors import DeshpcError
from deshpc.training.step import step

pytestmark = pytest.mark.mpi

CASES = {  # options of [train], number of a row to be spoilt, what the error calls it: fm has w, v, then as many of state
    "by key": ({}, 0, "the linear weight"),
    "by field": ({"split": "field"}, 2, "embedding column 1"),
    "by column": ({"split": "column", "routing": "broadcast"}, DIM, f"embedding column {DIM - 1}"),
    "state by key": ({}, 1 + DIM, "the optimizer's state of the linear weight"),
    "state by column": ({"split": "column", "routing": "broadcast"}, 1 + DIM + 3, "the optimizer's state of the embedding"),
}


@pytest.fixture
def folder(world, tmp_path):
    """One folder for all ranks."""
    return world.bcast(tmp_path)


def trained(model):
    for batch in awkward_batches(3, 3):
        step(model, reads(model, batch))


def failed(world, task):
    """The message of the DeshpcError on which all ranks have agreed."""
    with pytest.raises(DeshpcError) as caught:
        task()
    assert caught.value.exit_code == 1 and caught.value.agreed == world.size
    return str(caught.value)


def same_on_all(world, thing):
    everything = world.allgather(thing)
    assert everything == everything[:1] * world.size
    return thing


def spoil(model, place, value):
    """Give a number of the row in the middle, by key, this value; returns the row's key and field.  Collective."""
    rows = all_rows(model)
    middle = len(rows) // 2
    rows.numbers[middle, place] = value
    model.table.load(rows)
    return int(rows.keys[middle]), int(rows.fields[middle])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_number_of_a_row(world, folder, case, value):
    train, place, name = CASES[case]
    config = small_config(**train)
    with small_model(world, config) as model:
        trained(model)
        manifest = manifest_of(model, config, 3)
        require_finite(model, manifest)
        save_model(model, folder / "model", manifest)
        before = same_on_all(world, files_of(folder))
        key, field = spoil(model, place, value)
        ways = [lambda: save_model(model, folder / "model", manifest), lambda: require_finite(model, manifest)]
        for message in (failed(world, way) for way in ways):
            same_on_all(world, message)
            assert f"after 3 steps {name} of key {key} (field number {field}) is {value}: training diverged" in message
            assert "lower optimizer.learning_rate" in message
        assert {name: content for name, content in files_of(folder).items() if ".partial" not in name} == before


@pytest.mark.parametrize("background", [True, False])
def test_checkpoints_of_before_stay(world, folder, background):
    config = small_config()
    with small_model(world, config) as model:
        trained(model)
        checkpoints = Checkpoints(model, folder, 3, background)
        for steps in (1, 2):
            checkpoints.write(manifest_of(model, config, steps))
        checkpoints.finish()
        before = same_on_all(world, files_of(folder))
        spoil(model, 1, -np.inf)

        def write():
            checkpoints.write(manifest_of(model, config, 3))
            checkpoints.finish()

        assert "embedding column 0" in same_on_all(world, failed(world, write))
        world.Barrier()
        found = {name: content for name, content in files_of(folder).items() if ".partial" not in name}
        assert found == before and sorted(path.name for path in (folder / "checkpoints").iterdir() if path.suffix == "") == [
            "step-000000000001", "step-000000000002",
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "index", "text"),
    [("deep.0.weights", (2, 1), "deep.0.weights[2, 1]"), ("bias", (), "bias"), ("deep.1.mean", (3,), "deep.1.mean[3]"), (None, (), "")],
)
def test_a_dense_parameter(world, folder, name, index, text):
    config = deep_config("wide_deep", model={"normalisation": "batch"})
    with small_model(world, config) as model:
        trained(model)
        if name is None:
            model.parameters.state[5] = np.nan
            text = "the optimizer's state of a dense parameter"
        else:
            model.parameters[name][index] = np.nan
            text = f"the dense parameter {text}"
        manifest = manifest_of(model, config, 3)
        for task in (lambda: save_model(model, folder / "model", manifest), lambda: require_finite(model, manifest)):
            assert f"after 3 steps {text} is nan" in same_on_all(world, failed(world, task))
        assert not (folder / "model").exists()
