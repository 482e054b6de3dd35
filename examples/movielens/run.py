"""Train LR and FM on 1 and on 4 ranks and print the test metrics side by side.

    python examples/movielens/run.py          after prepare.py; needs mpiexec beside the Python that runs it
"""

import json
import subprocess
import sys
from pathlib import Path

HERE, BIN = Path(__file__).parent, Path(sys.executable).parent
RANKS = (1, 4)


def train(model, ranks):
    """The result line of one training's record."""
    directory = Path("runs") / f"movielens-{model}-{ranks}"
    command = [
        BIN / "mpiexec", "-n", str(ranks), sys.executable, "-m", "deshpc", "train", HERE / f"{model}.toml",
        "--set", f"run.directory={json.dumps(str(directory))}",
    ]  # fmt: skip
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return json.loads((directory / "record.jsonl").read_text(encoding="utf-8").splitlines()[-1])


def main():
    print(f"{'model':<6}{'ranks':>6}{'valid AUC':>12}{'test AUC':>12}{'test log-loss':>15}{'samples/s':>12}")
    for model in ("lr", "fm"):
        results = [train(model, ranks) for ranks in RANKS]
        for ranks, result in zip(RANKS, results, strict=True):
            print(
                f"{model:<6}{ranks:>6}{result['valid']['auc']:>12.6f}{result['test']['auc']:>12.6f}"
                f"{result['test']['log_loss']:>15.6f}{result['samples_per_s']:>12,.0f}"
            )
        print(f"{'':<6}difference in test AUC: {abs(results[0]['test']['auc'] - results[1]['test']['auc']):.1e}")


if __name__ == "__main__":
    main()
