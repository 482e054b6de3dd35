"""A field-aware factorization machine beside xLearn's and libffm's: samples/s, test log-loss, ranks, bytes a sample.  One command.

    python scripts/bench/ffm.py [--rows 400000] [--passes 2] [--batch 2048] [--repeats 3] [--peers FOLDER] [--out ffm.json]

Rows of Criteo's shape (39 one-hot fields, peers/ffm_data.py), nine tenths of --rows for training, as a libffm file whose values are 1.  k = 4, no linear
weights and no bias in libffm; xLearn has both, and so has deshpc.  All have Adagrad, rate 0.2, L2 2e-5, samples divided by their norm: what libffm and xLearn do as they come.
deshpc's batches are of --batch samples.  FOLDER (by default that of compare.py) gets the two peers from PyPI and the rows, both once;
peers that cannot run are named with the reason.

A first round compiles, fills the page cache, and evaluates after 1 .. --passes passes; it is not timed.  Then all take turns, each time in a process
of its own: samples/s of all passes together, data ready, tables made (model.expected_rows) before the clock starts.  libffm says its time in tenths of a
second.  A run in which other processes had more than 5 % of the machine is repeated, up to 3 times.  Processor time stands beside: microseconds
of all ranks and threads a sample, in deshpc's passes alone (libffm's has making the model and scoring in it).
"""

import argparse
import json
import os
import statistics
from pathlib import Path

from compare import Failed, run, say, undisturbed
from peers.environment import with_some
from peers.ffm_data import write
from peers.machine import machine, versions
from peers.suite import Contestant

ONE, THREADS, COLUMN, KEY = "deshpc, 1 rank x 1 thread", "deshpc, 1 rank x 2 threads", "deshpc, 2 ranks by column", "deshpc, 2 ranks by key"
XLEARN, LIBFFM = "xLearn, 2 threads", "libffm, 2 threads"
OURS, PEERS, PAIRS = (ONE, THREADS, COLUMN, KEY), (XLEARN, LIBFFM), (COLUMN, KEY)
TIMES_XLEARN, TIMES_ONE, WORSE, BYTES = 2.0, 1.6, 0.001, 4.0


def contestants(batch, features):
    """{name: Contestant} of all, in their turns."""

    def ours(name, ranks, threads, *overrides):
        options = [
            f"compute.threads_per_rank={threads}", f"train.global_batch_samples={batch}", "optimizer.learning_rate=0.2", "optimizer.l2=2e-5",
            "data.normalise_samples=true", *overrides,
        ]  # fmt: skip
        return Contestant(name, "ffm_worker.py", {"fields": 39, "features": features, "overrides": options}, ranks=ranks)

    job = {"rate": 0.2, "threads": 2, "normalise": True}
    found = (
        ours(ONE, 1, 1), ours(THREADS, 1, 2), ours(COLUMN, 2, 1, "train.split=column", "train.routing=broadcast"), ours(KEY, 2, 1),
        Contestant(XLEARN, "peers/xlearn_ffm_worker.py", job, "xlearn"), Contestant(LIBFFM, "peers/libffm_worker.py", job, "pylibffm"),
    )  # fmt: skip
    return {one.name: one for one in found}


def measured(one, passes, environment, data, samples):
    """The report of a run of a Contestant: {"seconds", "cpu_us", "losses", "sent"}, the losses those after the passes that its report has."""
    given = Contestant(one.name, one.worker, one.job | {"passes": passes}, one.peer, one.ranks)
    report = run(given, environment, data, samples, test=True)
    found = report["passes"]
    seconds, own = (sum(each[name] for each in found) for name in ("seconds", "own_cpu_seconds"))
    first = {"others_share": max((each["others_share"] or 0.0) for each in found)}
    return {
        "passes": [first], "seconds": seconds, "cpu_us": 1e6 * own / (passes * samples), "samples_per_s": passes * samples / seconds,
        "losses": [each["log_loss"] for each in found], "sent": found[0].get("sent_bytes_per_sample"),
        "by_pass": [samples / each["seconds"] for each in found],
    }  # fmt: skip


def evaluated(one, passes, environment, data, samples):
    """Test log-loss after 1 .. `passes` passes."""
    if not one.peer:
        return measured(one, passes, environment, data, samples)["losses"]
    return [measured(one, number, environment, data, samples)["losses"][-1] for number in range(1, passes + 1)]


