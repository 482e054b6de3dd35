"""`deshpc submit`: what the job script says, and what Slurm is asked and told, by programs that stand in for Slurm's."""

import re
import subprocess

import pytest

from deshpc.cli.main import parser
from deshpc.cli.submit import submit
from deshpc.errors import ConfigError, LaunchError

CONFIG = """
[data]
format = "synthetic"
synthetic = { train_rows = 20_000, test_rows = 0 }
[model]
dim = 8
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A folder with a configuration, whose Slurm has two kinds of nodes and takes any job."""
    (tmp_path / "click v1.toml").write_text(CONFIG, encoding="utf-8")
    (tmp_path / "bin").mkdir()
    for name, text in (("sinfo", 'echo "24+ 64000"; echo "12 32768+"; echo "$@" > sinfo.asked'), ("sbatch", 'cat "$2" > submitted; echo "4711;cluster"')):
        program = tmp_path / "bin" / name
        program.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def submitted(*words):
    given = ["submit", "click v1.toml", *words]
    return submit(parser().parse_args(given, type("Given", (), {"given": given})()))


def entries(script):
    return dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", script, re.M))


def test_a_script_has_the_plans_numbers_and_is_submitted(slurm):
    said = submitted("--nodes", "2-3", "--launcher", "mpiexec", "--time", "24:00", "--mpi", "openmpi", "--partition", "long", "--set", "train.seed=2")
    script = (slurm / "submitted").read_text(encoding="utf-8")
    assert "job 4711" in said and (slurm / "runs" / "click-v1.sbatch").read_text(encoding="utf-8") == script
    assert (slurm / "sinfo.asked").read_text(encoding="utf-8").split()[-1] == "--partition=long"
    found = entries(script)
    assert (found["nodes"], found["time"], found["partition"]) == ("2-3", "24:00:00", "long")
    assert int(found["ntasks-per-node"]) * int(found["cpus-per-task"]) == 12  # the smallest node
    assert 2 <= int(found["mem"].removesuffix("G")) <= 4  # two ranks' Python, and rows of 20,000 samples
    start = f'mpiexec -n "$SLURM_NTASKS" --map-by slot:PE={found["cpus-per-task"]}'
    assert f"{start} deshpc train 'click v1.toml' --set train.seed=2 --set checkpoint.every_minutes=30" in script
    assert subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True).stderr == ""


def test_a_dry_run_does_nothing(slurm):
    script = submitted("--dry-run", "--ranks-per-node", "4", "--cores", "8", "--time", "2-12", "--mpi", "site", "--memory", "7.5")
    found = entries(script)
    assert (found["ntasks-per-node"], found["cpus-per-task"], found["time"], found["mem"]) == ("4", "2", "2-12", "8G")
    assert "\nsrun deshpc train" in script and not (slurm / "runs").exists() and not (slurm / "submitted").exists()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--time", "24"], "--time 24: expected HOURS:MINUTES"),
        (["--nodes", "0"], "--nodes 0"), (["--nodes", "4-2"], "--nodes 4-2"),
        (["--ranks-per-node", "13"], "--ranks-per-node 13: a node has 12 cores"),
        (["--set", "data.synthetic.train_rows=1_000_000_000"], "GiB by the plan and has 32"),
    ],
)
def test_what_cannot_be_is_said(slurm, words, text):
    with pytest.raises(ConfigError, match=re.escape(text)):
        submitted("--mpi", "mpich", *words)


def test_without_slurm(slurm, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigError, match="--cores"):
        submitted("--mpi", "mpich")
    with pytest.raises(LaunchError, match="no sbatch here"):
        submitted("--mpi", "mpich", "--cores", "4")
