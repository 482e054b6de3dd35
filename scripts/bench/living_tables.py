"""Tables whose rows come and go: what admission, eviction and decayed counts cost, and how a stream that never ends fares with them.

    python scripts/bench/living_tables.py cost [--rows 1000000] [--turns 12] [--models lr fm]
    python scripts/bench/living_tables.py stream [--steps 1500] [--rest 4] [--budget 0.2]

cost     one process, one thread.  Generated rows of the profile criteo, global batch 8192, k = 16, Adagrad.  Every table has had two passes;
         then all make the same ten steps in turns, and look at all their rows after each turn.  Times are the processor's, user and system,
         so other processes disturb them less; a look counts by its share of the steps between two.
stream   FM, k = 8, Adagrad, global batch 8192, each table in a process of its own.  Of a step's keys (8 fields), most are of a window that
         moves on: born lately, asked for less and less as they grow old; some are of a fixed set.  The label is drawn by a hidden weight of each
         key.  Every sample is scored before it is learnt from: AUC is of the last half, against never evicting, and with a budget.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from itertools import count

import numpy as np

BATCH, MIB = 8192, 2**20
EVERY = 1000  # table.evict_every_steps
TURN = 10
COSTS = {  # options of [table]; max_rows : of the rows of all keys
    "off": {},
    "eviction": {"max_rows": 0.9, "max_age_steps": 100_000},
    "eviction, decayed counts": {"max_rows": 0.9, "half_life_steps": 2_000},
    "admission": {"admit_after": 2},
    "all": {"admit_after": 2, "max_rows": 0.9, "max_age_steps": 100_000, "half_life_steps": 2_000, "min_decayed_count": 1e-6},
}
FIELDS, FIXED, FIXED_SHARE = 8, 20_000, 0.3  # of a stream


def small_model(group, backend, fields, dense, name, dim, table, data=None):
    """A model on one thread, with these options of [table]."""
    from deshpc.config.load import build
    from deshpc.model.build import build_model

    config = build({
        "data": data or {"format": "synthetic"}, "model": {"name": name, "dim": dim}, "table": {"evict_every_steps": 10**9, **table},
        "optimizer": {"name": "adagrad"}, "train": {"global_batch_samples": BATCH},
    })  # fmt: skip
    return build_model(config, backend, group, fields, dense, field_names=[f"f{i}" for i in range(fields)])


def opened():
    """(Group of this rank alone, backend of one thread)."""
    from mpi4py import MPI

    from deshpc.backend.open import open_backend
    from deshpc.comm.group import Group

    group, backend = Group(MPI.COMM_SELF), open_backend("cpu", 1)
    group.take_arrays_of(backend)
    return group, backend


def cost(options):
    """Print what every option costs, beside none."""
    from deshpc.config.load import build
    from deshpc.data.reader import Reader
    from deshpc.data.synthetic import generate
    from deshpc.training.step import step

    group, backend = opened()
    data = {"format": "synthetic", "synthetic": {"profile": "criteo", "train_rows": options.rows}}
    dataset = generate(build({"data": data}).data.synthetic, "train", 0, options.rows)
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {options.rows:,} samples, {options.turns} turns of {TURN} steps; "
          f"milliseconds of processor time; a look every {EVERY:,} steps", flush=True)  # fmt: skip
    keys = len(np.unique(dataset.keys))
    for name in options.models:
        models = {}
        for title, table in COSTS.items():
            table = {option: round(value * keys) if option == "max_rows" else value for option, value in table.items()}
            models[title] = small_model(group, backend, 26, dataset.dense.shape[1], name, 16, table, data)
        reader = Reader(dataset, BATCH, lambda total: (0, total), backend.host_buffers, shuffle=True, block_rows=options.rows, valid=TURN)
        now = 0
        for epoch in (0, 1):
            for batch in reader.epoch(epoch, now):
                for model in models.values():
                    step(model, batch)
                now = batch.step + 1
        times, looks, went = ({title: [] for title in models} for _ in range(3))
        endless = (batch for epoch in count(2) for batch in reader.epoch(epoch, 0))
        for turn in range(options.turns + 1):
            batches = [replace(batch, step=now + i) for i, batch in zip(range(TURN), endless, strict=False)]
            order = list(models)[turn % len(models) :] + list(models)[: turn % len(models)]
            for title in order:
                model, begin = models[title], time.process_time()
                for batch in batches:
                    step(model, batch)
                end = time.process_time()
                evicted = 0
                if model.eviction is not None:
                    before = model.eviction.evicted
                    model.eviction.evict(batches[-1].step)
                    evicted = model.eviction.evicted - before
                if turn:  # the first one compiles
                    times[title].append(1e3 * (end - begin) / TURN)
                    looks[title].append(1e3 * (time.process_time() - end) if model.eviction is not None else 0.0)
                    went[title].append(evicted)
            now = batches[-1].step + 1
        print(f"\n{name}: {keys:,} keys\n{'':<28}{'step':>8}{'look':>8}{'rows':>12}{'a look':>10}   step + look / {EVERY}, of a step without")
        for title, model in models.items():
            whole = [one + look / EVERY for one, look in zip(times[title], looks[title], strict=True)]
            ratios = [100 * (one / off - 1) for one, off in zip(whole, times["off"], strict=True)]
            low, middle, high = np.percentile(ratios, [25, 50, 75])
            print(f"{title:<28}{statistics.median(times[title]):>8.2f}{statistics.median(looks[title]):>8.1f}{len(model.table):>12,}"
                  f"{statistics.median(went[title]):>10,.0f}   {middle:+.1f} % ({low:+.1f} .. {high:+.1f})", flush=True)  # fmt: skip


class Stream:
    """Batches that drift, a function of the step alone."""

    def __init__(self, steps):
        self.born = 600  # keys a field and step
        self.steps = steps

    def numbers(self, rng, step):
        """(BATCH, FIELDS) int64: numbers of keys, those below FIXED of the fixed set, the others in the order of their birth."""
        head = FIXED + (step + 50) * self.born
        age = (self.born * 20 * (rng.random((BATCH, FIELDS)) ** -1.2 - 1)).astype(np.int64)  # half are of the last 25 steps; few are old
        moving = np.maximum(FIXED, head - 1 - age)
        fixed = (FIXED * rng.random((BATCH, FIELDS)) ** 3).astype(np.int64)
        return np.where(rng.random((BATCH, FIELDS)) < FIXED_SHARE, fixed, moving)

    def batch(self, step):
        """A Batch."""
        from deshpc.data.batch import Batch

        rng = np.random.default_rng([7, step])
        numbers, fields = self.numbers(rng, step), np.arange(FIELDS, dtype=np.uint64)
        hashes = _mixed(numbers.astype(np.uint64) * np.uint64(FIELDS) + fields + np.uint64(1))
        weights = (hashes >> np.uint64(40)).astype(np.float64) / 2**24 - 0.5  # hidden, of each key
        truth = 1 / (1 + np.exp(1.0 - 1.6 * weights.sum(axis=1)))
        labels = (rng.random(BATCH) < truth).astype(np.float32)
        keys = (_mixed(hashes) & ~np.uint64(0xFFFF << 32) | fields << np.uint64(32)).ravel()
        offsets = np.arange(BATCH + 1, dtype=np.int64) * FIELDS
        return Batch(
            step, BATCH, np.arange(BATCH) + step * BATCH, offsets[:-1], offsets[1:], keys, np.tile(fields.astype(np.uint16), BATCH), None,
            np.zeros((BATCH, 0), np.float32), labels,
        )  # fmt: skip


def _mixed(z):
    with np.errstate(over="ignore"):
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return z ^ z >> np.uint64(31)


def worker(job):
    """Train one table by the stream; prints a JSON line every `job["every"]` steps."""
    from deshpc.training.step import step

    group, backend = opened()
    model, stream = small_model(group, backend, FIELDS, 0, "fm", 8, job["table"]), Stream(job["steps"])
    spent, begin_step = 0.0, 0
    for number in range(job["steps"]):
        batch = stream.batch(number)
        begin = time.process_time()
        step(model, batch)
        spent += time.process_time() - begin
        if (number + 1) % job["every"] == 0:
            print(json.dumps({
                "step": number + 1, "seconds": spent, "samples_per_s": (number + 1 - begin_step) * BATCH / spent, "auc": model.take_auc(),
                "rows": len(model.table), "table_bytes": model.table.nbytes, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                "resident": _resident(),
            }), flush=True)  # fmt: skip
            spent, begin_step = 0.0, number + 1


def _resident():
    """Bytes of memory that this process has; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def stream(options):
    """Print memory, speed and AUC of a table that never evicts, and of some that do."""
    every = max(1, options.steps // 30)
    print(f"{platform.machine()}, load {os.getloadavg()[0]:.1f}; {options.steps:,} steps of {BATCH:,}: {options.steps * BATCH:,} samples", flush=True)
    all_keys = None
    for title in ("never", "rest", "budget", "budget, decayed", "budget, admission"):
        table = {"evict_every_steps": options.look}
        if title == "rest":
            table["max_age_steps"] = max(1, options.steps // options.rest)
        if title.startswith("budget"):
            table["max_rows"] = round(options.budget * all_keys)
        if "decayed" in title:
            table["half_life_steps"] = max(1, options.steps // 20)
        if "admission" in title:
            table["admit_after"] = 2
            table["max_age_steps"] = max(1, options.steps // options.rest)
        job = json.dumps({"steps": options.steps, "every": every, "table": {} if title == "never" else table})
        output = subprocess.run([sys.executable, __file__, "worker", job], check=True, stdout=subprocess.PIPE, text=True).stdout
        lines = [json.loads(line) for line in output.splitlines()]
        all_keys = all_keys or lines[-1]["rows"]
        half, tenth = lines[len(lines) // 2 :], max(1, len(lines) // 10)
        speeds = [statistics.median(one["samples_per_s"] for one in part) for part in (half[:tenth], lines[-tenth:])]
        slopes = [np.polyfit([one["step"] for one in half], [one[of] / MIB for one in half], 1)[0] * 1000 for of in ("table_bytes", "resident")]
        print(f"\n{title}: {table}\n    AUC of the last half {statistics.mean(one['auc'] for one in half):.4f}; {lines[-1]['rows']:,} rows at the end; "
              f"tables {lines[-1]['table_bytes'] / MIB:.0f} MiB\n    of the last half: tables {slopes[0]:+.2f}, process {slopes[1]:+.2f} MiB in 1,000 steps; "
              f"{speeds[0] / 1e3:,.0f} k samples a second of the processor in its first fifth, {speeds[1] / 1e3:,.0f} k in its last: "
              f"{100 * speeds[1] / speeds[0]:.0f} %", flush=True)  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("cost")
    one.add_argument("--rows", type=int, default=1_000_000)
    one.add_argument("--turns", type=int, default=12)
    one.add_argument("--models", nargs="+", default=["lr", "fm"])
    one = commands.add_parser("stream")
    one.add_argument("--steps", type=int, default=1500)
    one.add_argument("--rest", type=int, default=4, help="max_age_steps is a so-manieth of all steps")
    one.add_argument("--budget", type=float, default=0.2, help="max_rows, of all keys")
    one.add_argument("--look", type=int, default=50, help="evict_every_steps")
    commands.add_parser("worker").add_argument("job", type=json.loads)
    options = parser.parse_args()
    {"cost": cost, "stream": stream, "worker": lambda given: worker(given.job)}[options.command](options)


if __name__ == "__main__":
    main()
