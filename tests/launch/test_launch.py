"""How a launch is understood, from the variables of real launchers, and refused where it does not fit.

Proves that a process knows its launcher, whatever lies around it; and that N processes which would be N runs of one
rank end with one message, by their launcher's numbers, naming what was found and how to start it.
"""

import pytest
from launching import errors, python_with, run

from deshpc.errors import LaunchError
from deshpc.launch.launcher import ALONE, Launcher, launcher
from deshpc.launch.library import Library

CONFIG = """
[data]
format = "synthetic"
synthetic = { train_rows = 200, test_rows = 0 }
[run]
save_model = false
"""

BATCH = {  # what a job script of 4 tasks on 2 nodes sees
    "SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_NPROCS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0",
    "SLURM_JOB_NUM_NODES": "2", "SLURM_NTASKS_PER_NODE": "2",
}  # fmt: skip
STEP = {
    **BATCH, "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1",
    "SLURM_MPI_TYPE": "none",
}  # fmt: skip
PROXIES = {**STEP, "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "0"}  # a launcher's, one a node
HYDRA = {"PMI_FD": "6", "PMI_SIZE": "4", "PMI_RANK": "3", "MPI_LOCALNRANKS": "2", "MPI_LOCALRANKID": "1"}
PRRTE = {
    "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_LOCAL_RANK": "1", "PMIX_RANK": "3",
    "PMIX_NAMESPACE": "prterun-n1-101@1",
}  # fmt: skip
OF_MPICH, OF_OPEN_MPI = "the mpiexec of MPICH or Intel MPI", "Open MPI's mpiexec"
VERSION_TEXT = "MPICH Version: 5.0.2\nMPICH configure: --with-device=ch4:ucx,ofi"


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, ALONE),
        (BATCH, ALONE),
        ({"PMI_SIZE": "nonsense", "SLURM_STEP_NUM_TASKS": ""}, ALONE),
        (STEP, Launcher("srun --mpi=none", 4, 3, 1)),
        (
            {**STEP, "SLURM_MPI_TYPE": "pmi2", "PMI_SIZE": "4", "PMI_RANK": "3"},
            Launcher("srun --mpi=pmi2", 4, 3, 1, ("pmi",)),
        ),
        (
            {**STEP, "SLURM_MPI_TYPE": "pmix", "PMIX_RANK": "3", "PMIX_NAMESPACE": "slurm.pmix.1.1"},
            Launcher("srun --mpi=pmix", 4, 3, 1, ("pmix",)),
        ),
        (HYDRA, Launcher(OF_MPICH, 4, 3, 1, ("pmi",), 2)),
        ({**PROXIES, **HYDRA}, Launcher(OF_MPICH, 4, 3, 1, ("pmi",), 2)),
        (PRRTE, Launcher(OF_OPEN_MPI, 4, 3, 1, ("pmix",))),
        ({**PROXIES, **PRRTE}, Launcher(OF_OPEN_MPI, 4, 3, 1, ("pmix",))),
        ({"PMI_SIZE": "2", "PMI_RANK": "1"}, Launcher("a PMI launcher", 2, 1, 0, ("pmi",))),
    ],
)
def test_the_launcher_is_known_by_its_variables(environment, wanted):
    assert launcher(environment) == wanted


@pytest.mark.parametrize(
    ("name", "version", "text", "ranks", "wireup", "joins"),
    [
        ("MPICH", (5, 0, 2), VERSION_TEXT, 4, ("pmi",), True),
        ("MPICH", (5, 0, 2), VERSION_TEXT, 4, ("pmix",), False),
        ("MPICH", (5, 0, 2), VERSION_TEXT, 1, ("pmix",), False),  # its start kills a single process, too
        ("MPICH", (5, 0, 2), VERSION_TEXT + " --with-pmix=/usr", 4, ("pmix",), True),
        ("MPICH", (5, 0, 2), VERSION_TEXT, 4, ("pmi", "pmix"), True),
        ("MPICH", (5, 0, 2), VERSION_TEXT, 4, (), True),  # it starts: the number of ranks will tell
        ("Open MPI", (5, 0, 11), "", 4, ("pmix",), True),
        ("Open MPI", (5, 0, 11), "", 4, ("pmi",), False),
        ("Open MPI", (5, 0, 11), "", 4, (), False),
        ("Open MPI", (5, 0, 11), "", 1, (), True),
        ("Open MPI", (4, 1, 6), "", 4, ("pmi",), True),  # it may have been built for PMI-2
    ],
)
def test_what_a_library_can_join(name, version, text, ranks, wireup, joins):
    assert Library(name, version, text).joins(Launcher("any", ranks, 0, 0, wireup)) == joins


@pytest.mark.parametrize(
    ("env", "lines"),
    [
        ({"PMI_SIZE": "2"}, 1),
        ({"OMPI_COMM_WORLD_SIZE": "3", "OMPI_COMM_WORLD_RANK": "0"}, 1),
        ({"OMPI_COMM_WORLD_SIZE": "3", "OMPI_COMM_WORLD_RANK": "2"}, 0),  # the first process says it for all
        (STEP, 0),
        ({**STEP, "SLURM_PROCID": "0"}, 1),
    ],
)
def test_one_of_several_processes_that_sees_one_rank_is_refused(config, env, lines):
    done = run("-m", "deshpc", "train", config, env=env, cwd=config.parent)
    assert done.returncode == LaunchError.exit_code and done.stdout == "" and len(errors(done)) == lines
    assert done.stderr.count("processes would be runs of 1 rank each") == lines
    assert [path.name for path in config.parent.iterdir()] == ["a.toml"]


def test_a_job_script_that_starts_no_ranks_is_one_process(config):
    done = run("-m", "deshpc", "train", config, env=BATCH, cwd=config.parent)
    assert done.returncode == 0, done.stderr
    assert "1 x " in done.stdout


@pytest.mark.parametrize(("mpi", "other"), [("mpich", "openmpi"), ("openmpi", "mpich")])
@pytest.mark.parametrize("command", ["train", "doctor"])
def test_the_mpiexec_of_another_mpi_is_refused(config, mpi, other, command):
    python, mpiexec = python_with(mpi), python_with(other).with_name("mpiexec")
    arguments = [command, config] if command == "train" else [command]
    done = run("-m", "deshpc", *arguments, ranks=3, python=python, mpiexec=mpiexec, cwd=config.parent)
    text = done.stdout + done.stderr
    assert done.returncode == LaunchError.exit_code, text
    assert text.count("3 processes would be runs of 1 rank each") == 1
    launchers, libraries = {"mpich": OF_MPICH, "openmpi": OF_OPEN_MPI}, {"mpich": "MPICH", "openmpi": "Open MPI"}
    assert f"{launchers[other]} and the MPI library, {libraries[mpi]}" in text
    assert f"start it by  {python.with_name('mpiexec')} -n 3" in text
    assert "Traceback" not in text and "suspicious MPI" not in text


def test_no_mpi_library_is_a_clear_error(config):
    blocked = """
import sys

class Blocked:
    def find_spec(name, path=None, target=None):
        if name == "mpi4py.MPI":
            raise RuntimeError("cannot load MPI library")

sys.meta_path.insert(0, Blocked)
from deshpc.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
    for arguments in (["train", config], ["doctor"]):
        done = run("-c", blocked, *arguments, cwd=config.parent)
        text = done.stdout + done.stderr
        assert done.returncode == LaunchError.exit_code and "Traceback" not in text
        assert "no MPI library could be loaded (cannot load MPI library)" in text and "deshpc[mpich]" in text
