"""Kill a run whose rows come and go at random moments, while it writes checkpoints of what has changed and exports deltas.

    python scripts/attacks/deltas.py [--kills 30] [--ranks 2] [--seed 1] [--steps 400]

A run of so many steps is killed by SIGKILL, all of its processes at once, and goes on with `--resume` and another schedule, until it has been
killed so often or has ended; then it goes on undisturbed.  A Predictor follows its exports meanwhile.  In the end every export, folded with those before
it, has to be, bit for bit, the whole export of a run of as many steps that nobody killed; numbers of exports have no gap; no version that the
Predictor has served is another; and the model is that of the run that nobody killed.  Fixed point, so that ranks may differ.
Exit code 1 if anything differs.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import deshpc
from deshpc.checkpoint.folders import step_folders
from deshpc.serve.exports_folder import newest_chain, numbered

CONFIG = """
[data]
format = "synthetic"
synthetic = {{train_rows = {rows}, valid_rows = 100, test_rows = 100}}
[model]
dim = 4
[train]
global_batch_samples = 50
accumulate = "int64"
[table]
admit_after = 2
max_age_steps = 60
half_life_steps = 20
max_rows = 2000
evict_every_steps = 7
[compute]
threads_per_rank = 1
[checkpoint]
keep = {keep}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=400)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wrong = attack(Path(folder), options, random.Random(options.seed))
    print("\n".join(wrong) or "as it should be")
    sys.exit(bool(wrong))


def attack(folder, options, draw):
    """[text] of what is wrong."""
    config = folder / "config.toml"
    config.write_text(CONFIG.format(rows=50 * options.steps, keep=options.steps), encoding="utf-8")
    begin = time.monotonic()
    start(config, folder / "whole", 1, "checkpoint.every_steps=1").wait()
    usual_s = time.monotonic() - begin
    expected = {}
    for steps, checkpoint in step_folders(folder / "whole"):
        deshpc.export(checkpoint, folder / "export")
        expected[steps] = (folder / "export").read_bytes()
    exports, predictor, served, killed = folder / "run" / "exports", None, [], 0
    while True:
        ranks = draw.randint(1, options.ranks)
        run = start(
            config, folder / "run", ranks, f"checkpoint.every_steps={draw.randint(1, 5)}", f"checkpoint.full_every={draw.randint(1, 6)}",
            "export.deltas=true", f"export.every_checkpoints={draw.randint(1, 3)}", f"export.full_every={draw.choice([0, 3, 20])}",
        )  # fmt: skip
        ends = time.monotonic() + draw.uniform(0.3, 1) * usual_s if killed < options.kills else float("inf")
        while run.poll() is None and time.monotonic() < ends:
            time.sleep(0.05)
            if exports.is_dir() and newest_chain(exports):
                predictor = predictor or deshpc.Predictor(exports)
                served += [predictor.identity] if predictor.follow(exports) else []
        if run.poll() is not None:
            break
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        killed += 1
    wrong = [] if run.returncode == 0 else [f"the run ended with {run.returncode}"]
    wrong += check(folder, exports, expected, served)
    print(f"{killed} kills, {len(numbered(exports))} exports, {len(served)} times something new for the predictor")
    return wrong


def start(config, run, ranks, *settings):
    """A training process of a group of its own."""
    sets = [one for setting in (f"run.directory={run}", *settings) for one in ("--set", setting)]
    command = [sys.executable, "-m", "deshpc", "train", str(config), "--resume", *sets]
    if ranks > 1:
        command = [str(Path(sys.executable).with_name("mpiexec")), "-n", str(ranks), *command]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def check(folder, exports, expected, served):
    """[text] of what is wrong with the exports and the model."""
    found, wrong, identities, base, after = numbered(exports), [], set(), None, []
    if list(found) != list(range(len(found))):
        wrong.append(f"numbers of exports: {list(found)}")
    for path in found.values():
        base, after = (path, []) if path.suffix == ".model" else (base, [*after, path])
        deshpc.fold(base, after, folder / "folded")
        version = deshpc.Predictor(folder / "folded")
        identities.add(version.identity)
        if (folder / "folded").read_bytes() != expected[version.model.steps]:
            wrong.append(f"{path.name}: is not the whole export after {version.model.steps} steps")
    if not set(served) <= identities:
        wrong.append("a version was served that no export is")
    deshpc.export(folder / "run", folder / "export")
    if (folder / "export").read_bytes() != expected[max(expected)]:
        wrong.append("the model is another than that of the run that nobody killed")
    return wrong


if __name__ == "__main__":
    main()
