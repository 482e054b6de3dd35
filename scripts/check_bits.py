"""Does fixed point give the same exported model on any number of ranks?  Every model, and a stop and resume on other ranks.

    python scripts/check_bits.py [--models lr fm ...] [--exchanges allreduce reduce_scatter] [--ranks 1 2 4] [--steps 200] [--out FILE]

Every model is trained for so many steps of a synthetic data set on each number of ranks, in fixed point; then the run on the most ranks
is taken back to its checkpoint of half the steps, as if it had been stopped there, and goes on on half as many ranks.  A line a model has the
SHA-256 of `deshpc export`, or each run's own where they differ.  The file names its exchange; so of runs by several exchanges the numbers alone
are compared: keys, weights, embeddings and dense parameters.  With dropout, clipping and, in turns, batch normalisation.

Exit code 1 on a difference.
"""

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
from itertools import product
from pathlib import Path

from trees import ROOT, run

MODELS = {
    "lr": {}, "fm": {}, "wide_deep": {"normalisation": "batch"}, "deepfm": {}, "dcn": {"normalisation": "layer"}, "dcnv2": {},
    "dlrm": {"bottom_hidden": [16], "normalisation": "batch"}, "xdeepfm": {"cin_layers": [8, 8]}, "nfm": {"normalisation": "batch"},
}  # fmt: skip
BATCH = 256


def configuration(model, exchange, folder, steps):
    """A run's configuration: one pass over as many rows as its steps need."""
    deep = {} if model in ("lr", "fm") else {"hidden": [32, 16], "dropout": 0.1}
    profile = {"profile": "criteo", "train_rows": steps * BATCH - BATCH // 3, "valid_rows": 500, "test_rows": 500}
    return {
        "data": {"format": "synthetic", "synthetic": profile},
        "model": {"name": model, "dim": 8, **deep, **MODELS[model]},
        "optimizer": {"name": "adagrad", "learning_rate": 0.05, "clip_norm": 1.0},
        "train": {"accumulate": "int64", "exchange": exchange, "global_batch_samples": BATCH, "watchdog_s": 600},
        "checkpoint": {"every_steps": steps // 2},
        "compute": {"threads_per_rank": 1},
        "run": {"directory": str(folder)},
    }


def train(job):
    """Train the runs of a job, which is all that a process under mpiexec does here."""
    import deshpc

    with deshpc.ranks() as comm:
        for config in job["runs"]:
            deshpc.train(config, comm, resume=job["resume"])


def launch(ranks, runs, resume, folder):
    """Train these configurations, one after another, on so many ranks."""
    job = folder / "job.json"
    job.write_text(json.dumps({"runs": runs, "resume": resume}), encoding="utf-8")
    done = run(ROOT, ranks, Path(__file__).resolve(), "--job", job, cwd=folder)
    if done.returncode:
        sys.exit(f"{ranks} ranks: exit code {done.returncode}\n{done.stderr[-3000:]}")


def taken_back(whole, folder, step):
    """Make `folder` what the run `whole` was when its checkpoint of `step` was the last."""
    shutil.copytree(whole, folder)
    shutil.rmtree(folder / "model")
    for checkpoint in (folder / "checkpoints").iterdir():
        if checkpoint.name != f"step-{step:012d}":
            shutil.rmtree(checkpoint)


def digest(folder):
    """(SHA-256 of the exported model, that of its numbers, its rows)."""
    from deshpc.serve.export import export
    from deshpc.serve.exported import read_model

    out, numbers = folder / "exported.deshpc", hashlib.sha256()
    export(folder, out)
    model = read_model(out)
    for array in (*model.rows, *(model.dense[name] for name in sorted(model.dense))):
        numbers.update(array.tobytes())
    return hashlib.sha256(out.read_bytes()).hexdigest(), numbers.hexdigest(), len(model)


def check(models, exchanges, all_ranks, steps):
    """[{model, exchange, rows, digests {run: SHA-256}, numbers [SHA-256 of each run's]}], a line of which is printed each."""
    found, cases = [], list(product(models, exchanges))
    with tempfile.TemporaryDirectory(prefix="deshpc-bits-") as temporary:
        base, most = Path(temporary), max(all_ranks)
        for ranks in all_ranks:
            launch(ranks, [configuration(*case, base / f"{ranks} {' '.join(case)}", steps) for case in cases], False, base)
        again = [base / f"again {' '.join(case)}" for case in cases]
        for case, folder in zip(cases, again, strict=True):
            taken_back(base / f"{most} {' '.join(case)}", folder, steps // 2)
        resumed = [configuration(*case, folder, steps) for case, folder in zip(cases, again, strict=True)]
        launch(max(1, most // 2), resumed, True, base)
        for case, folder in zip(cases, again, strict=True):
            digests = {f"{ranks} ranks": digest(base / f"{ranks} {' '.join(case)}") for ranks in all_ranks}
            digests[f"{most}, then {max(1, most // 2)}"] = digest(folder)
            shas, rows = {name: one[0] for name, one in digests.items()}, {one[2] for one in digests.values()}
            numbers = [one[1] for one in digests.values()]
            found.append({"model": case[0], "exchange": case[1], "rows": max(rows), "digests": shas, "numbers": numbers})
            equal = len(set(shas.values())) == 1
            print(f"{case[0]:<10} {case[1]:<15} {max(rows):>8,} rows   {next(iter(shas.values()))[:16] if equal else shas}", flush=True)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--exchanges", nargs="+", default=["allreduce", "reduce_scatter"], choices=["allreduce", "reduce_scatter", "rows"])
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        train(json.loads(options.job.read_text(encoding="utf-8")))
        return 0
    sys.path.insert(0, str(ROOT / "src"))
    found = check(options.models, options.exchanges, options.ranks, options.steps)
    if options.out:
        options.out.write_text(json.dumps(found, indent=1), encoding="utf-8")
    numbers = {model: {sha for one in found if one["model"] == model for sha in one["numbers"]} for model in options.models}
    different = {model for model, shas in numbers.items() if len(shas) > 1}
    different |= {one["model"] for one in found if len(set(one["digests"].values())) > 1}
    print(f"different: {', '.join(sorted(different))}" if different else f"{len(numbers)} models: equal on all ranks, by all exchanges, and when resumed")
    return bool(different)


if __name__ == "__main__":
    sys.exit(main())
