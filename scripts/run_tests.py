"""Run the tests in pieces, as many at once as there are cores, then on several ranks; report every failure and how to repeat it alone.

    python scripts/run_tests.py                    the quick tests: each kind of case once
    python scripts/run_tests.py --all              every test
    python scripts/run_tests.py tests/ops FILE     all cases of some folders or files
    python scripts/run_tests.py --since main       the quick tests that changes since a commit concern
    python scripts/run_tests.py --share 2/6        the quick tests of every sixth file, the second share
    --shuffle SEED                                 in a random order
    --list                                         say what would run, and run nothing

    RANKS="2 3 4"   the numbers of ranks;  SERIAL=no: only those;  PIECES=2: how many at once, by default a core each

`scripts/test.sh` calls it in an environment that has everything.  Exit code 1 where a test failed.  All pieces run, whatever fails.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
FILES_OF_A_PIECE = 14
MOST_FAILURES = 20  # of a number of ranks: behind so many nothing new is learnt
NO_TESTS = 5  # pytest's exit code
RANK_FAILED = re.compile(r"^(?:\[\d+\] )?rank \d+ of \d+ failed: (?:collecting )?(.+?)(?: \((?:setup|call|teardown)\))?$", re.MULTILINE)


class Outcome(NamedTuple):
    """What became of a piece.  failed : [(test, command that repeats it alone)]"""

    name: str
    seconds: float
    summary: str
    failed: list


def main(argv):
    """Exit code."""
    options = parsed(argv)
    if options.since:
        options.paths += concerned(options.since)
        if not options.paths:
            print(f"no test is concerned by what changed since {options.since}")
            return 0
    chosen = ["--shuffle", options.shuffle] if options.shuffle else []
    if options.since or not (options.all or options.paths):
        chosen.append("--quick")
    paths = share_of(options.share) if options.share else options.paths or ["tests"]
    begin, outcomes = time.monotonic(), []
    serial = os.environ.get("SERIAL", "yes") != "no"
    pieces = pieces_of(paths) if serial else []
    ranks = [int(number) for number in os.environ.get("RANKS", "2 3 4").split()]
    if options.list:
        print(*(" ".join(piece) for piece in pieces), *(f"{number} ranks" for number in ranks), sep="\n")
        return 0
    with ThreadPoolExecutor(int(os.environ.get("PIECES", 0)) or min(8, os.cpu_count() or 1)) as workers:
        for outcome in workers.map(lambda piece: run_piece(piece, chosen), pieces):
            outcomes.append(outcome)
    for number in ranks:
        outcomes.append(run_ranks(number, paths, chosen))
    return report(outcomes, time.monotonic() - begin)


def parsed(argv):
    parser = argparse.ArgumentParser("scripts/test.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", metavar="FOLDER", help="folders or files of tests: all of their cases")
    parser.add_argument("--all", action="store_true", help="every test, not each kind of case once")
    parser.add_argument("--since", metavar="COMMIT", help="tests that concern files changed since a commit")
    parser.add_argument("--share", metavar="I/N", help="the tests of every N-th file, of which this is share I")
    parser.add_argument("--shuffle", metavar="SEED", help="in a random order")
    parser.add_argument("--list", action="store_true", help="say what would run")
    return parser.parse_args(argv)


def share_of(text):
    """[path, ...]: the test files of a share such as "2/6"."""
    number, shares = map(int, text.split("/"))
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py"))[number - 1 :: shares]


def pieces_of(paths):
    """[[path, ...]]: the test files of each folder, in pieces of similar size; those that wait for processes first, then the largest."""
    folders = {}
    for path in paths:
        path = ROOT / path
        for file in sorted(path.rglob("test_*.py")) if path.is_dir() else [path]:
            folders.setdefault(file.parent, []).append(file)
    pieces = []
    for files in folders.values():
        count = -(-len(files) // FILES_OF_A_PIECE)
        pieces += [files[first::count] for first in range(count)]
    pieces.sort(key=lambda files: (not any(map(starts_processes, files)), -sum(file.stat().st_size for file in files)))
    return [[str(file.relative_to(ROOT)) for file in files] for files in pieces]


def starts_processes(file):
    """Whether a test file starts processes, for which it waits longer than it computes."""
    return bool(re.search(r"^(?:import subprocess|from launching import)", file.read_text(encoding="utf-8"), re.MULTILINE))


def run_piece(paths, chosen):
    """The Outcome of some test files in one process."""
    name = os.path.commonpath(paths) + (f" ({len(paths)} files)" if len(paths) > 1 else "")
    with tempfile.TemporaryDirectory() as kept:
        begin = time.monotonic()
        command = [sys.executable, "-m", "pytest", "-q", "-o", f"cache_dir={kept}", *chosen, *paths]
        done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        seconds = time.monotonic() - begin
        record = Path(kept, "v/cache/lastfailed")
        tests = sorted(json.loads(record.read_text())) if record.exists() else []
    failed = [(test, repeating(test)) for test in tests]
    if done.returncode not in (0, NO_TESTS):
        print(done.stdout)
        failed = failed or [(f"{name}: ended with exit code {done.returncode}", repeating(*paths))]
    return told(Outcome(name, seconds, last_line(done.stdout), failed))


def run_ranks(number, paths, chosen):
    """The Outcome of tests on some ranks.  A failure ends them all: then the tests behind it begin anew."""
    begin, failed, behind = time.monotonic(), [], []
    while len(failed) < MOST_FAILURES:
        command = [*launch(), "-n", str(number), sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen, *behind, *paths]
        done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode in (0, NO_TESTS):
            break
        print(done.stdout)
        found = RANK_FAILED.search(done.stdout)
        if found is None:
            failed.append((f"{number} ranks: ended with exit code {done.returncode}", shlex.join(command)))
            break
        failed.append((f"{found[1]} on {number} ranks", repeating(found[1], ranks=number)))
        behind = ["--behind", found[1]]
    return told(Outcome(f"{number} ranks", time.monotonic() - begin, last_line(done.stdout), failed))


def launch():
    """Words of the launcher, which scripts/mpi.sh chooses."""
    return shlex.split(os.environ.get("LAUNCH", "")) or [str(Path(sys.executable).with_name("mpiexec"))]


def repeating(*tests, ranks=1):
    """A command line that runs tests alone, whichever number of ranks has its turn."""
    python = os.path.relpath(sys.executable, ROOT)
    start = [*launch(), "-n", str(ranks), python] if ranks > 1 else [python]
    return "DESHPC_EVERY_CASE=1 " + shlex.join([*start, "-m", "pytest", *tests])


def last_line(text):
    """The counts with which pytest ends."""
    lines = [line.strip("= ") for line in text.splitlines() if re.search(r"\d+ (passed|failed|skipped|deselected|error)", line)]
    return lines[-1] if lines else "no counts"


def told(outcome):
    print(f"== {outcome.name}: {outcome.seconds:.0f} s: {outcome.summary}", flush=True)
    return outcome


def concerned(commit):
    """Test files that changes since a commit concern."""
    commands = ["git", "diff", "--name-only", commit], ["git", "ls-files", "--others", "--exclude-standard"]
    return concerned_by([Path(line) for command in commands for line in subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()])


def concerned_by(changed):
    """Test files that changed files concern: these themselves, those of a module's room, and those that name it."""
    tests = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
    found = set()
    for name in changed:
        room, called = room_and_name(name)
        found.update(path for path, text in tests.items() if path == str(name) or Path(path).parent.name == room or re.search(called, text))
    return sorted(found)


def room_and_name(name):
    """A file's folder of tests, or "", and the pattern by which a test names it."""
    if name.parts[:2] == ("src", "deshpc"):
        room, module = name.parts[2] if len(name.parts) > 3 else "", ".".join(name.with_suffix("").parts[1:])
        package, _, last = module.rpartition(".")
        return room, rf"\b{re.escape(module)}\b|from {re.escape(package)} import .*\b{last}\b"
    if name.parts[0] == "kernels":
        return "cuda", r"(?!)"
    if name.suffix == ".md":
        return "docs", r"(?!)"
    return "", rf"\b{re.escape(name.stem)}\b"


def report(outcomes, seconds):
    """Say what failed, and how to repeat it; the exit code."""
    print(f"\n{'piece':44} seconds")
    for outcome in outcomes:
        print(f"{outcome.name:44} {outcome.seconds:7.0f}  {outcome.summary}")
    failed = [one for outcome in outcomes for one in outcome.failed]
    print(f"{'all':44} {seconds:7.0f}  {f'{len(failed)} FAILED' if failed else 'nothing failed'}")
    for test, command in failed:
        print(f"\nFAILED {test}\n    {command}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
