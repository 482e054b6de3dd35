"""What training reaches: beside PyTorch at equal settings, in how much time beside xLearn, and by which options.

    python scripts/bench/quality.py agreement --peers ENVIRONMENT [--seeds 1 2 3] [--models lr fm] [--out quality.json]
    python scripts/bench/quality.py time --peers ENVIRONMENT [--repeats 5]
    python scripts/bench/quality.py choices [--seeds 1] [--part valid]

Criteo-shaped synthetic rows with a known truth, 900,000 to train, 100,000 to test, k = 16, one pass, rows in their own order.

agreement   test AUC of deshpc (2 ranks) and of PyTorch (2 threads) with the same rule, rate, initial accumulator, reduction and
            batch: from the same first weights, and from independent ones of the same distribution
time        seconds of training until FM's test AUC reaches a level: deshpc on 2 ranks, and xLearn on 2 threads.  Samples are
            in memory, and evaluations do not count: how many samples a level takes is found once, in a training that is
            evaluated on the way (deshpc's first evaluation at the level counts; xLearn, which cannot be asked on the way,
            trains on the first n rows for growing n, with interpolation); the time of so many samples is that of passes
            without evaluations, in which both take turns (deshpc: until that step; xLearn: a share of the time that it prints)
choices     validation AUC by batch size, learning rate, initial accumulator, reduction, warm-up and rule
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from itertools import product
from pathlib import Path

HERE, BIN = Path(__file__).parent, Path(sys.executable).parent
TRAIN_ROWS, TEST_ROWS, DIM, INIT_STD = 900_000, 100_000, 16, 0.01
RULES = {"sgd": (1.0, "mean"), "adagrad": (0.05, "sum"), "adam": (0.001, "mean")}  # rule: (rate, reduction)
ACCUMULATOR = 1.0
BATCHES = (512, 8192)
LEVELS = (0.70, 0.72, 0.73, 0.74, 0.745, 0.75)
XLEARN_ROWS = (15_000, 30_000, 60_000, 90_000, 180_000, 300_000, 600_000, 900_000)
XLEARN_RATES = (0.2, 0.8)  # as it comes; the best of 0.05, 0.1, 0.2, 0.4, 0.8
EVERY = 2048  # samples between evaluations of deshpc, at least a batch
SET_ASIDE = "model.expected_rows=1440000"  # xLearn's model is made before its clock starts
OURS = {f"deshpc, batch {batch}": [f"train.global_batch_samples={batch}", SET_ASIDE] for batch in (8192, 2048, 1024)}


def deshpc(job, ranks=2):
    """Reports of quality_worker.py."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(job, file)
        file.flush()
        command = [BIN / "mpiexec", "-n", str(ranks), sys.executable, HERE / "quality_worker.py", file.name]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def peer(options, name, *arguments):
    """What a script prints that the peers' Python runs."""
    command = [options.peers / "bin" / "python", "-W", "ignore", HERE / name, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


@contextmanager
def data(options, seed, train_counts=()):
    """Folder with the rows of a seed for the peers, as text of the first rows for each of `train_counts`, too."""
    from quality_data import write_arrays, write_libsvm

    with tempfile.TemporaryDirectory() as scratch:
        folder = (options.data or Path(scratch)) / f"seed-{seed}"
        if not (folder / "start.npz").exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_arrays(folder, seed, TRAIN_ROWS, TEST_ROWS, DIM)
        if not all((folder / f"train-{count}.libsvm").exists() for count in train_counts):
            write_libsvm(folder, train_counts)
        yield folder


def agreement(options):
    results = []
    cases = list(product(options.models, options.rules, options.batches))
    print(f"{'':<24}{'seed':>5}{'deshpc':>10}{'PyTorch':>10}{'same start':>12}{'PyTorch':>10}{'other start':>12}")
    for seed in options.seeds:
        with data(options, seed) as folder:
            ours = deshpc({
                "seed": seed, "train_rows": TRAIN_ROWS, "rows": TEST_ROWS, "runs": [_overrides(*case) for case in cases],
            })  # fmt: skip
            for case, our in zip(cases, ours, strict=True):
                starts = ["same"] if case[0] == "lr" else ["same", seed]
                runs = [{**_torch_run(*case), "start": start} for start in starts]
                lines = peer(options, "quality_torch.py", folder, json.dumps(runs)).splitlines()
                theirs = [json.loads(line)["auc"] for line in lines]
                results.append({"case": case, "seed": seed, "deshpc": our["auc"], "torch": theirs})
                numbers = "".join(f"{auc:>10.5f}{our['auc'] - auc:>12.1e}" for auc in theirs)
                print(f"{case[0]} {case[1]:<8} batch {case[2]:<6,}{seed:>5}{our['auc']:>10.5f}{numbers}", flush=True)
    for number, start in enumerate(("the same start", "independent starts")):
        gaps = [one["deshpc"] - one["torch"][number] for one in results if len(one["torch"]) > number]
        if gaps:
            print(f"{start}: largest |difference| {max(map(abs, gaps)):.1e}, mean difference {statistics.mean(gaps):+.1e} of {len(gaps)}")
    return results


def _overrides(model, rule, batch):
    rate, reduction = RULES[rule]
    return [
        f"model.name={model}", f"model.dim={DIM}", f"model.init_std={INIT_STD}", f"optimizer.name={rule}",
        f"optimizer.learning_rate={rate}", f"optimizer.reduction={reduction}", f"optimizer.initial_accumulator={ACCUMULATOR}",
        f"train.global_batch_samples={batch}",
    ]  # fmt: skip


def _torch_run(model, rule, batch):
    rate, reduction = RULES[rule]
    return {
        "model": model, "optimizer": rule, "rate": rate, "reduction": reduction, "initial_accumulator": ACCUMULATOR,
        "init_std": INIT_STD, "batch": batch,
    }  # fmt: skip


def time(options):
    needed, seconds = {}, {name: [] for name in (*OURS, *map(_xlearn_name, XLEARN_RATES))}
    job = {"seed": options.seeds[0], "train_rows": TRAIN_ROWS, "rows": TEST_ROWS, "runs": list(OURS.values())}
    with data(options, options.seeds[0], XLEARN_ROWS) as folder:
        for name, report in zip(OURS, deshpc({**job, "every": EVERY, "reach": LEVELS[-1]}), strict=True):
            needed[name] = [next((n for n, auc, _ in report["points"] if auc >= level), None) for level in LEVELS]
        for rate in XLEARN_RATES:
            curve = [(rows, _xlearn(options, folder, rows, rate)[0]) for rows in XLEARN_ROWS]
            needed[_xlearn_name(rate)] = [samples_until(curve, level) for level in LEVELS]
        for _ in range(options.repeats):
            for name, report in zip(OURS, deshpc(job), strict=True):
                clock, batch = report["clock"], int(OURS[name][0].split("=")[1])
                seconds[name].append([n and clock[-(-n // batch) - 1] for n in needed[name]])
            for rate in XLEARN_RATES:
                a_row = _xlearn(options, folder, TRAIN_ROWS, rate)[1] / TRAIN_ROWS
                seconds[_xlearn_name(rate)].append([n and n * a_row for n in needed[_xlearn_name(rate)]])
    print(f"{'samples and seconds to':<24}" + "".join(f"{level:>18.3f}" for level in LEVELS))
    for name, runs in seconds.items():
        cells = [_cell(n, [run[i] for run in runs]) for i, n in enumerate(needed[name])]
        print(f"{name:<24}" + "".join(f"{cell:>18}" for cell in cells))
    for ours, theirs in product(OURS, map(_xlearn_name, XLEARN_RATES)):
        cells = [_ratio([run[i] for run in seconds[ours]], [run[i] for run in seconds[theirs]]) for i in range(len(LEVELS))]
        print(f"{ours} / {theirs:<20}" + "".join(f"{cell:>8}" for cell in cells))
    return {"levels": LEVELS, "samples": needed, "seconds": seconds}


def _xlearn_name(rate):
    return f"xLearn, rate {rate}"


def _xlearn(options, folder, rows, rate):
    """(test AUC, seconds of the pass) of xLearn's FM on the first rows."""
    text = peer(options, "quality_xlearn.py", folder, json.dumps({"rows": rows, "epochs": 1, "rate": rate, "dim": DIM}))
    epochs = [float(line.split()[-1]) for line in re.sub(r"\x1b\[\d+m", "", text).splitlines() if "%" in line]
    return json.loads(text.splitlines()[-1])["auc"], sum(epochs)


def samples_until(curve, level):
    """Samples until a curve [(samples, AUC)] reaches a level, on the line between two points; None where it does not."""
    before = (0, 0.5)
    for point in curve:
        if point[1] >= level:
            return round(before[0] + (point[0] - before[0]) * (level - before[1]) / (point[1] - before[1]))
        before = point
    return None


def _cell(samples, times):
    return f"{samples / 1000:.0f} k, {statistics.median(times):.3f}" if samples else "not in a pass"


def _ratio(ours, theirs):
    if ours[0] is None:
        return "-"
    if theirs[0] is None:
        return "0"
    return f"{statistics.median(a / b for a, b in zip(ours, theirs, strict=True)):.2f}"


def _variants():
    """{name: overrides} that `choices` compares."""

    def rate_and_start(rate, start, **others):
        more = [f"optimizer.{name}={value}" for name, value in others.items()]
        return [f"optimizer.learning_rate={rate}", f"optimizer.initial_accumulator={start}", *more]

    return {
        "defaults": [],
        **{f"rate {r}, accumulator {a}": rate_and_start(r, a) for r in (0.02, 0.03, 0.05, 0.1) for a in (0.1, 1.0)},
        "rate 0.03, accumulator 3": rate_and_start(0.03, 3.0),
        "rate 0.05, accumulator 1, warm-up 10": rate_and_start(0.05, 1.0, warmup_steps=10),
        "rate 0.05, accumulator 3, warm-up 10": rate_and_start(0.05, 3.0, warmup_steps=10),
        "rate 0.05, accumulator 1, linear decay": rate_and_start(0.05, 1.0, decay="linear"),
        "mean, rate 0.05, accumulator 0.1": rate_and_start(0.05, 0.1, reduction="mean"),
        "mean, rate 0.5, accumulator 0.1": rate_and_start(0.5, 0.1, reduction="mean"),
        "mean, rate 0.05, accumulator 1e-5": rate_and_start(0.05, 1e-5, reduction="mean"),
        "init_std 0.1": ["model.init_std=0.1"],
        "rowwise_adagrad": ["optimizer.name=rowwise_adagrad"],
        "ftrl": ["optimizer.name=ftrl"],
        **{f"adam, rate {r}": ["optimizer.name=adam", f"optimizer.learning_rate={r}"] for r in (0.001, 0.002, 0.005)},
        **{f"sgd, rate {r}": ["optimizer.name=sgd", f"optimizer.learning_rate={r}"] for r in (1.0, 2.0)},
    }


def choices(options):
    variants, results = _variants(), []
    for model, seed in product(options.models, options.seeds):
        columns = []
        for batch in options.batches:
            runs = [[f"model.name={model}", *one, f"train.global_batch_samples={batch}"] for one in variants.values()]
            job = {"seed": seed, "train_rows": TRAIN_ROWS, "rows": TEST_ROWS, "part": options.part, "runs": runs}
            columns.append([one["auc"] for one in deshpc(job)])
        print(f"{f'{model}, seed {seed}, {options.part}':<42}" + "".join(f"{batch:>10,}" for batch in options.batches))
        for name, aucs in zip(variants, zip(*columns, strict=True), strict=True):
            results.append({"model": model, "seed": seed, "variant": name, "batches": options.batches, "aucs": aucs})
            print(f"    {name:<38}" + "".join(f"{auc:>10.4f}" for auc in aucs), flush=True)
    return results


def main():
    parts = {"agreement": agreement, "time": time, "choices": choices}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part_name", choices=parts)
    parser.add_argument("--peers", type=Path, help="folder of the environment that compare.py makes for the peers")
    parser.add_argument("--data", type=Path, help="folder where the peers' data is kept for the next call")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--models", nargs="+", default=["lr", "fm"], choices=["lr", "fm"])
    parser.add_argument("--rules", nargs="+", default=list(RULES), choices=list(RULES))
    parser.add_argument("--batches", type=int, nargs="+", default=list(BATCHES))
    parser.add_argument("--part", default="valid", choices=["valid", "test"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.part_name != "choices" and options.peers is None:
        parser.error("--peers is needed: the environment of the peers")
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    result = parts[options.part_name](options)
    if options.out:
        options.out.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
