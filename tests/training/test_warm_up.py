"""A run calls no kernel in its steps that it has not called before them: each would be compiled there, or read from disk.

Numba's own dispatchers say what they meet for the first time.  scripts/attacks/late_kernels.py asks runs of every combination.
"""

from itertools import product

import numpy as np
import pytest
from late_kernels import late_kernels

import deshpc
from deshpc.comm.boards import Boards
from deshpc.training import session

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


ROWS = {
    "several labels": ({"name": "mmoe", "dim": 5, "hidden": [6], "task_hidden": [3], "experts": 2}, {"learning_rate": 0.1}, 1.0),
    "one label": ({"name": "deepfm", "dim": 4, "hidden": [6]}, {"learning_rate": 0.1}, 1.0),
    "steps that only small batches bear": ({"name": "fm", "dim": 4}, {"name": "sgd", "reduction": "sum", "learning_rate": 0.4}, 60.0),
}


@pytest.mark.parametrize("case", ROWS)
def test_a_warm_up_decides_nothing(world, directory, case, monkeypatch):
    """Neither what its board's memory holds nor samples and steps of its own can refuse a run that trains, or change a bit of it."""
    fill_boards(monkeypatch)
    model, optimizer, largest = ROWS[case]
    several = case == "several labels"
    if world.rank == 0:
        write_rows(directory / "rows.csv", largest)
    world.Barrier()
    config = {
        "data": {
            "train": [str(directory / "rows.csv")], "valid": [str(directory / "rows.csv")],
            "label": ["click", "buy"] if several else "click",
            "fields": [{"name": "user"}, {"name": "price", "kind": "dense", "transform": "none"}],
        },
        "model": model, "optimizer": optimizer, "compute": {"threads_per_rank": 1},
        "train": {"global_batch_samples": 8, "accumulate": "int64"},
    }  # fmt: skip
    found = []
    for warm in (session.warm_up, lambda *arguments: None):
        monkeypatch.setattr(session, "warm_up", warm)
        config["run"] = {"directory": str(directory / f"run{len(found)}"), "save_model": False}
        found.append(repr(deshpc.train(config, world).valid))
    assert found[0] == found[1]


def write_rows(path, largest):
    """A file of 64 samples, of which some do not know their second label."""
    rng = np.random.default_rng(1)
    path.parent.mkdir(exist_ok=True)
    lines = ["click,buy,user,price"]
    for _ in range(64):
        bought = "" if rng.random() < 0.3 else rng.integers(0, 2)
        lines.append(f"{rng.integers(0, 2)},{bought},{rng.integers(0, 9)},{largest * rng.random()}")
    path.write_text("\n".join(lines) + "\n")


def fill_boards(monkeypatch):
    """Let boards that nobody has written yet hold what is not a number."""
    opened = Boards._open

    def filled(self, *arguments):
        board = opened(self, *arguments)
        board.of_ranks[self._comm.rank][...] = 0xFF
        if self._comm.rank == 0 or self._alone:
            board.shared[...] = 0xFF
        self._comm.allgather(None)
        return board

    monkeypatch.setattr(Boards, "_open", filled)
