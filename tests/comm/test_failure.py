"""How a job ends that goes wrong: real processes under mpiexec, and the launcher's own functions.

Proves that a rank that fails alone takes the whole job with it, at once, with one traceback that names the rank; that
what all ranks agree on is said once; and that a launch that does not fit is refused instead of run N times.
"""

import time
from types import SimpleNamespace

import pytest
from launching import errors, run

from deshpc.comm import launch
from deshpc.errors import ConfigError, DataError, LaunchError

CONFIG = """
[data]
format = "synthetic"
synthetic = { train_rows = 2_000, test_rows = 0 }
[model]
dim = 5
[train]
global_batch_samples = 256
precision = "float64"
[compute]
threads_per_rank = 1
[run]
save_model = false
"""

IN_A_STEP = """
import sys
import time
import deshpc.training.loop as loop
from deshpc.cli.main import main

whole_step = loop.step

def step(model, batch):
    if batch.step == 3 and model.group.rank == 1:
        with open(sys.argv[2] + ".failed", "w") as file:
            file.write(str(time.time()))
        raise ValueError("broken on purpose")
    return whole_step(model, batch)

loop.step = step
sys.exit(main(["train", sys.argv[1], "--set", f"run.directory={sys.argv[2]}"]))
"""

ALONE = """
import sys
from deshpc.comm import launch
from deshpc.errors import DataError

def main(comm):
    if comm.rank == 1:
        raise {error}
    comm.Barrier()  # never complete: only an abort ends the others
    return 0

sys.exit(launch.run(main, launch.world()))
"""

TOGETHER = """
import sys
from deshpc.comm import launch
from deshpc.comm.group import Group
from deshpc.errors import DataError

def main(comm):
    Group(comm).agree({error})

sys.exit(launch.run(main, launch.world()))
"""


def test_an_error_inside_a_step_ends_all_ranks(tmp_path):
    config = tmp_path / "a.toml"
    config.write_text(CONFIG, encoding="utf-8")
    done = run("-c", IN_A_STEP, config, tmp_path / "run", ranks=3)
    assert done.returncode == 1
    assert done.stderr.count("Traceback (most recent call last)") == 1
    assert done.stderr.count("ValueError: broken on purpose") == 1
    assert errors(done) == ["deshpc: rank 1 of 3: failed"] and done.stdout == ""
    assert time.time() - float((tmp_path / "run.failed").read_text()) < 30  # seconds; it takes less than one


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        ("DataError('a.csv, line 3: bad')", 3, "deshpc: rank 1 of 3: a.csv, line 3: bad"),
        ("SystemExit(7)", 7, "deshpc: rank 1 of 3: failed"),
        ("KeyboardInterrupt", 130, "deshpc: rank 1 of 3: interrupted"),
    ],
)
def test_a_rank_that_fails_alone(error, code, text):
    done = run("-c", ALONE.format(error=error), ranks=3)
    assert done.returncode == code
    assert errors(done) == [text]
    assert done.stderr.count("Traceback") == (1 if "failed" in text else 0)


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        ("DataError('no file')", 3, "deshpc: no file"),
        ("DataError('no file') if comm.rank == 2 else None", 3, "deshpc: no file (rank 2)"),
        ("ValueError('odd') if comm.rank else None", 1, "deshpc: ranks 1, 2: ValueError: odd"),
    ],
)
def test_an_error_that_all_ranks_share_is_said_once(error, code, text):
    done = run("-c", TOGETHER.format(error=error), ranks=3)
    assert (done.returncode, errors(done)) == (code, [text])


