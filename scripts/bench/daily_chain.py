"""Real days in a chain: what starting from yesterday's model gives, and takes, beside training from scratch on all days so far.

    mpiexec -n 2 python scripts/bench/daily_chain.py SOURCE [--days 14] [--tune 7] [--out daily_chain.json]

SOURCE : folder of the raw files of KuaiRand, see examples/kuairand/README.md; its 14 days are 2022-04-25 to 05-08

The FM of examples/kuairand/fm.toml.  Each day is scored by a model of the days before it:

chain     `deshpc train --days`: yesterday's model, which learns the day afterwards
scratch   a new model, of all days before

Learning rate and passes of either are chosen on the first days (--tune), by the AUC of the last of them; the days that follow are shown.
A time is that of a whole call: rows are read, scored and learnt, the model is loaded and saved.  Kernels are compiled before.
"""

import argparse
import csv
import json
import os
import platform
import sys
import tempfile
import time
from dataclasses import asdict, replace
from itertools import groupby, product
from pathlib import Path

import deshpc
from deshpc.config import load, override
from deshpc.storage.whole_file import write_text

HERE = Path(__file__).parents[2]
CHOICES = {"chain": ((0.01, 0.02, 0.05), (1, 2, 4)), "scratch": ((0.01, 0.02), (4, 6, 8))}  # rates, passes
BATCH = 1024


def write_days(source, folder):
    """Write DATE.csv for every day of the impressions."""
    sys.path.insert(0, str(HERE / "examples" / "kuairand"))
    import prepare

    users, videos = prepare.by("user_id", source / "users.csv.gz"), prepare.by("video_id", source / "videos.csv.gz")
    rows = (row for part in ("train", "valid", "test") for row in prepare.read(source / f"{part}.csv.gz"))
    for date, of_day in groupby(sorted(rows, key=lambda row: row["date"]), lambda row: row["date"]):
        with open(folder / f"{date}.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(prepare.COLUMNS)
            writer.writerows(prepare.joined(row, users.get(row["user_id"], {}), videos.get(row["video_id"], {}), {}) for row in of_day)


class Bench:
    """Trainings of days, files in the order of time, on all ranks."""

    def __init__(self, comm, days, folder):
        self._comm, self._days, self._folder, self._runs = comm, days, folder, 0
        self._config = load(HERE / "examples" / "kuairand" / "fm.toml", [f"train.global_batch_samples={BATCH}", "train.stop_metric=none"])

    def _config_of(self, rate, passes):
        self._runs += 1
        return override(
            replace(self._config, data=replace(self._config.data, train=(self._days[0],), valid=(), test=())),
            f"optimizer.learning_rate={rate}", f"train.epochs={passes}", f"run.directory={self._folder / f'run-{self._runs}'}",
        )  # fmt: skip

    def chain(self, count, *choice):
        """[{"day", "auc", "log_loss", "normalized_entropy", "calibration", "seconds"}] of the days after the first."""
        chain = deshpc.train_days(self._config_of(*choice), self._days[:count], self._comm)
        return [self._line(day.day, day.before, day.seconds) for day in chain.days[1:]]

    def scratch(self, number, *choice):
        """The same of day `number`, by a model of those before."""
        config = self._config_of(*choice)
        config = replace(config, data=replace(config.data, train=tuple(self._days[:number]), test=(self._days[number],)))
        begin = time.perf_counter()
        result = deshpc.train(config, self._comm)
        return self._line(Path(self._days[number]).stem, asdict(result.test), time.perf_counter() - begin)

    @staticmethod
    def _line(day, metrics, seconds):
        names = ("rows", "auc", "log_loss", "normalized_entropy", "calibration")
        return {"day": day, **{name: metrics[name] for name in names}, "seconds": seconds}


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("source", type=Path, metavar="SOURCE")
    options.add_argument("--days", type=int, default=14)
    options.add_argument("--tune", type=int, default=7)
    options.add_argument("--out", type=Path, default=Path("daily_chain.json"))
    options = options.parse_args()
    with deshpc.ranks() as comm, tempfile.TemporaryDirectory() as own:
        folder = Path(comm.bcast(own))
        if comm.rank == 0:
            (folder / "days").mkdir()
            write_days(options.source, folder / "days")
        comm.Barrier()
        days = sorted(map(str, (folder / "days").iterdir()))[: options.days]
        bench = Bench(comm, days, folder)
        bench.chain(2, 0.01, 1)  # compiles
        tried = {
            "chain": [[*choice, bench.chain(options.tune, *choice)[-1]["auc"]] for choice in product(*CHOICES["chain"])],
            "scratch": [[*choice, bench.scratch(options.tune - 1, *choice)["auc"]] for choice in product(*CHOICES["scratch"])],
        }
        chosen = {name: max(ones, key=lambda one: one[-1])[:-1] for name, ones in tried.items()}
        shown = range(options.tune, len(days))
        found = {
            "chain": bench.chain(len(days), *chosen["chain"])[options.tune - 1 :],
            "scratch": [bench.scratch(number, *chosen["scratch"]) for number in shown],
        }
        if comm.rank == 0:
            report(options, comm.size, tried, chosen, found)
        comm.Barrier()


def report(options, ranks, tried, chosen, found):
    """Print the table, and write everything."""
    print(f"chosen on the first {options.tune} days (rate, passes): {chosen}")
    print("day        chain: AUC  log-loss  seconds   scratch: AUC  log-loss  seconds")
    for one, other in zip(found["chain"], found["scratch"], strict=True):
        cells = "   ".join(f"{line['auc']:.4f}    {line['log_loss']:.4f}  {line['seconds']:7.1f}" for line in (one, other))
        print(f"{one['day']}   {cells}")
    for name, lines in found.items():
        rows = sum(line["rows"] for line in lines)
        auc, loss = (sum(line["rows"] * line[metric] for line in lines) / rows for metric in ("auc", "log_loss"))
        print(f"{name}: mean AUC {auc:.4f}, mean log-loss {loss:.4f}, {sum(line['seconds'] for line in lines):.1f} s")
    about = {"machine": platform.processor() or platform.machine(), "cores": os.cpu_count(), "ranks": ranks, "deshpc": deshpc.__version__, "load": os.getloadavg()}
    write_text(options.out, json.dumps({"about": about, "batch": BATCH, "tried": tried, "chosen": chosen, "days": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
