"""Start two or three trainings at once in one folder, again and again, kill some, and see that the folder is one run's alone.

    python scripts/attacks/two_runs.py [--rounds 50] [--seed 1]

The contenders have seeds of their own, begin a little after each other, on one rank or two, with `--resume` or without; in some
rounds one of them gets SIGKILL, in others rank 0 of it alone.  Afterwards

- every contender has ended with 0, by the kill, or with exit code 2 and one line that says why;
- the record has whole lines, one start and at most one result a run, and times that do not go back;
- `inspect` finds the folder sound, or nothing in it, and every checkpoint and the model name a run of the record;
- the model has the bits of the same seed's run that was alone;
- a last run with `--resume`, or a first one where nothing is left to go on from, ends with 0, whatever was killed.

Linux; needs the mpiexec of this Python's environment.  Exit code 1 if anything differs.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from processes import descendants
from run_folders import Wrong

BIN = Path(sys.executable).parent
SEEDS = (11, 12, 13)
CONFIG = """
[data]
format = "synthetic"
synthetic = { train_rows = 30_000, valid_rows = 500, test_rows = 500 }
[model]
dim = 4
[optimizer]
learning_rate = 0.2
[train]
global_batch_samples = 100
accumulate = "int64"
[compute]
threads_per_rank = 1
[checkpoint]
every_steps = 5
[run]
directory = "run"
report_interval_s = 0.05
"""
REFUSALS = (
    "is in use by another run (process ", "add --resume to go on from it", "--resume: train.seed = ", "holds a trained model: add --overwrite",
)  # fmt: skip
ENDS_WITHIN_S = 180


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance, counts, wrong = random.Random(options.seed), Counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        alone = references(Path(folder))
        for number in range(options.rounds):
            place = Path(folder) / f"round {number}"
            try:
                counts.update(play(place, chance, alone))
            except Wrong as problem:
                wrong += 1
                print(f"WRONG, round {number}: {problem}", flush=True)
            shutil.rmtree(place)
    print(f"{options.rounds} rounds: {', '.join(f'{count} {what}' for what, count in sorted(counts.items()))}; {wrong} wrong")
    return int(wrong > 0)


def references(folder):
    """{seed: content of the model of a run that was alone}; in fixed point it is that of any number of ranks."""
    found = {}
    for seed in SEEDS:
        place = folder / f"alone {seed}"
        process = start(place, seed, resume=False, ranks=1)
        _, text = process.communicate(timeout=ENDS_WITHIN_S)
        if process.returncode:
            raise SystemExit(f"a run that was alone left with {process.returncode}: {text}")
        found[seed] = content(place / "run" / "model")
    return found


def play(place, chance, alone):
    """One round; returns {what happened: how often}."""
    seeds = chance.sample(SEEDS, chance.choice((2, 2, 3)))
    ranks, victim = chance.choice((1, 1, 1, 2)), chance.choice((None, *range(len(seeds))))
    only_first_rank = chance.random() < 0.5
    processes, seen = [], Counter()
    for seed in seeds:
        processes.append(start(place, seed, chance.random() < 0.5, ranks))
        time.sleep(chance.choice((0.0, 0.05, 1.0)) * chance.random())
    if victim is not None:
        moment = chance.uniform(1.0, 5.0)
        time.sleep(moment)
        seen["killed"] += kill(processes[victim], only_first_rank)
    texts = [process.communicate(timeout=ENDS_WITHIN_S)[1] for process in processes]
    for i, (process, text) in enumerate(zip(processes, texts, strict=True)):
        seen[outcome(process.returncode, text, i == victim and seen["killed"])] += 1
    wait_for_orphans(place)
    check(place, alone)
    finish(place, chance, alone)
    return seen


def start(place, seed, resume, ranks):
    place.mkdir(exist_ok=True)
    if not (place / "run.toml").exists():  # others may be reading it
        (place / "run.toml").write_text(CONFIG, encoding="utf-8")
    command = [sys.executable, "-m", "deshpc", "train", "run.toml", "--set", f"train.seed={seed}", *["--resume"] * resume]
    if ranks > 1:
        command = [str(BIN / "mpiexec"), "-n", str(ranks), *command]
    return subprocess.Popen(
        command, cwd=place, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def kill(process, only_first_rank):
    """Kill a job, or one process that has the most to say in it; whether it was still there."""
    if process.poll() is not None:
        return False
    job = [process.pid, *descendants(process.pid)]
    if only_first_rank and len(job) > 1:
        lock = Path(f"/proc/{process.pid}/cwd").resolve() / "run" / "lock"
        with suppress(OSError, ValueError):
            holder = json.loads(lock.read_text())["process"]
            if holder in job:
                os.kill(holder, signal.SIGKILL)
                return True
    for pid in reversed(job):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return True


def outcome(code, text, killed):
    lines = [line for line in text.splitlines() if line.startswith("deshpc: ")]
    if code == 0:
        return "to the end"
    if killed:
        return "ended by the kill"
    if code == 2 and len(lines) == 1 and (reasons := [one for one in REFUSALS if one in lines[0]]):
        return f"refused ({reasons[0].strip(' (')})"
    raise Wrong(f"a contender left with {code}: {text}")


def check(place, alone):
    """What a folder holds belongs together."""
    run = place / "run"
    if not run.exists():
        return
    record = run / "record.jsonl"
    numbers, last, results = {}, 0.0, 0
    for text in record.read_text(encoding="utf-8").splitlines(keepends=True) if record.exists() else ():
        try:
            line = json.loads(text) if text.endswith("\n") else None
        except ValueError:
            raise Wrong(f"the record has a line {text!r}") from None
        if line is None:  # cut off by the kill
            continue
        if line["event"] == "start":
            numbers[line["run"]], last, results = line["config"]["train"]["seed"], 0.0, 0
        results += line["event"] == "result"
        if line["time_s"] < last or results > 1:
            raise Wrong(f"the record goes back at {text!r}")
        last = line["time_s"]
    manifests = sorted(run.glob("checkpoints/step-????????????/manifest.json")) + sorted(run.glob("model/manifest.json"))
    done = inspect(place)
    if done.returncode != (0 if manifests else 3):
        raise Wrong(f"inspect left with {done.returncode}: {done.stderr}")
    for path in manifests:
        manifest = json.loads(path.read_text())
        seed = manifest["config"]["train"]["seed"]
        if path.parent.name == "model" and content(path.parent) != alone[seed]:
            raise Wrong(f"{path.parent} is not the model of seed {seed}")
        if path.parent.name != "model" and numbers.get(manifest["run"]) != seed:
            raise Wrong(f"{path.parent} is of a run that the record does not name")


def finish(place, chance, alone):
    """Nothing that was left behind is in the way of a last run."""
    manifests = sorted((place / "run").glob("checkpoints/step-????????????/manifest.json"))
    seed = json.loads(manifests[-1].read_text())["config"]["train"]["seed"] if manifests else chance.choice(SEEDS)
    process = start(place, seed, resume=True, ranks=1)
    _, text = process.communicate(timeout=ENDS_WITHIN_S)
    if process.returncode:
        raise Wrong(f"the last run left with {process.returncode}: {text}")
    check(place, alone)
    if content(place / "run" / "model") != alone[seed]:
        raise Wrong("the last run's model is another one")
    names = sorted(path.name for path in (place / "run").iterdir())
    if names != ["checkpoints", "model", "record.jsonl"]:
        raise Wrong(f"the folder holds {names}")
    left = [path.name for path in (place / "run" / "checkpoints").iterdir() if path.suffix]
    if left:
        raise Wrong(f"checkpoints holds {left}")


def inspect(place):
    return subprocess.run([sys.executable, "-m", "deshpc", "inspect", "run"], cwd=place, capture_output=True, text=True)


def content(folder):
    """Rows in key order, and dense parameters, of a model that any number of ranks wrote."""
    import numpy as np

    from deshpc.checkpoint.load import dense_parameters, row_blocks
    from deshpc.checkpoint.manifest import read_manifest

    manifest = read_manifest(folder)
    blocks = list(row_blocks(folder, manifest))
    rows = [np.concatenate([getattr(block, name) for block in blocks]).tobytes() for name in ("keys", "fields", "counts", "steps", "numbers")]
    return [manifest["steps"], *rows, *(array.tobytes() for array in dense_parameters(folder, manifest).values())]


def wait_for_orphans(place):
    """Ranks whose launcher was killed end by themselves; what they write until then must not matter to the folder."""
    until = time.monotonic() + ENDS_WITHIN_S
    while any(works_in(pid, place) for pid in map(int, filter(str.isdigit, os.listdir("/proc")))):
        if time.monotonic() > until:
            raise Wrong("a process goes on without the others")
        time.sleep(0.05)


def works_in(pid, place):
    try:
        return os.readlink(f"/proc/{pid}/cwd") == str(place) and pid != os.getpid()
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
