"""From the start of `deshpc train` to the end of its first step: whole processes that train one batch of Criteo's text, and save no model.

    python scripts/bench/start.py [--repeats 7]

The first round compiles what is not compiled yet, and is not timed.  LR and FM on 1 rank of 2 threads and on 2 ranks; medians and range in seconds.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from text import BIN, write_rows

BATCH = 8192
VARIANTS = {
    "LR, 1 rank x 2 threads": (1, "lr"), "LR, 2 ranks": (2, "lr"), "FM, 1 rank x 2 threads": (1, "fm"), "FM, 2 ranks": (2, "fm"),
}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder) / "rows.tsv", BATCH)
        config = Path(folder) / "click.toml"
        config.write_text(
            f'[data]\nformat = "criteo"\ntrain = "rows.tsv"\n[train]\nglobal_batch_samples = {BATCH}\n[run]\nsave_model = false\n', encoding="utf-8"
        )
        seconds = {name: [] for name in VARIANTS}
        for number in range(repeats + 1):
            for name, (ranks, model) in VARIANTS.items():
                settings = [f"model.name={model}", f"compute.threads_per_rank={2 // ranks}", f"run.directory={folder}/{number}-{ranks}-{model}"]
                launch = [BIN / "mpiexec", "-n", str(ranks)] if ranks > 1 else []
                command = [*launch, sys.executable, "-m", "deshpc", "train", config, *(part for one in settings for part in ("--set", one))]
                begin = time.perf_counter()
                subprocess.run(command, check=True, capture_output=True)
                if number:
                    seconds[name].append(time.perf_counter() - begin)
    for name, some in seconds.items():
        print(f"{name:24} {statistics.median(some):6.2f} ({min(some):.2f} - {max(some):.2f})")


if __name__ == "__main__":
    main()
