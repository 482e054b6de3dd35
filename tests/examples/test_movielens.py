"""The MovieLens example on the real data: counts and reference scores published with the split, and rank invariance."""

import csv
import gzip
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


def train(data, model, ranks=1):
    """The result line of a training's record."""
    task, run = model.split("_")[0], data / f"run-{model}-{ranks}"
    files = [f'data.{part}="{data / f"{task}_{part}.csv.gz"}"' for part in ("train", "valid", "test")]
    launch = [MPIEXEC, "-n", str(ranks)] if ranks > 1 else []
    sets = [word for text in (*files, f'run.directory="{run}"') for word in ("--set", text)]
    subprocess.run([*launch, sys.executable, "-m", "deshpc", "train", EXAMPLE / f"{model}.toml", *sets], check=True)
    return json.loads((run / "record.jsonl").read_text(encoding="utf-8").splitlines()[-1])


@pytest.mark.parametrize(
    ("part", "rows", "positive"), [("train", 80_611, 0.4811), ("valid", 10_106, 0.4813), ("test", 10_119, 0.4874)]
)
def test_the_split_of_ratings_is_the_published_one(data, part, rows, positive):
    with gzip.open(data / f"rating_{part}.csv.gz", "rt", encoding="utf-8", newline="") as file:
        labels = [int(row["label"]) for row in csv.DictReader(file)]
    assert len(labels) == rows
    assert round(sum(labels) / rows, 4) == positive


@pytest.mark.parametrize(("model", "least"), [("rating_lr", 0.7881), ("implicit_fm", 0.9058), ("rating_dcn", 0.7863)])
def test_test_auc_reaches_the_reference_less_0_003(data, model, least):
    assert train(data, model)["test"]["auc"] >= least


@pytest.mark.skipif(not MPIEXEC.exists(), reason="no mpiexec beside this Python")
def test_one_and_four_ranks_agree_and_reach_the_reference_less_0_003(data):
    one, four = (train(data, "rating_fm", ranks)["test"]["auc"] for ranks in (1, 4))
    assert abs(one - four) <= 1e-6
    assert one >= 0.7836
