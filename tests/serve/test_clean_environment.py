"""A fresh virtual environment with NumPy alone: its predictor against this environment's."""

import json
import os
import subprocess
import venv
from importlib import metadata
from pathlib import Path

import pytest
from hand_made_model import ROWS, hand_made
from launching import TIMEOUT_S

import deshpc

SOURCE = Path(deshpc.__file__).parents[1]

CODE = """
import json, sys
import deshpc
from importlib import metadata
names = sorted(one.metadata["Name"].lower() for one in metadata.distributions())
predictor = deshpc.Predictor(sys.argv[1])
rows = json.load(sys.stdin)
print(json.dumps([names, predictor.predict(rows).tolist(), predictor.predict_one(rows[0])]))
"""


@pytest.fixture(scope="module")
def numpy_only(tmp_path_factory):
    """Python of a new environment that has NumPy alone: this one's files."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder)
    (site,) = folder.glob("lib/python*/site-packages")
    numpy = metadata.distribution("numpy")
    for name in {file.parts[0] for file in numpy.files} - {".."}:
        (site / name).symlink_to(numpy.locate_file(name))
    return folder / "bin" / "python"


def test_a_clean_environment_scores(numpy_only, tmp_path):
    hand_made(tmp_path / "fm.model")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(
        [numpy_only, "-c", CODE, str(tmp_path / "fm.model")], input=json.dumps(ROWS), capture_output=True, text=True,
        env=environment, timeout=TIMEOUT_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    names, scores, one = json.loads(done.stdout)
    assert "numpy" in names and set(names) <= {"numpy", "deshpc"}  # deshpc: PYTHONPATH has it
    expected = deshpc.Predictor(tmp_path / "fm.model").predict(ROWS)
    assert scores == pytest.approx(expected.tolist(), abs=1e-12) and one == pytest.approx(expected[0], abs=1e-12)
