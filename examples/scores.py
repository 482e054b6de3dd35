"""Train the models of an example and set their test AUC beside reference scores: what run.py calls.

LR and FM are trained on 1 and on 4 ranks, which have to agree; deep models, whose scores vary with the seed, from several seeds.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path

BIN = Path(sys.executable).parent
RANKS = (1, 4)
SEEDS = (1, 2, 3)
MARGIN = 0.003  # of the test AUC, below its reference
ROUNDING = 1e-6  # most that it may depend on the number of ranks


def main(folder, reference, deep, text):
    """Prepare the data and print two tables, by the command line SOURCE [MODEL ...].

    folder    : of the example: prepare.py, and a configuration MODEL.toml for each model
    reference : {model: test AUC} of those trained on several numbers of ranks
    deep      : {model: test AUC, None where nothing is known} of those trained from several seeds
    text      : shown where the command line is not as it should be
    Exits with an error if a test AUC is more than MARGIN below its reference, or if it depends on the number of ranks.
    """
    if len(sys.argv) < 2 or not set(sys.argv[2:]) <= {*reference, *deep}:
        sys.exit(text)
    subprocess.run([sys.executable, folder / "prepare.py", sys.argv[1]], check=True)
    models = sys.argv[2:] or [*reference, *deep]
    missed = by_ranks(folder, {model: reference[model] for model in models if model in reference})
    missed += by_seeds(folder, {model: deep[model] for model in models if model in deep})
    if missed:
        sys.exit(f"below the required score, or not the same on 1 and 4 ranks: {', '.join(missed)}")


def by_ranks(folder, reference):
    """Print the scores of each model on each number of ranks; returns the models that miss their reference, or differ."""
    missed = []
    if reference:
        print(
            f"{'model':<17}{'ranks':>6}{'valid AUC':>12}{'test AUC':>12}{'reference':>11}{'required':>10}{'test log-loss':>15}"
            f"{'samples/s':>12}"
        )
    for model in reference:
        required, scores = reference[model] - MARGIN, []
        for ranks in RANKS:
            result = train(folder, model, ranks)
            test = result["test"]
            scores.append(test["auc"])
            print(
                f"{model:<17}{ranks:>6}{result['valid']['auc']:>12.6f}{test['auc']:>12.6f}{reference[model]:>11.4f}"
                f"{required:>10.4f}{test['log_loss']:>15.6f}{result['samples_per_s']:>12,.0f}",
                flush=True,
            )
        difference = max(scores) - min(scores)
        print(f"{'':<17}difference between numbers of ranks: {difference:.1e}")
        if min(scores) < required or difference > ROUNDING:
            missed.append(model)
    return missed


def by_seeds(folder, reference):
    """Print mean and standard deviation of each model's scores over the seeds; returns the models that miss their reference."""
    missed = []
    if reference:
        print(f"{'model':<17}{'valid AUC':>17}{'test AUC':>17}{'reference':>11}{'required':>10}{'test log-loss':>17}")
    for model, score in reference.items():
        results = [train(folder, model, 1, seed) for seed in SEEDS]
        valid, test = ([result[part]["auc"] for result in results] for part in ("valid", "test"))
        known = ("none", "") if score is None else (f"{score:.4f}", f"{score - MARGIN:.4f}")
        loss = spread([result["test"]["log_loss"] for result in results])
        print(f"{model:<17}{spread(valid):>17}{spread(test):>17}{known[0]:>11}{known[1]:>10}{loss:>17}", flush=True)
        if score is not None and statistics.mean(test) < score - MARGIN:
            missed.append(model)
    return missed


def spread(numbers):
    """Mean and standard deviation, as in 0.7316 (.0002)."""
    return f"{statistics.mean(numbers):.4f} ({f'{statistics.stdev(numbers):.4f}'.removeprefix('0')})"


def train(folder, model, ranks, seed=1):
    """The result line of one training's record."""
    directory = Path("runs") / f"{folder.name}-{model}-{ranks}-{seed}"
    command = [
        BIN / "mpiexec", "-n", str(ranks), sys.executable, "-m", "deshpc", "train", folder / f"{model}.toml",
        "--check-bytes", "--overwrite", "--set", f"run.directory={json.dumps(str(directory))}", "--set", f"train.seed={seed}",
    ]  # fmt: skip
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads((directory / "record.jsonl").read_text(encoding="utf-8").splitlines()[-1])
