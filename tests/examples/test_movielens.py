"""The MovieLens example on the real data: the scores that its README states, and rank invariance."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "movielens"
SOURCE = ROOT.parent / "shared" / "data" / "movielens_latest_small"
MPIEXEC = Path(sys.executable).parent / "mpiexec"

pytestmark = pytest.mark.skipif(not SOURCE.is_dir(), reason=f"the MovieLens files are not at {SOURCE}")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Folder of the joined files."""
    folder = tmp_path_factory.mktemp("movielens")
    subprocess.run([sys.executable, EXAMPLE / "prepare.py", SOURCE, folder], check=True)
    return folder


def train(data, model, *overrides, ranks=1):
    """The result line of a training's record."""
    run = data / f"run-{model}-{ranks}"
    files = [f'data.{part}="{data / f"{part}.csv.gz"}"' for part in ("train", "valid", "test")]
    launch = [MPIEXEC, "-n", str(ranks)] if ranks > 1 else []
    sets = [word for text in (*files, f'run.directory="{run}"', *overrides) for word in ("--set", text)]
    subprocess.run([*launch, sys.executable, "-m", "deshpc", "train", EXAMPLE / f"{model}.toml", *sets], check=True)
    return json.loads((run / "record.jsonl").read_text(encoding="utf-8").splitlines()[-1])


@pytest.mark.parametrize(("model", "least"), [("lr", 0.8647), ("fm", 0.9058)])
def test_test_auc_reaches_the_reference_less_0_003(data, model, least):
    assert train(data, model)["test"]["auc"] >= least


@pytest.mark.skipif(not MPIEXEC.exists(), reason="no mpiexec beside this Python")
def test_one_and_four_ranks_agree(data):
    one, four = (train(data, "fm", "train.epochs=3", ranks=ranks)["test"]["auc"] for ranks in (1, 4))
    assert abs(one - four) <= 1e-5
