"""Train the models of an example on 1 and on 4 ranks and set their test AUC beside reference scores: what run.py calls."""

import json
import subprocess
import sys
from pathlib import Path

BIN = Path(sys.executable).parent
RANKS = (1, 4)
MARGIN = 0.003  # of the test AUC, below its reference
ROUNDING = 1e-6  # most that it may depend on the number of ranks


def main(folder, reference, text):
    """Prepare the data and print a table, by the command line SOURCE [MODEL ...].

    folder    : of the example: prepare.py, and a configuration MODEL.toml for each model
    reference : {model: test AUC}
    text      : shown where the command line is not as it should be
    Exits with an error if a test AUC is more than MARGIN below its reference, or if it depends on the number of ranks.
    """
    if len(sys.argv) < 2 or not set(sys.argv[2:]) <= set(reference):
        sys.exit(text)
    subprocess.run([sys.executable, folder / "prepare.py", sys.argv[1]], check=True)
    print(
        f"{'model':<17}{'ranks':>6}{'valid AUC':>12}{'test AUC':>12}{'reference':>11}{'required':>10}{'test log-loss':>15}"
        f"{'samples/s':>12}"
    )
    missed = []
    for model in sys.argv[2:] or reference:
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
    if missed:
        sys.exit(f"below the required score, or not the same on 1 and 4 ranks: {', '.join(missed)}")


def train(folder, model, ranks):
    """The result line of one training's record."""
    directory = Path("runs") / f"{folder.name}-{model}-{ranks}"
    command = [
        BIN / "mpiexec", "-n", str(ranks), sys.executable, "-m", "deshpc", "train", folder / f"{model}.toml",
        "--check-bytes", "--set", f"run.directory={json.dumps(str(directory))}",
    ]  # fmt: skip
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads((directory / "record.jsonl").read_text(encoding="utf-8").splitlines()[-1])
