"""Train small runs of every kind, and name each kernel that is compiled, or loaded, only after the run said it had all of them.

    mpiexec -n 2 python scripts/attacks/late_kernels.py [--drawn 100] [--seed 1] [--only TEXT]

Before step 0 a run compiles all that a step calls (`training.session.warm_up`).  What it forgets is compiled in the middle of step 0, where
the watchdog counts the seconds, and on every rank at once.  Runs: every combination of model, split, first layer, exchange and routing,
with and without dense features and values, and configurations drawn from the schema.  Exit code 1 if a kernel came late.  Collective.
"""

import argparse
import dataclasses
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from drawn_config import FEW_KERNELS, Draw  # noqa: E402
from every_combination import COMBINATIONS, combined  # noqa: E402
from late_kernels import late_kernels  # noqa: E402

import deshpc  # noqa: E402
from deshpc.config.load import build  # noqa: E402
from deshpc.errors import ConfigError  # noqa: E402

ROWS = {  # header, and one of a few lines
    "keys": ("label,a,b,c,d,e,f", "{0},x{1},y{2},z{1},u{2},v{1},w{2}"),
    "dense": ("label,a,b,c,d,p,q", "{0},x{1},y{2},z{1},u{2},{1},.{2}"),
    "weighted": ("label,a,b,c,p,m", "{0},x{1},y{2},z{1},{2},k{1}:2|k{2}"),
}
KINDS = {"p": "dense", "q": "dense", "m": "multi"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--drawn", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", metavar="TEXT", help="combinations whose name has it")
    options = parser.parse_args()
    found, runs = defaultdict(list), 0
    with deshpc.ranks() as world, tempfile.TemporaryDirectory() as own:
        folder = Path(world.bcast(own))
        for name, tree in (*combinations(folder, world.rank), *draws(folder, world, options)):
            if options.only not in name:
                continue
            with mock.patch("sys.stderr", None):
                late = trained(tree, world)
            if late is None:
                continue
            runs += 1
            for one in sorted({one for of_rank in world.allgather(late) for one in of_rank}):
                found[one].append(name)
            if world.rank == 0 and not runs % 25:
                print(f"{runs} runs, {len(found)} kernels late", flush=True)
        if world.rank == 0:
            for (kernel, types, stage), names in sorted(found.items()):
                print(f"LATE: {kernel}({types}) in {stage!r}: {len(names)} runs, such as {names[0]}")
            print(f"{runs} runs on {world.size} ranks: " + (f"{len(found)} kernels came late" if found else "every kernel was there before step 0"))
    return 1 if found else 0


def combinations(folder, rank):
    """(name, configuration) of every combination on each kind of rows."""
    for rows, (header, line) in ROWS.items():
        path = folder / f"{rows}.csv"
        if rank == 0:
            lines = [line.format(int(i % 3 == 0), i % 7, i % 5) for i in range(300)]
            path.write_text("\n".join([header, *lines, ""]), encoding="utf-8")
        fields = [
            {"name": name, "kind": KINDS.get(name, "categorical"), **({"weight_separator": ":"} if name == "m" else {})}
            for name in header.split(",")[1:]
        ]
        for one in COMBINATIONS:
            tree = dataclasses.asdict(combined(one, {"name": "adagrad"}))
            model = {key: list(value) if isinstance(value := tree["model"][key], tuple) else value for key in ("name", "dim", "hidden", "bottom_hidden", "cross_layers", "cross_rank", "cin_layers", "first_layer")}
            yield f"{rows}, {', '.join(one)}", {
                "data": {"format": "csv", "train": [str(path)], "valid": [str(path)], "label": "label", "fields": fields},
                "model": {**model, "dim": 5},
                "optimizer": {"name": "adagrad"},
                "train": {"split": one[1], "exchange": one[3], "routing": one[4], "precision": "float64", "global_batch_samples": 128},
                "compute": {"threads_per_rank": 1},
                "run": {"directory": str(folder / "run"), "save_model": False},
            }  # fmt: skip


def draws(folder, world, options):
    """(name, configuration) of those that are drawn from the schema."""
    for number in range(options.drawn):
        draw = Draw(f"{options.seed}, {number}", folder, FEW_KERNELS)
        if world.rank == 0 and not draw.extreme:
            draw.write_rows()
        world.Barrier()
        if not draw.extreme:
            yield f"drawn {options.seed}, {number}", draw.tree


def trained(tree, world):
    """Kernels that came late on this rank; None where the configuration is refused."""
    try:
        with late_kernels() as late:
            deshpc.train(build(tree), world, overwrite=True)
    except ConfigError:
        return None
    return late


if __name__ == "__main__":
    sys.exit(main())
