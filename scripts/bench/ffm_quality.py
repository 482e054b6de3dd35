"""MovieLens: field-aware, field-weighted and field-matrixed factorization machines beside an FM.  Seeds, AUC, log-loss, numbers a row.

    python scripts/bench/ffm_quality.py SOURCE [--parts implicit rating] [--variants NAME ...] [--seeds 1 2 3] [--threads 2] [--set SECTION.KEY=VALUE ...]

SOURCE : the folder of the raw files, see examples/movielens/README.md
Fields, batches and stopping are those of examples/movielens/implicit_fm.toml and rating_fm.toml; what differs is in VARIANTS.  Sizes, rates and L2 were chosen by
the log-loss of the validation part, by seed 1 (`--seeds 1 --set` tries others).  Prints a line a variant: mean (standard deviation) over the seeds.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from seeds import spread

EXAMPLE = Path(__file__).parents[2] / "examples" / "movielens"
ADAM = ("optimizer.dense_name=adam",)  # what pairs of fields weigh, which every sample touches: at a rate of its own
SLOW = ("optimizer.learning_rate=0.14", "optimizer.l2=0.45", "model.init_std=0.1", *ADAM, "optimizer.dense_learning_rate=1e-4")
START = ("optimizer.learning_rate=0.14", "optimizer.l2=0.3", "model.init_std=0.1")
VARIANTS = {  # {part: {variant: overrides}}
    "implicit": {
        "fm": ("optimizer.l2=0.45", "model.init_std=0.1"), "fm_wide": ("model.dim=64",), "ffm": ("model.name=ffm", *START), "fwfm": ("model.name=fwfm", *SLOW),
        "fmfm": ("model.name=fmfm", *SLOW),
    },
    "rating": {
        "fm": ("optimizer.l2=0.6", "model.init_std=0.03"), "fm_wide": ("model.dim=64", "optimizer.l2=0.6", "model.init_std=0.03"),
        "ffm": ("model.name=ffm", "model.dim=4", "optimizer.l2=0.2", "model.init_std=0.03"),
        "fwfm": ("model.name=fwfm", "optimizer.l2=0.6", "model.init_std=0.03", *ADAM, "optimizer.dense_learning_rate=1e-5"),
        "fmfm": ("model.name=fmfm", "optimizer.l2=0.9", "model.init_std=0.03", *ADAM, "optimizer.dense_learning_rate=1e-2"),
    },
}  # fmt: skip


def configuration(part, overrides, seed, data, folder, threads):
    """The Config of a run.  data, folder : of the prepared files, and of the run"""
    from deshpc.config import load, override, resolved
    from deshpc.config.load import build

    tree = resolved(load(EXAMPLE / f"{part}_fm.toml"))
    tree["data"].update({name: [str(data / f"{part}_{name}.csv.gz")] for name in ("train", "valid", "test")})
    tree["train"]["seed"] = seed
    tree["compute"]["threads_per_rank"] = threads
    tree["run"]["directory"] = str(folder)
    return override(build(tree), *overrides)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--parts", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS["rating"]), choices=list(VARIANTS["rating"]))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", nargs="+", default=[], dest="overrides")
    options = parser.parse_args()
    from mpi4py import MPI

    import deshpc

    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        subprocess.run([sys.executable, EXAMPLE / "prepare.py", options.source, data], check=True)
        print(f"{'part':<10}{'variant':<9}{'valid AUC':>17}{'test AUC':>17}{'valid log-loss':>17}{'test log-loss':>17}{'samples/s':>12}")
        for part in options.parts:
            for variant in options.variants:
                results = []
                for seed in options.seeds:
                    given = part, (*VARIANTS[part][variant], *options.overrides), seed, data, Path(folder) / f"{part}-{variant}-{seed}", options.threads
                    results.append(deshpc.train(configuration(*given), MPI.COMM_SELF))
                columns = [spread([getattr(getattr(one, of), name) for one in results]) for name in ("auc", "log_loss") for of in ("valid", "test")]
                speed = statistics.mean(one.samples_per_s for one in results)
                print(f"{part:<10}{variant:<9}" + "".join(f"{column:>17}" for column in columns) + f"{speed:>12,.0f}", flush=True)


if __name__ == "__main__":
    main()
