"""Forged caches, checkpoints and exported models, with right checksums, against every command that reads one.

    python scripts/attacks/forged_files.py [--files 400] [--seed 1] [--jobs 2] [--only cache,rows,dense,manifest,model] [--verbose]

A small model is trained, saved and exported from rows with every kind of field.  Then what a file says of itself (every entry of
its JSON, with values of every kind) and what it holds (labels, keys, fields, offsets, shapes, types, order, numbers) is
changed, and the file is signed again (tests/support/forgeries.py).  Each forged file is read by every command that reads its kind,
in a process of its own with a limit of memory and of time.

A finding is a signal, a traceback, an exit code that is not documented, an end by a limit, many lines, or an exit code 0 with
another result than the sound file's, unless what was changed is a number that nobody can tell from a sound one.

Exit code 1 if there is a finding.  Linux.
"""

import argparse
import hashlib
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support")]

from every_kind import tree  # noqa: E402
from forgeries import container_forgeries, forge, forge_manifest, manifest_forgeries  # noqa: E402

MEMORY_BYTES, SECONDS = 6 << 30, 90
LINES = 12
CODES = (0, 1, 2, 3, 4)

COMMANDS = {
    "cache": ("train-cache", "eval-cache", "predict-cache", "profile", "inspect"),
    "rows": ("resume", "eval", "predict", "export", "inspect"),
    "dense": ("resume", "eval", "predict", "export", "inspect"),
    "manifest": ("resume", "eval", "predict", "export", "inspect", "info"),
    "model": ("predictor", "inspect"),
}
DESCRIBING = ("profile", "inspect", "info")  # commands that print what a file says of itself

