"""Jobs under a real Slurm with two pretended nodes.

Proves that the job scripts train over both nodes with either MPI and either launcher, and compute what one process
does; that threads and devices follow the allocation; that a launch which does not fit is refused once, by train and by
doctor; and that a job ends when one of its ranks fails or is killed.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from launching import SMALL_RUN, deshpc, python_with

ROOT = Path(__file__).parents[2]
ENDS_WITHIN_S = 60
OPTION = {"mpich": "--mpi=pmi2", "openmpi": "--mpi=pmix"}

CONFIG = SMALL_RUN

FAILING = """
import os
import signal
import sys
import time
from deshpc.launch import start

def main(comm):
    comm.Barrier()
    if comm.rank == 1:
        open(sys.argv[1], "w").close()  # its time is that of the failure
        {what}
    comm.Barrier()  # never complete: only the end of the job ends the others
    return 0

sys.exit(start.run(main, start.world()))
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


def process_variables():
    """The variables of all other processes, as far as they can be read."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        if path.parent.name != str(os.getpid()):
            with contextlib.suppress(OSError):
                yield path.read_bytes()


def result(directory):
    return json.loads((directory / "record.jsonl").read_text(encoding="utf-8").splitlines()[-1])


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The result of the training in one process of one thread."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / "a.toml").write_text(CONFIG, encoding="utf-8")
    done = deshpc("train", "a.toml", "--set", "compute.threads_per_rank=1", cwd=folder)
    assert done.returncode == 0, done.stderr
    return result(folder / "runs" / "latest")


@pytest.mark.parametrize("launcher", ["srun", "mpiexec"])
def test_the_cpu_script_trains_on_two_nodes(cluster, mpi, python, launcher, config, alone, tmp_path):
    """float64: the sums of a few hundred samples over four ranks differ from one rank's by rounding only."""
    run = tmp_path / "run"
    code, text = cluster.batch(
        "slurm/cpu.sbatch", config, "--set", f"run.directory={run}", output=tmp_path / "job.out",
        options=["--cpus-per-task=1"], MPI=mpi, LAUNCHER=launcher, VENV=os.path.relpath(python.parent.parent, ROOT),
    )  # fmt: skip
    assert code == 0, text
    assert "4 on 2 nodes (n1, n2), 2 on each" in text and "launcher fits MPI         ok" in text
    found = result(run)
    assert (found["ranks"], found["threads_per_rank"], found["rows"]) == (4, 1, alone["rows"])
    assert found["test"]["log_loss"] == pytest.approx(alone["test"]["log_loss"], rel=1e-12)


@pytest.mark.parametrize(("script", "nodes"), [("gpu-node", 1), ("gpu-nodes", 2)])
def test_the_gpu_scripts_show_a_device_for_each_rank(cluster, config, tmp_path, script, nodes):
    code, text = cluster.batch(
        f"slurm/{script}.sbatch", config, "--set", f"run.directory={tmp_path / 'run'}", output=tmp_path / "job.out",
        options=[f"--nodes={nodes}", "--ntasks-per-node=2", "--gpus-per-node=2", "--cpus-per-task=1"],
        VENV=os.path.relpath(python_with("mpich").parent.parent, ROOT),
    )  # fmt: skip
    assert code == 0, text
    shown = dict(line.split("  ", 1) for line in text.splitlines() if "  " in line)
    assert shown["devices a rank sees"].strip() == "2" and shown["device of rank 0"].strip().startswith("0: ")
    assert result(tmp_path / "run")["ranks"] == 2 * nodes


@pytest.mark.parametrize("option", [None, "--mpi=none", "the other's"])
def test_a_launch_that_does_not_fit_is_refused(cluster, mpi, python, config, option):
    wrong = OPTION["openmpi" if mpi == "mpich" else "mpich"] if option == "the other's" else option
    options = ["-K", "-N2", "-n4", *([wrong] if wrong else [])]
    for command in (["train", config], ["doctor"]):
        done = cluster.srun(python, "-m", "deshpc", *command, options=options)
        text = done.stdout + done.stderr
        assert done.returncode in (4, 143), text  # 143: on a busy machine, a rank that was ended before it knew
        assert text.count("4 processes would be runs of 1 rank each") == 1 and "Traceback" not in text
        assert f"srun {wrong or '--mpi=none'} and the MPI library" in text and f"srun -K {OPTION[mpi]} -n 4" in text
        said = [line for line in text.splitlines() if line.startswith("deshpc: ") and "terminated" not in line]
        assert len(said) == (1 if command[0] == "train" else 0)


def test_a_script_that_starts_no_ranks_is_one_process(cluster, mpi, python, tmp_path):
    script = tmp_path / "job.sh"
    script.write_text(f"#!/bin/sh\nexec {python} -m deshpc doctor --json\n", encoding="utf-8")
    code, text = cluster.batch(script, output=tmp_path / "job.out", options=["-N2", "-n4"])
    found = json.loads(text)
    assert code == 0 and found["joined"] and len(found["ranks"]) == 1
    assert found["launcher"]["name"] == "no launcher" and found["traps"][0]["level"] == "ok"


@pytest.mark.parametrize(
    ("options", "threads"),
    [
        (["-N2", "-n4"], [1, 1, 1, 1]),
        (["-N2", "-n2", "-c2"], [2, 2]),
        (["-N2", "-n2", "-c2", "--cpu-bind=none"], [2, 2]),
        (["-N1", "-n2", "--cpu-bind=none"], [1, 1]),
        (["-N1", "-n1", "--cpu-bind=none"], [1]),  # it may run on every core, but was given one
    ],
)
def test_threads_follow_the_allocation(cluster, options, threads):
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two cores")
    command, options = ("-m", "deshpc", "doctor", "--json"), ["--mpi=pmi2", *options]
    done = cluster.srun(python_with("mpich"), *command, options=options, SLURM_KILL_BAD_EXIT="1")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [one["threads"] for one in found["ranks"]] == threads
    kill = next(trap for trap in found["traps"] if trap["name"] == "failed ranks end the job")
    assert kill["level"] == "ok"


@pytest.mark.parametrize(
    ("what", "text"),
    [("raise ValueError('mine')", "ValueError: mine"), ("os.kill(os.getpid(), signal.SIGKILL)", "1: Killed")],
)
def test_a_rank_that_fails_ends_the_job(cluster, mpi, python, what, text, tmp_path):
    failed = tmp_path / "failed"
    done = cluster.run("srun", "-K", "-N2", "-n4", OPTION[mpi], python, "-c", FAILING.format(what=what), failed)
    assert time.time() - failed.stat().st_mtime < ENDS_WITHIN_S
    assert done.returncode != 0 and text in done.stderr, done.stderr
    assert done.stderr.count("Traceback") == ("raise" in what) == done.stderr.count("rank 1 of 4: failed")


def test_the_cluster_leaves_nothing_behind(cluster, tmp_path):
    script = ROOT / "scripts" / "slurm_cluster.py"
    inside = "srun -N1 sleep 60 & while [ -z \"$(squeue -h -t R)\" ]; do sleep 0.1; done; kill $!; wait; exit 7"
    command = [sys.executable, script, "--nodes", "1", "sh", "-c", inside]
    done = subprocess.run(command, timeout=60, env={**os.environ, "TMPDIR": str(tmp_path)})
    assert done.returncode == 7 and list(tmp_path.iterdir()) == []
    assert not any(str(tmp_path).encode() in text for text in process_variables())
