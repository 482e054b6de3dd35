"""Every trap, set and not set: facts of a pretended job go in, the remedy comes out."""

from dataclasses import replace

import pytest

from deshpc.doctor.devices import NO_DRIVER, Device
from deshpc.doctor.facts import Facts
from deshpc.doctor.traps import find_traps
from deshpc.launch.launcher import ALONE, Launcher
from deshpc.launch.start import Start

RANK = Facts(
    host="n1", node=0, local_rank=0, cores=[0, 1], threads=2, node_cores=8, devices=[], device=None,
    shared_memory=8 << 30, leftovers=[], kernel_cache="", versions="deshpc 1", unmet="", unmet_device="", variables={},
)  # fmt: skip
GPUS = [Device(number, "x", f"id {number}") for number in range(4)]


def job(**changes):
    """Facts of 8 ranks on 2 nodes of 8 cores, two cores each; a change is a value, or a function of the rank."""
    ranks = [
        replace(RANK, host=f"n{1 + r // 4}", node=r // 4, local_rank=r % 4, cores=[2 * (r % 4), 2 * (r % 4) + 1])
        for r in range(8)
    ]
    for name, change in changes.items():
        ranks = [replace(one, **{name: change(r) if callable(change) else change}) for r, one in enumerate(ranks)]
    return ranks


def traps(facts, launcher=ALONE, problem=None, **known):
    """{name: (level, text)} of all that is not ok."""
    found = find_traps(Start(launcher, None, None, problem), facts, **known)
    return {trap.name: (trap.level, trap.text) for trap in found if trap.level != "ok"}


def test_all_is_well():
    found = find_traps(Start(ALONE, None, None, None), job())
    assert len(found) == len({trap.name for trap in found}) == 13
    assert {(trap.level, trap.text) for trap in found} == {("ok", "")}
    gpus = job(devices=GPUS, device=lambda r: GPUS[r % 4])
    assert traps(gpus) == {}
    assert traps(job(variables={"OMP_NUM_THREADS": "2", "SLURM_JOB_NUM_NODES": "2"})) == {}


@pytest.mark.parametrize(
    ("changes", "name", "level", "words"),
    [
        ({"versions": lambda r: f"deshpc {r // 7}"}, "equal versions", "wrong", ["rank 0: deshpc 0", "rank 7: deshpc 1"]),
        (
            {"unmet": lambda r: "numba 0.5 does not: pip" if r == 6 else ""},
            "versions go together", "wrong", ["rank 6: numba 0.5 does not"],
        ),
        (
            {"unmet_device": "numpy 2.5 does not: pip"},
            "versions of the device backend", "note", ["rank 0: numpy 2.5 does not"],
        ),
        ({"variables": {"SLURM_JOB_NUM_NODES": "3"}}, "all nodes used", "note", ["has 3 nodes", "are on 2", "srun -N 3"]),
        ({"cores": [0, 1, 2], "threads": 1, "node_cores": 4}, "a core for each rank", "note", ["4 ranks share 3 cores of n1"]),
        ({"node_cores": 2}, "a core for each rank", "note", ["4 ranks share 2 cores of n1"]),  # of the job
        ({"threads": 1}, "all cores used", "note", ["4 ranks use 4 of 8 cores of n1", "2 cores each", "-c 2", "PE=2"]),
        (
            {"devices": GPUS[:2], "device": lambda r: GPUS[r % 2]},
            "a device for each rank", "note", ["4 ranks share 2 devices of n1"],
        ),
        (
            {"devices": [Device(0, NO_DRIVER, "0")], "device": Device(0, NO_DRIVER, "0")},
            "a device for each rank", "note", ["n1 grants CUDA devices, but libcuda.so.1"],
        ),
        ({"variables": {"OMP_WAIT_POLICY": "ACTIVE"}}, "threads sleep", "note", ["OMP_WAIT_POLICY=active"]),
        (
            {"variables": lambda r: {"OPENBLAS_NUM_THREADS": "64"} if r == 5 else {}},
            "threads sleep", "note", ["rank 5 has OPENBLAS_NUM_THREADS=64 and 2 cores"],
        ),
        ({"shared_memory": lambda r: (64 << 20) << r}, "room in /dev/shm", "note", ["64 MiB free on n1", "--shm-size"]),
        (
            {"leftovers": lambda r: ["/dev/shm/mpich_shm_1_0"] if r == 4 else []},
            "no leftovers in /dev/shm", "note", ["1 of killed jobs on n2", "rm -f /dev/shm/mpich_shm_1_0"],
        ),
        (
            {"kernel_cache": lambda r: "no permission: '/x'" if r == 3 else ""},
            "kernel cache", "note", ["rank 3: no permission: '/x'", "XDG_CACHE_HOME"],
        ),
    ],
)  # fmt: skip
def test_a_trap_has_its_remedy(changes, name, level, words):
    found = traps(job(**changes))
    assert list(found) == [name] and found[name][0] == level and "\n" not in found[name][1]
    for word in words:
        assert word in found[name][1]


def test_a_device_that_is_numbered_0_on_every_rank_may_be_another():
    own = [Device(0, "x", f"id {r}") for r in range(8)]
    assert traps(job(devices=lambda r: [own[r]], device=lambda r: own[r])) == {}


def test_many_leftovers_are_named_by_a_pattern():
    text = traps(job(leftovers=lambda r: [f"/dev/shm/mpich_shm_{i}" for i in range(40)] if r == 0 else []))
    assert "40 of killed jobs" in text["no leftovers in /dev/shm"][1] and len(text["no leftovers in /dev/shm"][1]) < 120


def test_srun_without_k():
    srun = Launcher("srun --mpi=pmi2", 8, 0, 0, ("pmi",))
    (name,) = found = traps(job(), srun)
    assert name == "failed ranks end the job" and found[name][0] == "note" and "SLURM_KILL_BAD_EXIT=1" in found[name][1]
    assert traps(job(), srun, kill_on_bad_exit=True) == {}
    assert traps(job(), Launcher("Open MPI's mpiexec", 8, 0, 0)) == {}


def test_ranks_that_are_not_joined_are_wrong_and_nothing_is_said_of_the_others():
    found = find_traps(Start(ALONE, None, None, "they do not fit"), job()[:1])
    assert (found[0].level, found[0].text) == ("wrong", "they do not fit")
    assert len(found) == 5 and not {"all cores used", "equal versions"} & {trap.name for trap in found}