def held(options, environment, data, samples):
    """{name: {"losses", "runs"} or {"left_out": why}}"""
    features = json.loads((data / "description.json").read_text(encoding="utf-8"))["features"]
    everyone, results = contestants(options.batch, features), {}
    for name, one in everyone.items():
        say(f"{name}: first round")
        try:
            if one.peer in environment.missing:
                raise Failed(f"cannot be installed: {environment.missing[one.peer]}")
            results[name] = {"losses": evaluated(one, options.passes, environment, data, samples), "runs": []}
        except Failed as error:
            results[name] = {"left_out": str(error)}
            say(f"left out: {error}")
    for repeat in range(options.repeats):
        for name, result in results.items():
            if "runs" in result:
                say(f"{name}: {repeat + 1} of {options.repeats}")
                result["runs"].append(undisturbed(lambda one=everyone[name]: measured(one, options.passes, environment, data, samples)))
    return results


def median(result, name):
    """Median of a number of all runs, None without any."""
    return statistics.median(one[name] for one in result["runs"]) if result.get("runs") else None


def verdicts(results, passes):
    """[(what, figure, bar, whether it is met)], None for what cannot be said."""
    speed = {name: median(result, "samples_per_s") for name, result in results.items()}
    found = []
    on_two_cores = [name for name in (THREADS, *PAIRS) if speed[name]]
    if speed[XLEARN] and on_two_cores:
        best = max(on_two_cores, key=speed.get)
        ratio = speed[best] / speed[XLEARN]
        found.append((f"samples/s over xLearn's two threads ({best})", f"{ratio:.2f}", f">= {TIMES_XLEARN}", ratio >= TIMES_XLEARN))
    pairs = [name for name in PAIRS if speed[name]]
    if speed[ONE] and pairs:
        ratios = {name: speed[name] / speed[ONE] for name in pairs}
        best = max(pairs, key=ratios.get)
        found.append((f"samples/s over one core ({best})", f"{ratios[best]:.2f}", f">= {TIMES_ONE}", ratios[best] >= TIMES_ONE))
    for number in range(passes):
        theirs = [results[name]["losses"][number] for name in PEERS if "losses" in results[name]]
        if theirs and "losses" in results[ONE]:
            worse = results[ONE]["losses"][number] - min(theirs)
            found.append((f"test log-loss above the better peer's, pass {number + 1}", f"{worse:+.5f}", f"<= {WORSE}", worse <= WORSE))
    if results[COLUMN].get("runs"):
        for way, sent in results[COLUMN]["runs"][0]["sent"].items():
            found.append((f"bytes a sample by column, {way}", f"{sent:.3f}", f"<= {BYTES:g}", sent <= BYTES))
    return found


def text(result):
    """All of it, in lines of Markdown."""
    known, results = result["machine"], result["contestants"]
    shares = [one["passes"][0]["others_share"] for each in results.values() for one in each.get("runs", ())]
    lines = [
        f"{known['processor']}, {known['cores']} cores; {result['rows']:,} rows, batch {result['batch']}, {result['repeats']} repeats, {result['passes']} passes; "
        f"others' share of the machine in the runs that count: {max(shares, default=0):.0%} at most",
        "", "| | k samples/s, median (range) | by pass | processor, us a sample | test log-loss by pass |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for name, one in results.items():
        if not one.get("runs"):
            lines.append(f"| {name} | left out: {one.get('left_out', 'no runs')} | | | |")
            continue
        rates = [each["samples_per_s"] for each in one["runs"]]
        spread = f"{statistics.median(rates) / 1e3:,.0f} ({min(rates) / 1e3:,.0f} - {max(rates) / 1e3:,.0f})"
        passes = zip(*(each["by_pass"] for each in one["runs"]), strict=True)
        by_pass = ", ".join(f"{statistics.median(each) / 1e3:,.0f}" for each in passes) if name in OURS else ""
        losses = ", ".join(f"{loss:.5f}" for loss in one["losses"])
        lines.append(f"| {name} | {spread} | {by_pass} | {median(one, 'cpu_us'):.2f} | {losses} |")
    lines += ["", "| | measured | bar | |", "|---|---|---|---|"]
    lines += [f"| {what} | {figure} | {bar} | {'met' if met else '**not met**'} |" for what, figure, bar, met in result["verdicts"]]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=3)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser.add_argument("--peers", type=Path, default=cache / "deshpc-peers")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    environment = with_some(options.peers.absolute(), ("xlearn", "pylibffm"))
    data = options.peers.absolute() / "data" / f"ffm-{options.rows}"
    if not (data / "description.json").exists():
        write(data, options.rows)
    results = held(options, environment, data, options.rows * 9 // 10)
    result = {
        "machine": machine(), "versions": versions(), "peers": environment.versions, "rows": options.rows, "batch": options.batch,
        "passes": options.passes, "repeats": options.repeats, "contestants": results, "verdicts": verdicts(results, options.passes),
    }  # fmt: skip
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(text(result))


if __name__ == "__main__":
    main()
