"""`deshpc doctor` as a user meets it: alone and under mpiexec, as text and as JSON; its exit codes."""

import json
import os

import pytest
from launching import deshpc, errors

import deshpc as package

NAMES = ("launcher", "MPI", "ranks", "cores a rank", "devices a rank sees", "device of rank 0", "versions")
TRANSPORTS = ("transport host", "transport cuda-aware", "transport nccl")


@pytest.mark.parametrize("ranks", [1, 3])
def test_the_report_is_printed_once(ranks):
    done = deshpc("doctor", ranks=ranks)
    assert done.returncode == 0 and errors(done) == []
    lines = done.stdout.splitlines()
    for name in NAMES + TRANSPORTS:
        assert sum(line.startswith(f"{name}  ") for line in lines) == 1, name
    (launcher,) = [line for line in lines if line.startswith("launcher fits MPI")]
    assert launcher.split()[3:] == ["ok"]
    measured = [line for line in lines if line.startswith(("one way", "all-reduce", "all-to-all"))]
    assert len(measured) == (5 if ranks > 1 else 0)
    assert all(line.split()[-1] in ("us", "ms", "MB/s", "GB/s", "each") for line in measured)
    (found,) = [line for line in lines if line.startswith("ranks  ")]
    assert found.split()[1:5] == [str(ranks), "on", "1", "node"]
    assert max(len(line) for line in lines) < 200


def test_json():
    done = deshpc("doctor", "--json", ranks=2)
    found = json.loads(done.stdout)
    assert done.returncode == 0 and found["joined"] and len(found["ranks"]) == 2
    assert found["launcher"]["ranks"] == 2 and found["launcher"]["rank"] == 0
    assert found["library"]["name"] in ("MPICH", "Open MPI", "Intel MPI") and found["library"]["threads"] == "multiple"
    ways = {way["name"]: way for way in found["transports"]}
    assert list(ways) == ["host", "cuda-aware", "nccl"] and ways["host"]["works"] is True and "(auto)" in ways["host"]["how"]
    assert ways["cuda-aware"]["works"] in (True, False, None) and ways["cuda-aware"]["how"]
    assert ways["nccl"]["works"] in (True, False, None) and ways["nccl"]["how"]
    assert found["speeds"]["between"] is None and found["speeds"]["inside"]["ranks"] == 2
    assert found["speeds"]["inside"]["ping_s"] < 1 and found["speeds"]["inside"]["allreduce_bytes_per_s"] > 1e4
    assert f"deshpc {package.__version__}" in found["ranks"][0]["versions"]
    assert {trap["level"] for trap in found["traps"]} <= {"ok", "note"}


def test_what_is_wrong_is_said_and_changes_the_exit_code():
    done = deshpc("doctor", env={"PMI_SIZE": "2", "PMI_RANK": "0"})
    assert done.returncode == 4 and errors(done) == []
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("launcher fits MPI")]
    assert "wrong" in line and "2 processes would be runs of 1 rank each" in line and "start it by" in line
    done = deshpc("doctor", env={"PMI_SIZE": "2", "PMI_RANK": "1"})
    assert done.returncode == 4 and done.stdout == ""  # the first process says it for all


def test_a_note_does_not_change_the_exit_code(tmp_path):
    (tmp_path / "file").touch()
    done = deshpc("doctor", env={"XDG_CACHE_HOME": str(tmp_path / "file"), "OMP_WAIT_POLICY": "active"})
    notes = [line for line in done.stdout.splitlines() if " note " in line]
    assert done.returncode == 0
    assert any(line.startswith("kernel cache") and str(tmp_path / "file") in line for line in notes)
    assert any(line.startswith("threads sleep") and "OMP_WAIT_POLICY" in line for line in notes)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be bound here")
def test_ranks_that_share_a_core_are_noted():
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        done = deshpc("doctor", "--json", ranks=2)
    finally:
        os.sched_setaffinity(0, before)
    found = json.loads(done.stdout)
    assert done.returncode == 0 and [one["threads"] for one in found["ranks"]] == [1, 1]
    levels = {trap["name"]: trap["level"] for trap in found["traps"]}
    assert levels["a core for each rank"] == "note"
