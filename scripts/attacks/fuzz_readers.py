"""Feed every reader of rows with random and damaged input, beside an independent reader in plain Python.

    python scripts/attacks/fuzz_readers.py [--seconds 60] [--readers csv parquet] [--seed 1] [--memory 1024] [--keep fuzz]

Readers: csv, tsv, criteo, libsvm, libffm (plain, gzip and Zstandard; whole and in parts; bad rows refused and skipped; any size of
chunk), parquet, and cells: the parsers of single cells, compiled and in NumPy.  Each runs for so many seconds in processes with a limit of
memory beyond what they start with.  Findings: a process that ends, hangs for 20 s, asks for more memory or takes 256 MiB of it; an
exception that is no DataError; a DataError without file and line; rows, numbers, keys or bad lines other than those of the independent
reader.  The input of a finding is kept.  Exit code 1 if there is one.  Linux.
"""

import argparse
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))

HANGS_S = 20
GROWS_KIB = 256 << 10  # inputs are small: what they take more than this is a finding, too
MOST_FINDINGS = 5  # of one process: what comes after them is likely the same


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="for each reader")
    parser.add_argument("--readers", nargs="+", help="all, if not given")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--memory", type=int, default=1024, help="MiB that a process may ask for beyond what it starts with")
    parser.add_argument("--keep", default="fuzz", help="folder for the inputs of findings")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)  # reader, folder
    options = parser.parse_args()
    if options.child:
        return child(options, *options.child)
    from reader_cases import READERS

    found = 0
    for name in options.readers or READERS:
        found += attack(name, options)
    print(f"{found} findings")
    return int(found > 0)


def attack(name, options):
    """Run one reader's processes until its time is over; the number of findings."""
    end, seed, found, cases = time.monotonic() + options.seconds, options.seed, 0, 0
    while (left := end - time.monotonic()) > 0 and found < MOST_FINDINGS:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, "--child", name, folder, "--seed", str(seed), "--seconds", str(left)]
            done = subprocess.run([*command, "--memory", str(options.memory)], capture_output=True, text=True)
            *complaints, count = done.stdout.splitlines() or [""]
            if done.returncode == 0 and count.isdigit():
                cases += int(count)
            else:
                how = {-signal.SIGALRM: f"hung for {HANGS_S} s"}.get(done.returncode, f"ended with {done.returncode}")
                complaints = [*complaints, count, f"the process {how}: {done.stderr[-2000:]}"]
                keep(Path(folder) / "rows", Path(folder) / f"{name}-{seed}-last")
            for file in Path(folder).glob(f"{name}-*"):
                keep(file, Path(options.keep) / file.name)
        for one in filter(None, complaints):
            print(f"{name}, seed {seed}: {one}")
            found += 1
        seed += 1000
    print(f"{name}: {cases:,} inputs in {options.seconds:.0f} s, {found} findings", flush=True)
    return found


def keep(file, where):
    if file.exists():
        where.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, where)


def child(options, name, folder):
    """Try inputs until the time is over; print a line for each finding, and last how many inputs there were."""
    from reader_cases import READERS

    reader, path = READERS[name](), Path(folder) / "rows"
    reader.warm_up(path)  # which compiles
    end = time.monotonic() + options.seconds
    status = Path("/proc/self/status").read_text()
    room = int(re.search(r"VmSize:\s+([0-9]+) kB", status)[1]) << 10
    resource.setrlimit(resource.RLIMIT_AS, (room + (options.memory << 20),) * 2)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    case = found = 0
    most = _peak() + GROWS_KIB
    while time.monotonic() < end and found < MOST_FINDINGS:
        signal.alarm(HANGS_S)
        chance = random.Random(f"{options.seed}-{case}")
        try:
            complaint = reader.attempt(chance, path)
        except BaseException:
            complaint = traceback.format_exc(limit=-4)
        if not complaint and _peak() > most:
            complaint, most = f"memory grew by {(_peak() - most + GROWS_KIB) >> 10} MiB", _peak() + GROWS_KIB
        if complaint:
            print(f"case {case}: {complaint[:1500]!r}", flush=True)
            keep(path, Path(folder) / f"{name}-{options.seed}-{case}")
            found += 1
        case += 1
    signal.alarm(0)
    print(case)
    return 0


def _peak():
    """The most KiB of memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    sys.exit(main())
