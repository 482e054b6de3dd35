"""Real runs that get SIGKILL at random moments, against a run that nobody killed: scripts/attacks/kills.py, a few times."""

from pathlib import Path

import pytest
from launching import MPIEXEC, run

SCRIPT = Path(__file__).parents[2] / "scripts" / "attacks" / "kills.py"


@pytest.mark.skipif(not (MPIEXEC.exists() and Path("/proc/self/task").is_dir()), reason="needs mpiexec and /proc")
def test_killed_runs_go_on():
    done = run(SCRIPT, "--kills", "2", "--ranks", "2", "--seed", "5", "--only", "everything:SIGKILL", "rank:SIGKILL")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 kills" in done.stdout and "all sound" in done.stdout
