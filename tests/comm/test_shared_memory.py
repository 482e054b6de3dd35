"""A /dev/shm that is too small, in a mount namespace: one line that says how much is needed, instead of a death by SIGBUS."""

import re
import subprocess
import sys

import pytest
from launching import MPIEXEC, errors, run

OPEN_MPI = MPIEXEC.with_name("prterun").exists()
CONFIG = """
[data]
format = "synthetic"
synthetic = { train_rows = 200_000, test_rows = 0 }
[compute]
threads_per_rank = 1
[run]
save_model = false
"""
MAKE = 'mount -t tmpfs -o size="$0" tmpfs /dev/shm && exec "$@"'


def small(size, *arguments, cwd, ranks=3):
    """The finished process of `python ARGUMENTS` on ranks with so large a /dev/shm."""
    try:
        can = subprocess.run(["unshare", "-rm", "sh", "-c", MAKE, size, "true"], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no program unshare")
    if can.returncode:
        pytest.skip("no mount namespace can be made here")
    command = ["-c", "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])", "unshare", "-rm", "sh", "-c", MAKE, size]
    return run(*command, str(MPIEXEC), "-n", ranks, sys.executable, *arguments, cwd=cwd)


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


@pytest.mark.skipif(not MPIEXEC.exists(), reason="needs mpiexec")
def test_a_data_set_that_does_not_fit(config):
    """200,000 samples of 12 keys: offsets 8, keys 8 * 12, fields 2 * 12, labels and truth 4 and 4 or 8 bytes each, or more."""
    done = small("30m", "-m", "deshpc", "train", config, cwd=config.parent)
    (line,) = errors(done)
    assert done.returncode == 4, done.stderr
    found = re.search(r"/dev/shm on \S+ is too small: ([\d.]+) MiB more are needed; free: ([\d.]+) MiB; make it larger", line)
    assert float(found[1]) >= 200_000 * (8 + 12 * 10 + 4) / 2**20 > float(found[2])


ROOM = """
import sys
import numpy as np
from deshpc.launch import start
from deshpc.comm.node import Node
from deshpc.comm.slots import SharedSlots
from deshpc.comm.group import Group

def main(comm):
    group, node = Group(comm), Node(comm)
    {body}
    return 0

sys.exit(start.run(main, start.world()))
"""


@pytest.mark.skipif(not MPIEXEC.exists() or OPEN_MPI, reason="Open MPI looks for room itself, of all that is asked for")
@pytest.mark.parametrize(
    ("body", "needs"),
    [
        ("a = node.allocate(9 << 20, np.uint8); node.taken(a[comm.rank << 20 :][: 1 << 20]).fill(1); group.sum(0.0)", None),  # in part
        ("a = node.allocate(60 << 20, np.uint8); node.rank or node.taken(a).fill(1); group.sum(0.0)", "60.0"),
        ("a = node.share(np.ones(60 << 20, np.uint8) if comm.rank == 0 else None)", "60.0"),
        ("SharedSlots(comm).put(np.ones(20 << 20, np.uint8), 20 << 20)", "90.0"),
    ],
)
def test_memory_is_there_before_it_is_written(tmp_path, body, needs):
    done = small("36m", "-c", ROOM.format(body=body), cwd=tmp_path)
    if needs is None:
        assert (done.returncode, done.stderr) == (0, "")
        return
    (line,) = errors(done)
    assert done.returncode == 4 and f"{needs} MiB" in line, done.stderr


@pytest.mark.skipif(not MPIEXEC.exists(), reason="needs mpiexec")
def test_a_run_that_is_killed_leaves_nothing(tmp_path):
    """Nothing has a name there while it runs, so it does not matter how it ends."""
    body = "import os; np.add(node.share(np.ones(1 << 20)), 1); group.sum(0.0); comm.rank or print(os.listdir('/dev/shm')); group.sum(0.0)"
    done = small("100m", "-c", ROOM.format(body=body), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


@pytest.mark.skipif(not MPIEXEC.exists() or OPEN_MPI, reason="Open MPI starts without shared memory where there is no room")
def test_mpi_that_has_no_room_to_start(config):
    done = small("4m", "-m", "deshpc", "train", config, cwd=config.parent)
    (line,) = errors(done)
    assert done.returncode == 4 and "18.0 MiB more are needed for MPICH and 3 ranks; free: " in line, done.stderr
