"""Prepare MovieLens, train every model on 1 and on 4 ranks, and print the test metrics beside the reference scores.

    python examples/movielens/run.py SOURCE [MODEL ...]     needs mpiexec beside the Python that runs it

SOURCE is the folder of the raw files, see prepare.py; MODEL the name of a configuration, such as rating_fm (default: all).
Ends with an error if a test AUC is more than 0.003 below its reference, or if it depends on the number of ranks.
"""

import json
import subprocess
import sys
from pathlib import Path

HERE, BIN = Path(__file__).parent, Path(sys.executable).parent
RANKS = (1, 4)
REFERENCE = {  # test AUC, see README.md
    "implicit_lr": 0.8677, "implicit_fm": 0.9088, "implicit_ids_lr": 0.8681, "implicit_ids_fm": 0.8875,
    "rating_lr": 0.7911, "rating_fm": 0.7866,
}  # fmt: skip
MARGIN, ROUNDING = 0.003, 1e-6


def train(model, ranks):
    """The result line of one training's record."""
    directory = Path("runs") / f"movielens-{model}-{ranks}"
    command = [
        BIN / "mpiexec", "-n", str(ranks), sys.executable, "-m", "deshpc", "train", HERE / f"{model}.toml",
        "--check-bytes", "--set", f"run.directory={json.dumps(str(directory))}",
    ]  # fmt: skip
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads((directory / "record.jsonl").read_text(encoding="utf-8").splitlines()[-1])


def main(source, models):
    subprocess.run([sys.executable, HERE / "prepare.py", source], check=True)
    print(
        f"{'model':<17}{'ranks':>6}{'valid AUC':>12}{'test AUC':>12}{'reference':>11}{'required':>10}{'test log-loss':>15}"
        f"{'samples/s':>12}"
    )
    missed = []
    for model in models:
        required, scores = REFERENCE[model] - MARGIN, []
        for ranks in RANKS:
            result = train(model, ranks)
            test = result["test"]
            scores.append(test["auc"])
            print(
                f"{model:<17}{ranks:>6}{result['valid']['auc']:>12.6f}{test['auc']:>12.6f}{REFERENCE[model]:>11.4f}"
                f"{required:>10.4f}{test['log_loss']:>15.6f}{result['samples_per_s']:>12,.0f}",
                flush=True,
            )
        difference = max(scores) - min(scores)
        print(f"{'':<17}difference between numbers of ranks: {difference:.1e}")
        if min(scores) < required or difference > ROUNDING:
            missed.append(model)
    if missed:
        sys.exit(f"below the required score, or not the same on 1 and 4 ranks: {', '.join(missed)}")


if __name__ == "__main__":
    if len(sys.argv) < 2 or not set(sys.argv[2:]) <= set(REFERENCE):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2:] or list(REFERENCE))
