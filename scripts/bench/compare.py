"""deshpc beside its peers, in one run: logistic regression, factorization machines and deep models; in memory, on 2 ranks, from text.

    python scripts/bench/compare.py [--rows 1000000] [--repeats 5] [--only PATTERN] [--out compare.json]
                                    [--picture compare.svg] [--peers FOLDER]
    python scripts/bench/compare.py --only 'Deep|DCN|DLRM'      # the deep models alone
    python scripts/bench/compare.py --only '^(LR|FM)'           # all others

Two cores' work for everyone: two threads or two processes.  Minibatches are of 8192 samples, k = 16.  The rows are
those of deshpc's synthetic profile `criteo`: nine tenths of --rows train, one tenth tests.  FOLDER (by default one in the
user's cache) gets the peers' environment from PyPI and the rows in each program's form, both once.

The contestants of a race (peers/suite.py) take turns, each time in a process of its own (peers/*_worker.py, which say
how each is set up).  A first round compiles, fills the page cache and evaluates on the test rows; it is not timed.

In memory: one pass, data ready, after a warm-up; for deshpc the first pass, which inserts every row.  The peers' tables are
made before the clock starts, so deshpc's memory is set aside before, too (model.expected_rows); one line is without that.
deshpc's second pass stands beside the first, and is compared, too: peers' passes are alike.  From text: from opening the file to the
end of one pass, and the whole process beside it; compiling or loading kernels counts in the latter only.

A run in which other processes had more than 5 % of the machine (peers/noise.py) is repeated, up to 3 times, and so
is one that fails.  A ratio is one of medians; beside it the median of the ratios of runs in the same turn.  Peers that
cannot run are named with the reason.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

from peers import report
from peers.data import written
from peers.environment import prepared, surroundings
from peers.machine import machine, versions
from peers.noise import disturbed
from peers.picture import picture
from peers.suite import RACES

HERE, BIN = Path(__file__).parent, Path(sys.executable).parent
TRIES = 4
LIMIT_S = 600


class Failed(Exception):
    """A worker's last words."""


def run(contestant, environment, data, train_rows, test):
    """The report of one run, with "process_s"; raises Failed."""
    job = json.dumps(contestant.job | {"data": str(data), "rows": train_rows, "test": test})
    worker = [HERE / contestant.worker, job]
    if contestant.peer:
        command, variables = [environment.python, *worker], surroundings(environment.python)
    else:
        launch = [BIN / "mpiexec", "-n", str(contestant.ranks)] if contestant.ranks > 1 else []
        command, variables = [*launch, sys.executable, *worker], dict(os.environ)
    begin = time.perf_counter()
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=variables | contestant.variables, timeout=LIMIT_S
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"still running after {LIMIT_S} s") from None
    seconds = time.perf_counter() - begin
    if done.returncode:
        raise Failed((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    return json.loads(done.stdout.splitlines()[-1]) | {"process_s": seconds}


def undisturbed(measure):
    """The first undisturbed report of TRIES, else the one that was disturbed least, with "disturbed" and "tries".

    A try that fails does not count unless all do: then its Failed is raised.
    """
    reports, tries = [], 0
    while tries < TRIES and not (reports and not disturbed(reports[-1]["passes"][0])):
        tries += 1
        try:
            reports.append(measure())
        except Failed as error:
            say(f"failed: {error}")
            if tries == TRIES and not reports:
                raise
    best = min(reports, key=lambda one: one["passes"][0]["others_share"] or 0.0)
    return best | {"disturbed": disturbed(best["passes"][0]), "tries": tries}


def held(race, environment, data, train_rows, repeats):
    """The race's runs: {contestant: {"test_auc", "runs"} or {"left_out": why}}."""
    results = {}
    for contestant in race.contestants:
        say(f"{race.name}: {contestant.name}: first round")
        try:
            if contestant.peer in environment.missing:
                raise Failed(f"cannot be installed: {environment.missing[contestant.peer]}")
            first = run(contestant, environment, data, train_rows, test=True)
            results[contestant.name] = {"test_auc": first["test_auc"], "runs": []}
        except Failed as error:
            results[contestant.name] = {"left_out": str(error)}
            say(f"left out: {error}")
    for repeat in range(repeats):
        for contestant in race.contestants:
            result = results[contestant.name]
            if "left_out" not in result:
                say(f"{race.name}: {contestant.name}: {repeat + 1} of {repeats}")
                try:
                    result["runs"].append(
                        undisturbed(lambda one=contestant: run(one, environment, data, train_rows, test=False))
                    )
                except Failed as error:
                    results[contestant.name] = {"left_out": str(error)}
                    say(f"left out: {error}")
    return results


def say(text):
    print(text, file=sys.stderr, flush=True)


def rates(result, whole=False, second=False):
    """Samples/s of the first pass of each run, of the second one (of the only one, where there is no other), or of the whole process."""
    return [
        one["samples"] / one["process_s"] if whole else report.rate(one, min(int(second), len(one["passes"]) - 1)) for one in result.get("runs", ())
    ]


def compared(race, results):
    """Each Comparison of the race as a dict of its numbers, None where a side is left out."""
    found = []
    for comparison in race.comparisons:
        row = {
            "work": comparison.work,
            "peer": comparison.peer,
            "at_least": comparison.at_least,
            "then": comparison.then,
        }
        all_rates = {name: rates(results[name], comparison.whole, comparison.second) for name in (*comparison.ours, comparison.peer)}
        best = max(comparison.ours, key=lambda name: statistics.median(all_rates[name] or [0.0]))
        ours, theirs = all_rates[best], all_rates[comparison.peer]
        if ours and theirs:
            ratio = statistics.median(ours) / statistics.median(theirs)
            row |= {
                "ours": best, "our_samples_per_s": statistics.median(ours), "peer_samples_per_s": statistics.median(theirs),
                "ratio": ratio,
                "paired_ratio": statistics.median(a / b for a, b in zip(ours, theirs, strict=True)),
                "met": None if comparison.at_least is None else ratio >= comparison.at_least,
            }  # fmt: skip
        found.append(row)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="", help="races whose names contain this regular expression")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--picture", type=Path)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser.add_argument("--peers", type=Path, default=cache / "deshpc-peers")
    options = parser.parse_args()
    races = [race for race in RACES if re.search(options.only, race.name)]
    if not races:
        parser.error(f"--only {options.only}: the races are {', '.join(race.name for race in RACES)}")
    environment = prepared(options.peers.absolute())
    data = written(options.peers.absolute() / "data", options.rows)
    result = {
        "machine": machine(), "load_before": os.getloadavg(), "versions": versions(), "peers": environment.versions,
        "missing": environment.missing, "rows": options.rows, "repeats": options.repeats, "races": [],
    }  # fmt: skip
    for race in races:
        results = held(race, environment, data, options.rows * 9 // 10, options.repeats)
        result["races"].append({
            "name": race.name, "whole_process": race.whole_process, "contestants": results, "comparisons": compared(race, results),
        })  # fmt: skip
        if options.out:
            options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(report.text(result))
    if options.picture:
        options.picture.write_text(picture(result), encoding="utf-8")


if __name__ == "__main__":
    main()
