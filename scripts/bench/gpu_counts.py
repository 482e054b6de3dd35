"""What a step of training asks of a CUDA device: kernel launches, copies, memsets and waits, for each combination of options.

    python scripts/bench/gpu_counts.py [--ranks 1 2] [--out docs/measured/gpu_counts.json]

Needs no GPU: the device is the CPU executor of the tests, behind a wrapper that counts (`tests/support/counting_device.py`).
Steps are steady ones with Adagrad: all rows are there, nothing grows, nothing is compiled, and sorts go through
as many digits as those of batches with 2^16 to 2^24 distinct keys.  `tests/cuda/test_counts.py` holds a step to the file.
"""

import argparse
import json
import subprocess
import sys
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "support")]
OUT = ROOT / "docs" / "measured" / "gpu_counts.json"


def worker(wanted):
    """Count those cases, or all, on COMM_WORLD; rank 0 prints one line of JSON.  Collective."""
    from mpi4py import MPI
    from step_counts import cases, counts_of

    comm = MPI.COMM_WORLD
    found = {str(case): counts_of(comm, case) for case in cases(comm.size) if not wanted or str(case) in wanted}
    if comm.rank == 0:
        print(json.dumps(found))


def measure(ranks):
    """{case: counts} on so many ranks."""
    launch = [Path(sys.executable).with_name("mpiexec"), "-n", str(ranks)] if ranks > 1 else []
    command = [*launch, sys.executable, __file__, "--worker"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def table(found):
    """Lines of Markdown: a cell has the number of a plain step or, where they differ, plain / clipped / fixed point."""
    from step_counts import COUNTED, MODELS, Case, kinds_of

    yield "| ranks | exchange | routing | model | " + " | ".join(COUNTED) + " |"
    yield "|---|---|---|---|" + "---:|" * len(COUNTED)
    for ranks, of_cases in found.items():
        for exchange, routing in dict.fromkeys(tuple(case.split(", ")[1:3]) for case in of_cases):
            rows = [
                (model, [_cell([of_cases[str(Case(model, exchange, routing, kind))][what] for kind in kinds_of(model)]) for what in COUNTED])
                for model in MODELS
            ]
            way = ("any", "any") if ranks == "1" else (exchange, routing)
            for cells, models in groupby(rows, key=lambda row: row[1]):
                yield f"| {' | '.join([ranks, *way, ', '.join(model for model, _ in models), *cells])} |"


def _cell(numbers):
    return str(numbers[0]) if len(set(numbers)) == 1 else " / ".join(map(str, numbers))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--worker", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker is not None:
        return worker(options.worker)
    found = {str(ranks): measure(ranks) for ranks in options.ranks}
    print(*table(found), sep="\n")
    options.out.write_text(json.dumps({"command": "scripts/bench/gpu_counts.py", "ranks": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