# Numbers that are as good as any other: a reader cannot tell, or nothing depends on them.
_FREE = re.compile(
    r"about\.(schema\.(label|fields\.\d+\.(name|buckets|separator|weight_separator|pooling|linear_pooling|kind)))"
    r"|.*(mean|std|boundaries|boundaries\.\d+): |about\.(training|steps|numbers|skipped|examples|model\.(init_std|expected_rows|dropout))"
    r"|(config|source)\.|(random|model|deshpc|dense/|values|weights|embeddings|numbers/|state|truth)|dense"
    r"|(values|labels|counts|steps)/\d+: "
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default=",".join(COMMANDS))
    parser.add_argument("--match", default="", help="only forgeries whose text has this")
    parser.add_argument("--verbose", action="store_true", help="print numbers that were changed to others, as good to a reader, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return _attack(Path(folder), options)


def _attack(folder, options):
    sound = folder / "sound"
    sound.mkdir()
    _preload()
    _make(sound)
    results = {command: _run_all(folder, [(sound, command)], 1)[0] for kind in COMMANDS.values() for command in kind}
    for command, (code, text, _) in results.items():
        if code != 0:
            sys.exit(f"{command} of the sound files: exit code {code}\n{text}")
    chosen, chance = [], random.Random(options.seed)
    kinds = options.only.split(",")
    for kind in kinds:
        every = [one for one in _forgeries(sound, kind) if options.match in str(one[2])]
        chosen += [(kind, *one) for one in chance.sample(every, min(len(every), -(-options.files // len(kinds))))]
    print(f"{len(chosen)} forged files: {dict(Counter(kind for kind, *_ in chosen))}", flush=True)
    findings, outcomes, tasks = [], Counter(), []
    for number, (kind, write, path, forgery) in enumerate(chosen):
        tasks += [(number, kind, write, path, forgery, command) for command in COMMANDS[kind]]
    begin = time.monotonic()
    for task, outcome in _pool(folder, sound, tasks, options.jobs):
        _, kind, _, path, forgery, command = task
        what = _judge(outcome, results[command], command, forgery)
        outcomes[kind, "refused" if outcome[0] else "accepted"] += 1
        if what is None and outcome[0] == 0 and command not in DESCRIBING and outcome[2] != results[command][2]:
            outcomes[kind, "another number"] += 1
            if options.verbose:
                print(f"another number {kind} {path.name} | {forgery} | {command}", flush=True)
        if what:
            findings.append((kind, path.name, str(forgery), command, what))
            print(f"FINDING {kind} {path.name} | {forgery} | {command}: {what}", flush=True)
    for (kind, verdict), count in sorted(outcomes.items()):
        print(f"{kind:<10}{verdict:<16}{count:>6}")
    print(f"{len(tasks)} runs of {len(chosen)} forged files in {time.monotonic() - begin:.0f} s: {len(findings)} findings")
    return int(bool(findings))


def _judge(outcome, sound, command, forgery):
    """What is wrong with an outcome, or None."""
    code, text, result = outcome
    if code is None:
        return f"ended by a limit or a signal: {text[-300:]}"
    if code not in CODES:
        return f"exit code {code}: {text[-300:]}"
    if "Traceback" in text or "MemoryError" in text:
        return f"traceback: {text[-400:]}"
    if code and (text.count("\n") > LINES or not text.strip()):
        return f"{text.count(chr(10))} lines: {text[:300]}"
    if code == 0 and command not in DESCRIBING and result != sound[2] and not _FREE.match(str(forgery)):
        return "accepted, with another result"
    return None


def _forgeries(sound, kind):
    """(function that writes it into a copy, file in the copy, Forgery) of every forgery of a kind of file."""
    if kind == "cache":
        return [(_forge, Path("cache/test.cache"), one) for one in container_forgeries(sound / "cache/test.cache")]
    if kind == "model":
        return [(_forge, Path("exported.model"), one) for one in container_forgeries(sound / "exported.model")]
    model = sound / "run/model"
    if kind == "manifest":
        return [(_forge_manifest, Path("manifest.json"), one) for one in manifest_forgeries(model)]
    name = "dense" if kind == "dense" else next(path.name for path in model.glob("*.rows"))
    return [(_forge_inside, Path(name), one) for one in container_forgeries(model / name)]


def _forge(copy, path, forgery):
    forge(copy / path, forgery)


def _folders(copy):
    return [copy / "run/model", *(copy / "run/checkpoints").iterdir()]


def _forge_inside(copy, path, forgery):
    for folder in _folders(copy):
        forge(folder / path, forgery)
        forge_manifest(folder)


def _forge_manifest(copy, path, forgery):
    for folder in _folders(copy):
        forge_manifest(folder, forgery)


def _make(folder):
    """Train, save, convert, export: everything that is forged afterwards."""
    options = {
        "optimizer": {"name": "adam", "learning_rate": 0.01}, "train": {"epochs": 2, "global_batch_samples": 64},
        "data": {"train": ["train.csv"], "test": ["test.csv"]},
    }  # fmt: skip
    config = tree(folder, "deepfm", **options)
    config["model"] |= {"hidden": [4], "normalisation": "batch"}
    config["data"] |= {"train": ["train.csv"], "test": ["test.csv"]}
    config["checkpoint"] = {"every_steps": 4, "keep": 1, "background": False}
    config["run"] = {"directory": "run"}
    from deshpc.cli.toml import to_toml
    from deshpc.config import resolved
    from deshpc.config.load import build

    (folder / "run.toml").write_text(to_toml(resolved(build(config, base=Path(".")))).replace(str(Path.cwd()), "."))
    text = (folder / "run.toml").read_text()
    (folder / "run.toml").write_text(re.sub(r'"[^"]*/(train|test)\.csv"', r'"\1.csv"', text))
    for arguments in (
        ["train", "run.toml"], ["convert", "run.toml", "--out", "cache"],
        ["train", "cache/config.toml", "--set", "run.directory=cached", "--set", "checkpoint.every_steps=0"],
        ["export", "run", "--out", "exported.model"],
    ):  # fmt: skip
        code, out, _ = _wait(*_start(folder, arguments, folder / "out.txt"))
        if code != 0:
            sys.exit(f"{' '.join(arguments)}: exit code {code}\n{out}")


def _arguments(command):
    """What a command is called with in a copy of the folder, and the file in which its result is."""
    return {
        "train-cache": (["train", "cache/config.toml", "--set", 'data.train=["cache/test.cache"]', "--set", "train.epochs=1",
                         "--set", "run.directory=again", "--set", "checkpoint.every_steps=0"], "again/record.jsonl"),
        "eval-cache": (["eval", "cached", "--set", 'data.test=["cache/test.cache"]', "--set", "run.directory=again"], "again/eval-test.jsonl"),
        "predict-cache": (["predict", "cached", "--out", "scores.csv", "--data", "cache/test.cache"], "scores.csv"),
        "profile": (["profile", "cache/test.cache"], None),
        "inspect": (["inspect", "."], None),
        "resume": (["train", "run.toml", "--resume", "--set", "train.epochs=3"], "run/record.jsonl"),
        "eval": (["eval", "run", "--set", 'data.test=["test.csv"]', "--set", "run.directory=again"], "again/eval-test.jsonl"),
        "predict": (["predict", "run", "--out", "scores.csv", "--data", "test.csv"], "scores.csv"),
        "export": (["export", "run", "--out", "again.model"], "again.model"),
        "info": (["info", "run"], None),
        "predictor": (None, "scores.txt"),
    }[command]  # fmt: skip


def _preload():
    """Import all that commands need but MPI, which must not be shared by processes: a fork of this process starts at once."""
    import deshpc.backend.cpu.backend
    import deshpc.cli.inspect
    import deshpc.cli.main
    import deshpc.cli.profile
    import deshpc.data.cached_input
    import deshpc.data.statistics
    import deshpc.model.build_deep
    import deshpc.model.definitions.deepfm
    import deshpc.serve.export
    import deshpc.serve.predictor
    import deshpc.training.api
    import deshpc.training.predict  # noqa: F401


def _run_all(folder, tasks, jobs):
    """[(code, text, result)] of (sound folder, command)."""
    outcomes = []
    for number, (sound, command) in enumerate(tasks):
        copy = folder / f"sound-{command}-{number}"
        shutil.copytree(sound, copy)
        outcomes.append(_outcome(copy, command, *_wait(*_begin(copy, command))[:2]))
        shutil.rmtree(copy)
    return outcomes


def _pool(folder, sound, tasks, jobs):
    """Yield (task, (code, text, result)), of so many at a time."""
    running, waiting = {}, list(reversed(tasks))
    while running or waiting:
        while waiting and len(running) < jobs:
            task = waiting.pop()
            number, _, write, path, forgery, command = task
            copy = folder / f"copy-{number}-{command}"
            shutil.copytree(sound, copy)
            try:
                write(copy, path, forgery)
            except Exception as error:
                sys.exit(f"{forgery}: cannot be forged: {error!r}")
            running[_begin(copy, command)] = task, copy
        for process in list(running):
            pid, out, begun = process
            done, status = os.waitpid(pid, os.WNOHANG)
            if not done and time.monotonic() - begun > SECONDS:
                os.kill(pid, signal.SIGKILL)
                _, status = os.waitpid(pid, 0)
                done = pid
            if done:
                task, copy = running.pop(process)
                code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
                text = out.read_text(errors="replace") + ("" if code is not None else f" [signal {os.WTERMSIG(status)}]")
                yield task, _outcome(copy, task[-1], code, text)
                shutil.rmtree(copy)
        time.sleep(0.005)


def _begin(copy, command):
    return _start(copy, _arguments(command)[0], copy / "out.txt")


def _start(folder, arguments, out):
    """(pid, file of its output, time) of a process that runs a command of deshpc, or the predictor, in a folder."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        _child(folder, arguments, out)
    return pid, out, time.monotonic()


def _child(folder, arguments, out):
    code = 99
    try:
        os.chdir(folder)
        target = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(target, 1)
        os.dup2(target, 2)
        sys.stdout, sys.stderr = io.TextIOWrapper(open(1, "wb", closefd=False)), io.TextIOWrapper(open(2, "wb", 0, closefd=False), write_through=True)  # noqa: SIM115
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        from deshpc.cli import main as cli

        try:
            code = _predictor() if arguments is None else cli.main(arguments)
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        sys.stdout.flush()
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code or 0)


def _predictor():
    """Score rows by the exported model: what is not a DeshpcError is a finding."""
    from every_kind import NAMES, make_rows

    import deshpc
    from deshpc.errors import DeshpcError

    try:
        predictor = deshpc.Predictor("exported.model")
        rows = [{name: row[name] for name in NAMES} for row in make_rows(1, 40)]
        for row in rows:  # cells of several values are lists there
            row["tags"] = row["tags"].split("|") if row["tags"] else []
            for name, separator in (("history", " "), ("recent", "|")):
                cells = [cell.partition(":") for cell in row[name].split(separator) if cell]
                row[name] = [(value, float(weight or 1)) for value, _, weight in cells]
            for name in ("age", "price", "income", "level"):
                row[name] = float(row[name]) if row[name] else None
        scores = predictor.predict(rows)
    except DeshpcError as error:
        print(f"deshpc: {error}", file=sys.stderr)
        return error.exit_code
    Path("scores.txt").write_text(repr(scores.tolist()))
    return 0


def _wait(pid, out, begun):
    _, status = os.waitpid(pid, 0)
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else None, out.read_text(errors="replace"), None


def _outcome(copy, command, code, text):
    """(code, text, what the command has computed)."""
    result, name = None, _arguments(command)[1]
    if code == 0 and name is not None and (copy / name).exists():
        content = (copy / name).read_bytes()
        if name.endswith(".jsonl"):
            last = json.loads(content.splitlines()[-1])
            result = {key: last.get(key) for key in ("auc", "log_loss", "steps", "test", "valid")}
        else:
            result = hashlib.sha256(content).hexdigest()
    return code, text, result


if __name__ == "__main__":
    sys.exit(main())
