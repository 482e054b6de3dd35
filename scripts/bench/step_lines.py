"""Where a step's time goes, before and after: the stages' processor time, the cache lines that they touch, and how fast lines can come.

    python scripts/bench/step_lines.py COMMIT [--models lr fm] [--ranks 1 2] [--rows 400000] [--repeats 3]

COMMIT's code and that of the working tree train the same models in turns, as step_worker.py does: rows of the profile criteo, batch 8192,
k = 16, one thread a rank, keys routed, memory set aside.  Milliseconds are the second pass's medians of processor time on rank 0.

Lines are those of one rank and step, counted from the batches of the second pass themselves: of 64 bytes, where a place is read or
written that the step before has pushed out of the nearest cache.  "scattered": which line it is depends on the data: samples in random
order, their keys, buckets of the index, records of distinct rows.  "in order": one after the other, which processors fetch by themselves:
lists, labels and dense features of the batch, places.  What is touched several times counts once.

The bound is what this machine's cores do side by side with nothing but scattered lines, 32 of them under way for each: in 16 MiB, as
large as an index that a last cache holds, and in 256 MiB.  "of the bound": scattered lines a second, beside those of 16 MiB.

Where `perf` may count, the misses of the first data cache in a step of the second pass, all ranks', are printed too.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from trees import ROOT, checked_out, described, require_origin, run  # noqa: E402  beside this folder

from deshpc.backend.cpu.buffers import aligned  # noqa: E402
from deshpc.backend.cpu.memory import load, prefetch_read  # noqa: E402
from deshpc.config import override  # noqa: E402
from deshpc.config.load import build  # noqa: E402
from deshpc.jit import kernel  # noqa: E402

BATCH, FIELDS, DENSE, DIM, LINE = 8192, 26, 13, 16, 64
ROWS_OF_TEN_SAMPLES = 16  # as step_worker.py sets memory aside
STAGES = ("read", "route", "look up", "start", "exchange", "learn", "give back", "update")
RECORD = {"lr": (32, 4, 32), "fm": (160, 4 + 4 * DIM, 160)}  # bytes from record to record, of what is read of one, and of what an update touches
WEIGHTS_AT = 12  # bytes of a record before its linear weight
PASSES, VISITS, UNDER_WAY = 3, 10_000_000, 32


def measure(tree, model, ranks, rows):
    """{stage: ms} of a run with the code of `tree`."""
    done = run(tree, ranks, HERE / "step_worker.py", job_of(model, rows, PASSES), cwd=ROOT)
    if done.returncode:
        sys.exit(f"{tree}: {model}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])["passes"][1]["processor_ms"]


def job_of(model, rows, passes):
    overrides = [f"model.name={model}", "compute.threads_per_rank=1", "train.routing=routed"]
    return json.dumps({"rows": rows, "passes": passes, "set_aside": True, "overrides": overrides})


class Batches:
    """The keys of some batches of the second pass, and where their rows lie: numbered as the first pass has met them."""

    def __init__(self, rows):
        from mpi4py import MPI

        from deshpc.data.order import EpochOrder
        from deshpc.launch.place import nowhere
        from deshpc.training.session import Session

        data = {"format": "synthetic", "synthetic": {"profile": "criteo", "train_rows": rows}}
        config = override(build({"data": data}), "model.name=lr", "compute.threads_per_rank=1")
        session, train = Session(config, MPI.COMM_WORLD, nowhere), config.train
        keys = np.array(session.load("train").piece(0).keys).reshape(rows, FIELDS)
        session.close()
        first, second = (
            EpochOrder(rows, train.shuffle_block_rows, train.seed, epoch, train.shuffle, train.shuffle_run_rows) for epoch in range(2)
        )
        self._first = keys[first.rows(0, rows)].reshape(-1)
        self._batches = [keys[second.rows(begin, begin + BATCH)].reshape(-1) for begin in range(0, 5 * BATCH, BATCH)]
        self._expected = rows * ROWS_OF_TEN_SAMPLES // 10

    def lines(self, model, ranks):
        """{stage: (scattered, in order)} lines of rank 0 in a step."""
        record, weights, used = RECORD[model]
        own = lambda keys: keys[((keys >> np.uint64(32)) * np.uint64(ranks)) >> np.uint64(32) == 0]  # noqa: E731
        distinct, first = np.unique(own(self._first), return_index=True)
        number = np.empty(len(distinct), np.int64)
        number[np.argsort(first)] = np.arange(len(distinct))
        buckets = 64
        while int(0.6 * 4 * buckets) < self._expected / ranks:
            buckets *= 2
        counts = []
        for batch in self._batches:
            keys = own(batch)
            mine = np.unique(keys)
            begins = record * number[np.searchsorted(distinct, mine)]
            in_index = len(np.unique(mine & np.uint64(buckets - 1)))
            counts.append((len(keys), len(mine), in_index, touched(begins + WEIGHTS_AT, weights), touched(begins, used)))
        occurrences, rows, in_index, read, updated = (int(np.mean(column)) for column in zip(*counts, strict=True))
        share, sample_bytes, width = BATCH // ranks, 4 * (DENSE + 1), 1 if model == "lr" else DIM + 1
        keys_of_samples = share * across(8 * FIELDS, 8)
        local, states = in_order(4 * occurrences), in_order(4 * width * BATCH)
        return {
            "read": (share * (1 + 1 + across(4 * DENSE, 4)), in_order(share * (16 + sample_bytes))),
            "route": (keys_of_samples, in_order(share * (8 * FIELDS + 4 * ranks + sample_bytes))) if ranks > 1 else (0, 0),
            "look up": (in_index + (0 if ranks > 1 else keys_of_samples), (ranks > 1) * in_order(8 * occurrences) + local + in_order(8 * rows)),
            "start": (read, local + states),
            "exchange": (0, (ranks > 1) * 3 * states),
            "learn": (0, in_order(BATCH * sample_bytes) + 2 * states),
            "give back": (0, local + states + in_order(4 * width * rows)),
            "update": (updated, in_order(4 * width * rows)),
        }  # fmt: skip


def touched(begins, nbytes):
    """Lines that so many bytes from each place on lie in, once each."""
    return len(np.unique(np.concatenate([(begins + at) // LINE for at in [*range(0, nbytes, LINE), nbytes - 1]])))


def across(nbytes, step):
    """Lines that so many bytes lie in, on average, which begin at any multiple of `step`."""
    return 1 + (nbytes - step) / LINE


def in_order(nbytes):
    return -(-nbytes // LINE)


@kernel
def visit(base, mask, count, asked):
    """Read `count` lines in random order, each asked for UNDER_WAY lines earlier; returns something, so that nothing is left out."""
    state, total = np.uint64(88172645463325252), np.uint64(0)
    for i in range(count):
        slot = i & (UNDER_WAY - 1)
        total += load(base + LINE * asked[slot], np.uint64(0))
        state ^= state << np.uint64(13)
        state ^= state >> np.uint64(7)
        state ^= state << np.uint64(17)
        asked[slot] = np.int64(state & np.uint64(mask))
        prefetch_read(base + LINE * asked[slot])
    return total


def bound(mebibytes, cores):
    """Scattered lines a second and core, all cores at once."""
    memory = [aligned(mebibytes << 20, np.uint8) for _ in range(cores)]

    def seconds(mine):
        asked = np.zeros(UNDER_WAY, np.int64)
        begin = time.thread_time()  # what other processes take is not in it
        visit(mine.ctypes.data, (mebibytes << 20) // LINE - 1, VISITS, asked)
        return time.thread_time() - begin

    for one in memory:
        one[::LINE] = 1
    visit(memory[0].ctypes.data, 0, 1, np.zeros(UNDER_WAY, np.int64))
    with ThreadPoolExecutor(cores) as pool:
        return VISITS / statistics.median(max(pool.map(seconds, memory)) for _ in range(5))


def misses(model, ranks, rows):
    """What perf counts in a step of the second pass, or why it does not."""
    counts = []
    for passes in (1, 3):
        job = [sys.executable, HERE / "step_worker.py", job_of(model, rows, passes)]
        command = ["perf", "stat", "-x", ",", "-e", "L1-dcache-load-misses", Path(sys.executable).with_name("mpiexec"), "-n", str(ranks), *job]
        try:
            words = subprocess.run(list(map(str, command)), capture_output=True, text=True).stderr.splitlines()[-1].split(",")
        except (OSError, IndexError):
            return "perf: cannot be started"
        if not words[0].isdigit():
            return f"perf: {words[0]}"
        counts.append(int(words[0]))
    return f"perf: {(counts[1] - counts[0]) / (2 * -(-rows // BATCH)):,.0f} misses of the first data cache in a step of all ranks"


def table(lines, before, after, fastest):
    """Yield the rows of Markdown of one model on one number of ranks."""
    yield "| stage | scattered lines | in order | before, ms | after, ms | M scattered lines/s | of the bound |"
    yield "|---|---|---|---|---|---|---|"
    for stage in STAGES:
        scattered, ordered = lines[stage]
        ms = after[stage]
        speed = f"{scattered / ms / 1e3:,.0f} | {scattered / ms * 1e3 / fastest:.0%}" if scattered else " | "
        yield f"| {stage} | {scattered:,.0f} | {ordered:,.0f} | {before[stage]:.2f} | {ms:.2f} | {speed} |"
    sums = [sum(one[stage] for stage in STAGES) for one in (before, after)]
    whole = [sum(lines[stage][kind] for stage in STAGES) for kind in (0, 1)]
    yield (
        f"| all | {whole[0]:,.0f} | {whole[1]:,.0f} | {sums[0]:.2f} | {sums[1]:.2f} | {whole[0] / sums[1] / 1e3:,.0f} | "
        f"{whole[0] / sums[1] * 1e3 / fastest:.0%} |"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit")
    parser.add_argument("--models", nargs="+", default=["lr", "fm"], choices=list(RECORD))
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    batches, cores = Batches(options.rows), os.cpu_count()
    fastest = {size: bound(size, cores) for size in (16, 256)}
    with checked_out(options.commit) as tree:
        for name, one in (("before", tree), ("after", ROOT)):
            require_origin(one)
            print(f"{name}: {described(one)}", flush=True)
        print(f"{platform.processor() or platform.machine()}, {cores} cores, load {os.getloadavg()[0]:.1f}; {options.rows:,} rows, medians of "
              f"{options.repeats}; scattered lines a second and core, {cores} cores at once: "
              + ", ".join(f"{one / 1e6:,.0f} M in {size} MiB" for size, one in fastest.items()), flush=True)  # fmt: skip
        for model in options.models:
            for ranks in options.ranks:
                for one in (tree, ROOT):  # compiled, and not counted
                    measure(one, model, ranks, 3 * BATCH)
                pairs = [[measure(one, model, ranks, options.rows) for one in (tree, ROOT)] for _ in range(options.repeats)]
                before, after = (
                    {stage: statistics.median(found[stage] for found in side) for stage in STAGES} for side in zip(*pairs, strict=True)
                )
                print(f"\n{model.upper()}, {ranks} rank{'s' * (ranks > 1)} x 1 thread; {misses(model, ranks, options.rows)}\n")
                print("\n".join(table(batches.lines(model, ranks), before, after, fastest[16])), flush=True)


if __name__ == "__main__":
    main()
