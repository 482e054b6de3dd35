"""Draw configurations from the schema, for so many seconds; each trains, is read again, scored and exported, or is refused.

    python scripts/attacks/configurations.py [--seconds 600] [--first 0] [--few-kernels]
    mpiexec -n 3 python scripts/attacks/configurations.py --seconds 600

As tests/training/test_drawn.py, with all types and dimensions unless --few-kernels: most of the time goes to the compiler.  A number
draws the same configuration on any number of ranks.  On one rank a finding is printed and the next one drawn; on several, the rank
that met it ends the job.  Exit code 1 if anything was found.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--first", type=int, default=0, help="number of the first configuration")
    parser.add_argument("--most", type=int, default=10**9, help="configurations at most")
    parser.add_argument("--few-kernels", action="store_true", help="the types and dimensions of the tests")
    options = parser.parse_args()

    from drawn_config import FEW_KERNELS, Draw
    from drawn_run import outcome

    import deshpc

    with deshpc.ranks() as world:
        begin, found, number = time.monotonic(), Counter(), options.first
        folder = Path(world.bcast(tempfile.mkdtemp() if world.rank == 0 else None))
        while world.bcast(time.monotonic() - begin < options.seconds) and number < options.first + options.most:
            draw = Draw(number, folder, FEW_KERNELS if options.few_kernels else ())
            if world.rank == 0:
                (folder / "drawn.json").write_text(json.dumps(draw.tree, indent=1), encoding="utf-8")
            try:
                found[outcome(world, draw)] += 1
            except Exception:
                if world.rank == 0 or world.size > 1:
                    print(f"configuration {number}: {json.dumps(draw.tree)}\n{traceback.format_exc()}", flush=True)
                if world.size > 1:
                    raise
                found["findings"] += 1
            number += 1
            world.Barrier()
            if world.rank == 0:
                shutil.rmtree(folder / "run", ignore_errors=True)
            world.Barrier()
        if world.rank == 0:
            shutil.rmtree(folder)
            print(f"{number - options.first} configurations on {world.size} ranks: {dict(found)}", flush=True)
    return 1 if found["findings"] else 0


if __name__ == "__main__":
    sys.exit(main())
