"""Prepare KuaiRand, train every model on 1 and on 4 ranks, and print the test metrics beside the reference scores.

    python examples/kuairand/run.py SOURCE [MODEL ...]     needs mpiexec beside the Python that runs it

SOURCE is the folder of the raw files, see prepare.py; MODEL one of lr, fm, lr_history, fm_history (default: all).
"""

import json
import subprocess
import sys
from pathlib import Path

HERE, BIN = Path(__file__).parent, Path(sys.executable).parent
RANKS = (1, 4)
REFERENCE = {"lr": 0.7334, "fm": 0.7310, "lr_history": 0.7408, "fm_history": 0.7454}  # test AUC, see README.md


def train(model, ranks):
    """The result line of one training's record."""
    directory = Path("runs") / f"kuairand-{model}-{ranks}"
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
        f"{'model':<12}{'ranks':>6}{'valid AUC':>12}{'test AUC':>12}{'reference':>11}{'difference':>12}{'test log-loss':>15}"
        f"{'samples/s':>12}"
    )
    for model in models:
        results = [train(model, ranks) for ranks in RANKS]
        for ranks, result in zip(RANKS, results, strict=True):
            test = result["test"]
            print(
                f"{model:<12}{ranks:>6}{result['valid']['auc']:>12.6f}{test['auc']:>12.6f}{REFERENCE[model]:>11.4f}"
                f"{test['auc'] - REFERENCE[model]:>+12.4f}{test['log_loss']:>15.6f}{result['samples_per_s']:>12,.0f}"
            )
        print(f"{'':<12}difference between numbers of ranks: {abs(results[0]['test']['auc'] - results[1]['test']['auc']):.1e}")


if __name__ == "__main__":
    if len(sys.argv) < 2 or not set(sys.argv[2:]) <= set(REFERENCE):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2:] or list(REFERENCE))
