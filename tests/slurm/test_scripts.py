"""The job scripts as text: they parse, say what to change, and hold nothing of a private machine."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "slurm"
SCRIPTS = sorted(path.name for path in FOLDER.iterdir())


def test_the_scripts_are_there():
    assert SCRIPTS == ["cpu.sbatch", "days.sh", "gpu-node.sbatch", "gpu-nodes.sbatch", "launch.sh", "requeue.sbatch", "sweep.sbatch"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_parses(name):
    assert subprocess.run(["bash", "-n", FOLDER / name], capture_output=True, text=True).stderr == ""
    if shutil.which("shellcheck"):
        done = subprocess.run(["shellcheck", "--external-sources", name], capture_output=True, text=True, cwd=FOLDER)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_names_no_private_place(name):
    text = (FOLDER / name).read_text(encoding="utf-8").removeprefix("#!/usr/bin/env bash")
    assert not re.search(r"(?<![\w.$}\"-])/(home|root|tmp|work|opt|usr|scratch|mnt|data)\b", text)
    assert "CHANGE" in text


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name.startswith("gpu")])
def test_a_gpu_script_says_what_trains_on_devices(name):
    assert "LR and FM train on the devices" in (FOLDER / name).read_text(encoding="utf-8")
