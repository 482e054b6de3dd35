"""How time and memory grow: with ranks and threads, with the batch, with the keys of a sample, with the rows of a table.

    python scripts/bench/scaling.py [cores] [batch] [keys] [memory] [--models fm lr] [--repeats 5] [--rows 1000000]

cores    Criteo-shaped rows in memory, batch 8192, k = 16, Adagrad: 1 rank x 1 thread beside 2 ranks and 1 rank x 2 threads
batch    the same rows on 2 ranks, FM: milliseconds a step against samples a step, and a line through them
keys     made-up samples of 8 to 416 keys (one field each, Zipf 1.05 among 10,000 values of its own), batch 2048, 2 ranks: while many
         of them are new (steps 17 to 32), and when few are (steps 65 to 80)
memory   growth of a process while its table takes new keys up to 4.3 million rows, beside record and index bytes

Variants take turns; medians are printed.  All four parts are measured if none is named.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

HERE, BIN = Path(__file__).parent, Path(sys.executable).parent
CORES = {
    "1 rank x 1 thread": (1, ["compute.threads_per_rank=1"]),
    "2 ranks, broadcast": (2, ["compute.threads_per_rank=1", "train.routing=broadcast"]),
    "2 ranks, routed": (2, ["compute.threads_per_rank=1", "train.routing=routed"]),
    "1 rank x 2 threads": (1, ["compute.threads_per_rank=2"]),
}
BATCHES = (1024, 2048, 4096, 8192, 16_384, 32_768, 65_536)
KEYS = (8, 16, 26, 39, 52, 104, 208, 416)


def worker(name, ranks, job):
    """JSON lines that a worker prints."""
    command = [BIN / "mpiexec", "-n", str(ranks), sys.executable, HERE / name, json.dumps(job)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def two_passes(ranks, overrides, rows):
    """What step_worker.py says of the first and the second pass."""
    return worker("step_worker.py", ranks, {"rows": rows, "passes": 2, "overrides": overrides})[-1]["passes"]


def turns(variants, repeats, measure):
    """{variant: [result of each repeat]}: variants take turns; a first round compiles and is not kept."""
    runs = {variant: [] for variant in variants}
    for repeat in range(repeats + 1):
        for variant in variants:
            result = measure(variant)
            if repeat:
                runs[variant].append(result)
    return runs


def line_through(x, y):
    """Least squares y = a + b x of relative deviations: a, b, R^2, largest relative deviation and where it is."""
    x, y = np.array(x, float), np.array(y, float)
    (a, b), *_ = np.linalg.lstsq(np.stack([np.ones_like(x), x], 1) / y[:, None], np.ones_like(y), rcond=None)
    deviation = (a + b * x - y) / y
    worst = int(np.argmax(np.abs(deviation)))
    r2 = 1.0 - ((a + b * x - y) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    return {"a": a, "b": b, "r2": r2, "largest_deviation": deviation[worst], "at": x[worst]}


def cores(options):
    variants = [(model, name) for model in options.models for name in CORES]

    def measure(variant):
        ranks, overrides = CORES[variant[1]]
        passes = two_passes(ranks, [f"model.name={variant[0]}", *overrides], options.rows)
        return {"samples_per_s": [one["samples_per_s"] for one in passes],
                "of_the_median_step": [passes[0][f"{which}_step_ms"] / passes[0]["median_step_ms"] for which in ("first", "longest")]}  # fmt: skip

    runs = turns(variants, options.repeats, measure)
    print(f"{'':<28}{'first pass':>12}{'its first step':>16}{'longest other':>15}{'second pass':>13}{'of one core':>13}")
    for (model, name), results in runs.items():
        first, second = (statistics.median(r["samples_per_s"][p] for r in results) for p in (0, 1))
        start, longest = (statistics.median(r["of_the_median_step"][p] for r in results) for p in (0, 1))
        pairs = [r["samples_per_s"][1] / one["samples_per_s"][1] for r, one in zip(results, runs[model, "1 rank x 1 thread"], strict=True)]
        print(f"{model} {name:<25}{first:>12,.0f}{start:>15.1f}x{longest:>14.1f}x{second:>13,.0f}{statistics.median(pairs):>12.2f}x"
              f"   ({min(pairs):.2f} - {max(pairs):.2f})")  # fmt: skip
    print("its first step, longest other: of the first pass, as multiples of its median step")
    return [{"model": model, "variant": name, "runs": results} for (model, name), results in runs.items()]


def batch(options):
    ranks, overrides = CORES["2 ranks, broadcast"]

    def measure(samples):
        second = two_passes(ranks, [*overrides, f"train.global_batch_samples={samples}"], options.rows)[1]
        return 1e3 * samples / second["samples_per_s"]

    return _against("samples a step", turns(BATCHES, options.repeats, measure))


def keys(options):
    def measure(width):
        phases = [{"steps": count, "draw": "fields", "rows": 10_000} for count in (16, 16, 32, 16)]
        job = {"batch": 2048, "keys_per_sample": width, "overrides": ["train.routing=broadcast"], "phases": phases}
        reports = worker("rows_worker.py", 2, job)
        return [reports[phase]["median_step_ms"] for phase in (1, 3)]

    runs, results = turns(KEYS, options.repeats, measure), []
    for which, title in enumerate(("many keys are new", "few keys are new")):
        print(title)
        results.append(_against("keys a sample", {width: [times[which] for times in found] for width, found in runs.items()}))
    return results


def _against(title, runs):
    x = list(runs)
    y = [statistics.median(times) for times in runs.values()]
    fit = line_through(x, y)
    print(f"{title:>16}{'ms a step':>12}{'line':>10}{'off':>8}")
    for one, time in zip(x, y, strict=True):
        on_line = fit["a"] + fit["b"] * one
        print(f"{one:>16,}{time:>12.2f}{on_line:>10.2f}{100 * (on_line / time - 1):>7.1f}%")
    print(f"ms = {fit['a']:.2f} + {fit['b'] * 1000:.3f} per 1,000 {title}; R^2 = {fit['r2']:.5f}, largest deviation "
          f"{100 * fit['largest_deviation']:.1f} % at {fit['at']:,.0f}")  # fmt: skip
    return {"x": x, "ms": list(runs.values()), "fit": fit}


def memory(options):
    shapes = [(rule, dim) for rule in ("adagrad", "rowwise_adagrad") for dim in (8, 16)]
    print(f"{'':<24}{'rows':>10}{'record':>8}{'index':>7}{'stated':>8}{'process':>9}{'ratio':>8}{'largest excess':>17}")
    results = []
    for rule, dim in shapes:
        phases = [{"steps": 2, "draw": "fresh"}] * 10
        *reports, end = worker("rows_worker.py", 1, {"overrides": [f"model.dim={dim}", f"optimizer.name={rule}"], "phases": phases})
        first = reports[1]  # scratch buffers have their size
        growth = [[one[what][0] - first[what][0] for what in ("rows", "table_bytes", "resident_bytes")] for one in reports[2:]]
        rows, stated, process = growth[-1]
        excess = max((grown - table) / 2**20 for _, table, grown in growth)
        last, record = reports[-1], end["record_bytes"]
        index = last["table_bytes"][0] / last["rows"][0] - record
        print(
            f"{rule + ', k = ' + str(dim):<24}{last['rows'][0]:>10,}{record:>8}{index:>7.1f}{stated / rows:>8.1f}"
            f"{process / rows:>9.1f}{process / stated:>8.3f}{excess:>13.1f} MiB"
        )
        results.append({"rule": rule, "dim": dim, "phases": reports, **end})
    print("bytes a row: record, index at the end; stated and process: what the rows since the first 0.85 million have added;")
    print("excess of the process over records and index at any of eight sizes on the way, as after an index has doubled")
    return results


def main():
    parts = {"cores": cores, "batch": batch, "keys": keys, "memory": memory}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], *parts])
    parser.add_argument("--models", nargs="+", default=["fm", "lr"], choices=["fm", "lr"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; medians of {options.repeats}")
    results = {}
    for name in options.parts or parts:
        print(f"\n{name}")
        results[name] = parts[name](options)
    if options.out:
        options.out.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
