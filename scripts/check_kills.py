"""Kill a run that writes checkpoints all the time, again and again, and see that nothing it had committed is lost.

    python scripts/check_kills.py [--kills 30] [--ranks 2] [--seed 1]

All ranks of `deshpc train` get SIGKILL at a random moment of training.  Then every complete checkpoint and the best
model must be sound, none may have gone but by `checkpoint.keep`, and `--resume` goes on, to be killed in turn.  A run
that reaches its end must have the model of a run that nobody killed, bit for bit.  Linux; needs the mpiexec of this
Python's environment.

Exit code 1 if anything differs.
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
from contextlib import suppress
from pathlib import Path

BIN = Path(sys.executable).parent
CONFIG = """
[data]
format = "synthetic"
synthetic = { train_rows = 20_000, valid_rows = 500, test_rows = 0 }
[model]
dim = 4
[optimizer]
learning_rate = 0.2
[train]
global_batch_samples = 200
evaluate_every_steps = 7
stop_metric = "auc"
stop_patience = 100
[compute]
threads_per_rank = 1
[checkpoint]
every_steps = 3
[run]
directory = "run"
"""
ENDS_WITHIN_S = 120


class Wrong(Exception):
    """What the script is to find."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            check(Path(folder), options.ranks, options.kills, random.Random(options.seed))
        except Wrong as problem:
            print(f"WRONG: {problem}")
            return 1
    return 0


def check(folder, ranks, kills, chance):
    whole = folder / "whole"
    start(whole, ranks).communicate(timeout=ENDS_WITHIN_S)
    expected, seconds = model_of(whole / "run"), seconds_of_training(whole / "run")
    print(f"uninterrupted: {expected['steps']} steps in {seconds:.2f} s")
    killed = ended = in_writes = 0
    run = folder / "killed"
    while killed < kills:
        if killed_at(run, ranks, chance.uniform(0.0, seconds), chance.random() < 0.5):
            killed += 1
            in_writes += unfinished(run / "run")
            check_sound(run / "run")
        else:
            ended += 1
            compare(run / "run", expected)
            shutil.rmtree(run)
    process = start(run, ranks)
    _, text = process.communicate(timeout=ENDS_WITHIN_S)
    if process.returncode:
        raise Wrong(f"the last run left with {process.returncode}: {text}")
    compare(run / "run", expected)
    print(f"{killed} kills, {in_writes} of them while a folder was being written; {ended + 1} runs reached the end: all sound")


def start(folder, ranks, background=True):
    """The process of a run that goes on in `folder`."""
    folder.mkdir(exist_ok=True)
    (folder / "run.toml").write_text(CONFIG, encoding="utf-8")
    command = [
        str(BIN / "mpiexec"), "-n", str(ranks), sys.executable, "-m", "deshpc", "train", "run.toml", "--resume",
        "--set", f"checkpoint.background={str(background).lower()}",
    ]  # fmt: skip
    return subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def killed_at(folder, ranks, moment_s, background):
    """Go on, and kill all processes so long after the ranks were ready; False if they had left before.

    The checkpoints that were complete before must be found again, unless newer ones have taken their places.
    """
    before, ready = newest(folder / "run"), count_of(folder / "run", "ready")
    process = start(folder, ranks, background)
    while process.poll() is None and count_of(folder / "run", "ready") == ready:
        time.sleep(0.01)
    job = [process.pid, *descendants(process.pid)]
    until = time.monotonic() + moment_s
    while process.poll() is None and time.monotonic() < until:
        time.sleep(0.001)
    if process.poll() is not None:
        _, text = process.communicate()
        if process.returncode:
            raise Wrong(f"a run left with {process.returncode}: {text}")
        return False
    for pid in reversed(job):  # the ranks before their launcher, which would end them more gently
        with_signal(pid, signal.SIGKILL)
    process.communicate(timeout=ENDS_WITHIN_S)
    while any(alive(pid) for pid in job):
        time.sleep(0.01)
    if newest(folder / "run") < before:
        raise Wrong(f"a checkpoint of {before} steps was complete; the newest is now one of {newest(folder / 'run')}")
    return True


def check_sound(run):
    """Every folder that counts is whole."""
    from deshpc.checkpoint.folders import model_folder, step_folders
    from deshpc.checkpoint.load import verify
    from deshpc.errors import DataError

    folders = [folder for _, folder in step_folders(run)]
    if (run / "model").exists() or (run / "model.old").exists():
        folders.append(model_folder(run))
    for folder in folders:
        try:
            verify(folder)
        except DataError as error:
            raise Wrong(str(error)) from None


def newest(run):
    from deshpc.checkpoint.folders import step_folders

    return max((steps for steps, _ in step_folders(run)), default=0)


def unfinished(run):
    """Whether a folder was being written or replaced."""
    return any(run.rglob("*.partial")) or any(run.rglob("*.old"))


def model_of(run):
    """Steps and content of a run's model, and its evaluations."""
    from deshpc.storage.container import Container

    manifest = json.loads((run / "model" / "manifest.json").read_bytes())
    files = {path.name: Container(path) for path in (run / "model").iterdir() if path.name != "manifest.json"}
    content = {name: {part: one.read(part).tobytes() for part in one.names} for name, one in files.items()}
    return {"steps": manifest["steps"], "rows": manifest["rows"], **content, "evaluations": evaluations(run)}


def evaluations(run):
    """{steps: metrics} of all evaluations that were recorded; one that was repeated has to be the same."""
    found = {}
    for line in lines_of(run):
        if line["event"] == "valid":
            metrics = {name: value for name, value in line.items() if name != "time_s"}
            if found.setdefault(line["step"], metrics) != metrics:
                raise Wrong(f"the evaluation after {line['step']} steps was repeated with another result")
    return found


def compare(run, expected):
    found = model_of(run)
    wrong = [name for name in {**expected, **found} if found.get(name) != expected.get(name)]
    if wrong:
        raise Wrong(f"the model at the end differs in {', '.join(wrong)}")
    check_sound(run)


def lines_of(run):
    """The whole lines of a run's record."""
    path = run / "record.jsonl"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def count_of(run, event):
    return sum(line["event"] == event for line in lines_of(run))


def seconds_of_training(run):
    times = {line["event"]: line["time_s"] for line in lines_of(run)}
    return times["result"] - times["ready"]


def descendants(pid):
    """Processes that a process has started, and those that they have, parents first."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(text) for text in task.read_text().split()]
        except OSError:  # it has left meanwhile
            continue
        for child in children:
            found += [child, *descendants(child)]
    return found


def with_signal(pid, number):
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
