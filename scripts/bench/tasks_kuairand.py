"""Click and long view of KuaiRand as two tasks of one model, beside a model of each alone: test AUC and log-loss over seeds.

    python scripts/bench/tasks_kuairand.py SOURCE [--seeds N] [--threads T] [--rate R] [MODEL ...]

SOURCE is the folder of the raw files, see examples/kuairand/prepare.py.  MODEL: click, long_view (Wide & Deep of one label), shared_bottom, mmoe, ple,
esmm; default all.  All have the base fields, the rates and the regularisation of examples/kuairand/dcn.toml, and stop by validation log-loss, of
several tasks by its mean.  R: what the rate is multiplied by, default 1.  Two tasks count one half each, so that L2 weighs as much as beside one.
"""

import argparse
import csv
import gzip
import sys
import tempfile
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "kuairand"
sys.path.insert(0, str(EXAMPLE))

import prepare  # noqa: E402
from seeds import spread  # noqa: E402

import deshpc  # noqa: E402
from deshpc.config import load, resolved  # noqa: E402

LABELS = ["is_click", "long_view"]
MODELS = {
    "click": {"name": "wide_deep", "hidden": [64, 32]},
    "long_view": {"name": "wide_deep", "hidden": [64, 32]},
    "shared_bottom": {"name": "shared_bottom", "hidden": [64], "task_hidden": [32]},
    "mmoe": {"name": "mmoe", "hidden": [64], "task_hidden": [32], "experts": 4},
    "ple": {"name": "ple", "hidden": [64], "task_hidden": [32], "experts": 2, "task_experts": 2, "expert_levels": 2},
    "esmm": {"name": "esmm", "hidden": [64, 32]},
}  # fmt: skip


def write_rows(source, target):
    """The prepared rows with both labels; says how many long views are no clicks."""
    users, videos = prepare.by("user_id", source / "users.csv.gz"), prepare.by("video_id", source / "videos.csv.gz")
    rows = alone = 0
    for part in ("train", "valid", "test"):
        with gzip.open(target / f"{part}.csv.gz", "wt", compresslevel=1, encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*prepare.COLUMNS, "long_view"])
            for row in prepare.read(source / f"{part}.csv.gz"):
                cells = prepare.joined(row, users.get(row["user_id"], {}), videos.get(row["video_id"], {}), {})
                writer.writerow([*cells, row["long_view"]])
                rows, alone = rows + 1, alone + (row["long_view"] == "1" and row["is_click"] == "0")
    print(f"{rows:,} rows; {alone:,} long views are no clicks", flush=True)


def config_of(name, data, seed, threads, run, rate=1.0):
    """A configuration as nested dictionaries."""
    tree = resolved(load(EXAMPLE / "dcn.toml"))
    tree["data"] |= {part: [str(data / f"{part}.csv.gz")] for part in ("train", "valid", "test")}
    alone = {"click": "is_click", "long_view": "long_view"}.get(name)
    tree["data"]["label"] = alone or LABELS
    tree["model"] |= MODELS[name]
    tree["optimizer"]["learning_rate"] *= rate
    tree["model"]["tasks"] = [] if alone else [{"name": label, "weight": 0.5} for label in LABELS]
    tree["train"]["seed"], tree["run"], tree["compute"] = seed, {"directory": str(run)}, {"threads_per_rank": threads}
    return tree


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("models", nargs="*", metavar="MODEL", default=list(MODELS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--rate", type=float, default=1.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_rows(options.source, Path(folder))
        for name in options.models:
            found = {}
            for seed in range(1, options.seeds + 1):
                result = deshpc.train(config_of(name, Path(folder), seed, options.threads, Path(folder) / f"{name}-{seed}", options.rate))
                tasks = result.test.tasks if hasattr(result.test, "tasks") else {"is_click" if name == "click" else name: result.test}
                for task, metrics in tasks.items():
                    found.setdefault(task, []).append(metrics)
            for task, metrics in found.items():
                line = [f"{name:14} {task:10}"]
                for title, entry in (("AUC", "auc"), ("log-loss", "log_loss")):
                    line.append(f"{title} {spread([getattr(one, entry) for one in metrics])}")
                print("  ".join(line), flush=True)


if __name__ == "__main__":
    main()