def test_ranks_with_different_configurations_are_refused(tmp_path):
    config = tmp_path / "a.toml"
    config.write_text(CONFIG, encoding="utf-8")
    script = """
import sys
import deshpc
from deshpc.comm import launch
from deshpc.config import load

def main(comm):
    deshpc.train(load(sys.argv[1], [f"train.seed={max(1, comm.rank)}"]), comm)

sys.exit(launch.run(main, launch.world()))
"""
    done = run("-c", script, config, ranks=3, cwd=tmp_path)
    text = "deshpc: ranks [2] were started with another configuration than rank 0"
    assert (done.returncode, errors(done), done.stdout) == (LaunchError.exit_code, [text], "")
    assert [path.name for path in tmp_path.iterdir()] == ["a.toml"]  # refused before anything was written


@pytest.mark.parametrize(
    ("env", "lines"),
    [
        ({"PMI_SIZE": "2"}, 1),
        ({"OMPI_COMM_WORLD_SIZE": "3", "OMPI_COMM_WORLD_RANK": "0"}, 1),
        ({"OMPI_COMM_WORLD_SIZE": "3", "OMPI_COMM_WORLD_RANK": "2"}, 0),  # the first process says it for all
    ],
)
def test_a_launcher_of_another_mpi_is_refused(tmp_path, env, lines):
    config = tmp_path / "a.toml"
    config.write_text(CONFIG, encoding="utf-8")
    done = run("-m", "deshpc", "train", config, env=env, cwd=tmp_path)
    assert done.returncode == LaunchError.exit_code and done.stdout == ""
    assert done.stderr.count("MPI sees one rank each: mpiexec and the MPI library belong to different MPIs") == lines
    assert len(errors(done)) == lines  # mpi4py may add a warning of its own


def test_no_mpi_library_is_a_clear_error(tmp_path):
    blocked = """
import sys

class Blocked:
    def find_spec(name, path=None, target=None):
        if name == "mpi4py.MPI":
            raise RuntimeError("cannot load MPI library")

sys.meta_path.insert(0, Blocked)
from deshpc.cli.main import main
sys.exit(main(["train", sys.argv[1]]))
"""
    config = tmp_path / "a.toml"
    config.write_text(CONFIG, encoding="utf-8")
    done = run("-c", blocked, config, cwd=tmp_path)
    assert done.returncode == LaunchError.exit_code and "Traceback" not in done.stderr
    assert "no MPI library could be loaded (cannot load MPI library)" in done.stderr and "deshpc[mpich]" in done.stderr


def test_the_launchers_size(monkeypatch):
    for name in ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS"):
        monkeypatch.delenv(name, raising=False)
    assert launch.launched_ranks() == 1
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "6")
    assert launch.launched_ranks() == 6
    monkeypatch.setenv("PMI_SIZE", "nonsense")
    assert launch.launched_ranks() == 6
    monkeypatch.setenv("MPI_LOCALNRANKS", "8")
    assert launch.launched_ranks() == 8


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ConfigError("bad option"), 2, "deshpc: bad option\n"),
        (DataError("bad file"), 3, "deshpc: bad file\n"),
        (KeyboardInterrupt(), 130, "deshpc: interrupted\n"),
        (SystemExit(5), 5, "deshpc: failed\n"),
        (RuntimeError("odd"), 1, "deshpc: failed\n"),
    ],
)
def test_one_rank_alone_returns_its_exit_code(capsys, error, code, text):
    def main(comm):
        raise error

    assert launch.run(main, SimpleNamespace(rank=0, size=1)) == code
    written = capsys.readouterr()
    assert written.out == "" and written.err.startswith(text)
    assert ("RuntimeError: odd" in written.err) == isinstance(error, RuntimeError)


def test_a_rank_that_fails_alone_aborts_with_its_code(capsys):
    codes = []
    comm = SimpleNamespace(rank=2, size=3, Abort=codes.append)

    def main(comm):
        raise DataError("bad file")

    assert launch.run(main, comm) == 3  # Abort may return before the process ends
    assert codes == [3] and capsys.readouterr().err == "deshpc: rank 2 of 3: bad file\n"
    assert launch.run(lambda comm: 0, comm) == 0 and codes == [3]
