"""A fresh virtual environment with NumPy alone: its predictor against this environment's."""

import json
import os
import subprocess
import venv
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
    """Python of a new environment that has NumPy alone; skips where pip cannot get it."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    command = [python, "-m", "pip", "install", "--quiet", "--only-binary=:all:", "--retries=1", "--timeout=15", "numpy"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    if done.returncode:
        pytest.skip(f"pip cannot install numpy here: {done.stderr.strip().splitlines()[-1]}")
    return python


def test_a_clean_environment_scores(numpy_only, tmp_path):
    hand_made(tmp_path / "fm.model")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(
        [numpy_only, "-c", CODE, str(tmp_path / "fm.model")], input=json.dumps(ROWS), capture_output=True, text=True,
        env=environment, timeout=TIMEOUT_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    names, scores, one = json.loads(done.stdout)
    assert "numpy" in names and set(names) <= {"numpy", "pip", "setuptools", "deshpc"}  # deshpc: PYTHONPATH has it
    expected = deshpc.Predictor(tmp_path / "fm.model").predict(ROWS)
    assert scores == pytest.approx(expected.tolist(), abs=1e-12) and one == pytest.approx(expected[0], abs=1e-12)
