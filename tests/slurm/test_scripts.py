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


@pytest.mark.parametrize(
    ("all_nodes", "this_node", "code", "requeued"),
    [(0, 0, 9, False), (1, 0, 9, True), (1, 1, 9, False), (1, 0, 3, False)],
    ids=["all there", "one lost", "srun does not work", "data that are wrong"],
)
def test_a_job_goes_on_without_a_node_that_is_lost_and_only_then(tmp_path, all_nodes, this_node, code, requeued):
    srun = f'case "$*" in *--nodelist=here*) exit {this_node} ;; *--nodes=3*) exit {all_nodes} ;; esac'
    for name, text in (("srun", srun), ("scontrol", f'echo "$@" > {tmp_path}/asked'), ("sleep", "exit 0")):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        program.chmod(0o755)
    variables = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_NUM_NODES": "3", "SLURMD_NODENAME": "here", "SLURM_JOB_ID": "7"}
    script = f"set -euo pipefail; source {FOLDER}/launch.sh; PATH={tmp_path}:$PATH; leave {code}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=variables, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (code, "")
    assert (tmp_path / "asked").exists() == requeued
