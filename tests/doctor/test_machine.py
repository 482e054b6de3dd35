"""What a rank finds on its node: cores, devices, shared memory, the kernel cache.

Proves the counts of cores by hand-made allocations, the device of each rank by CUDA's and Slurm's variables and by a
pretended driver, and that only what nobody uses counts as left over.
"""

import ctypes
import mmap
import os
from types import SimpleNamespace

import pytest

from deshpc.comm.cores import allocated_cores, cores_for, cores_on_node, own_cores
from deshpc.doctor import devices, facts
from deshpc.doctor.devices import Device, device_of_rank, granted_devices, visible_devices
from deshpc.jit import cache_problem

FOUR, EIGHT = [0, 1, 2, 3], list(range(8))


@pytest.mark.parametrize(
    ("cores_of_ranks", "allocated", "wanted"),
    [
        ([EIGHT], None, [8]),
        ([[0, 1], [2, 3]], None, [2, 2]),  # srun, or mpiexec that binds
        ([[0], [1]], None, [1, 1]),  # Open MPI binds two ranks to a core each
        ([EIGHT, EIGHT], None, [4, 4]),  # nobody binds
        ([EIGHT, EIGHT, EIGHT], None, [2, 2, 2]),
        ([FOUR, EIGHT], None, [2, 6]),  # four of the eight are shared
        ([[0], [0], [0]], None, [1, 1, 1]),
        ([EIGHT, EIGHT], 2, [2, 2]),  # Slurm gave two cores each, and does not bind
        ([[0, 1], [2, 3]], 8, [2, 2]),  # the binding is narrower
    ],
)
def test_cores_are_divided_among_those_that_may_use_them(cores_of_ranks, allocated, wanted):
    assert [cores_for(rank, cores_of_ranks, allocated) for rank in range(len(cores_of_ranks))] == wanted


@pytest.mark.parametrize(
    ("environment", "ranks", "wanted"),
    [
        ({}, 2, None),
        ({"SLURM_CPUS_PER_TASK": "6"}, 2, 6),
        ({"SLURM_CPUS_ON_NODE": "8"}, 2, 4),
        ({"SLURM_CPUS_ON_NODE": "8"}, 3, 2),
        ({"SLURM_CPUS_ON_NODE": "2"}, 4, 1),
        ({"SLURM_CPUS_PER_TASK": "4", "SLURM_CPUS_ON_NODE": "8"}, 2, 4),
        ({"SLURM_CPUS_PER_TASK": "8", "SLURM_CPUS_ON_NODE": "8"}, 8, 1),  # one task, in which mpiexec started eight
        ({"SLURM_CPUS_PER_TASK": "", "SLURM_CPUS_ON_NODE": "8"}, 1, 8),
    ],
)
def test_slurm_says_how_many_cores_a_rank_was_given(environment, ranks, wanted):
    assert allocated_cores(ranks, environment) == wanted


def test_this_process_has_cores():
    assert own_cores() == sorted(set(own_cores())) and 1 <= len(own_cores()) <= os.cpu_count()
    assert cores_on_node({}) == os.cpu_count() and cores_on_node({"SLURM_CPUS_ON_NODE": "3"}) == 3


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, []),
        ({"CUDA_VISIBLE_DEVICES": "2,3"}, ["2", "3"]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-ab, GPU-cd"}, ["GPU-ab", "GPU-cd"]),
        ({"CUDA_VISIBLE_DEVICES": "", "SLURM_STEP_GPUS": "0"}, []),  # hidden on purpose
        ({"CUDA_VISIBLE_DEVICES": "1,-1,2"}, ["1"]),  # as CUDA reads it
        ({"SLURM_STEP_GPUS": "4,5", "SLURM_JOB_GPUS": "4,5,6,7"}, ["4", "5"]),
        ({"SLURM_JOB_GPUS": "6"}, ["6"]),
    ],
)
def test_granted_devices(environment, wanted):
    assert granted_devices(environment) == wanted


def test_ranks_take_devices_round_and_round():
    four = [Device(number, "x", str(number)) for number in range(4)]
    assert [device_of_rank(four, rank).number for rank in range(6)] == [0, 1, 2, 3, 0, 1]
    assert device_of_rank(four[:1], 3).number == 0 and device_of_rank([], 3) is None


class PretendedDriver:
    """CUDA's driver with two devices."""

    def cuInit(self, flags):
        return 0

    def cuDeviceGetCount(self, count):
        count._obj.value = 2
        return 0

    def cuDeviceGet(self, device, number):
        device._obj.value = 10 + number

    def cuDeviceGetName(self, name, size, device):
        name.value = b"Pretended %d" % device.value

    def cuDeviceGetUuid(self, identity, device):
        identity.raw = bytes([device.value]) * 16


def test_the_driver_has_the_last_word(monkeypatch):
    asked = []

    def load(name):
        asked.append(name)
        return PretendedDriver()

    monkeypatch.setattr(devices, "ctypes", SimpleNamespace(**{**vars(ctypes), "CDLL": load}))
    found = visible_devices({"CUDA_VISIBLE_DEVICES": "0"})
    assert asked == ["libcuda.so.1"]
    assert found == [Device(0, "Pretended 10", "0a" * 16), Device(1, "Pretended 11", "0b" * 16)]


@pytest.mark.parametrize("driver", ["missing", "without a device"])
def test_without_a_driver_the_grant_is_told(monkeypatch, driver):
    def load(name):
        if driver == "missing":
            raise OSError(name)
        return SimpleNamespace(cuInit=lambda flags: 100)  # CUDA_ERROR_NO_DEVICE

    monkeypatch.setattr(devices, "ctypes", SimpleNamespace(**{**vars(ctypes), "CDLL": load}))
    assert visible_devices({"CUDA_VISIBLE_DEVICES": "5"}) == [Device(0, devices.NO_DRIVER, "5")]
    assert visible_devices({}) == []


def test_only_what_nobody_uses_is_left_over(tmp_path):
    names = ["mpich_shm_dead_0", "sm_segment.host.0.dead.0", "mpich_shm_alive_0", "mpich_shm_young_0", "other"]
    for name in names:
        (tmp_path / name).write_bytes(bytes(4096))
        if "young" not in name:
            os.utime(tmp_path / name, (1, 1))
    with (tmp_path / "mpich_shm_alive_0").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ):
        assert facts.leftovers(tmp_path) == [str(tmp_path / name) for name in names[:2]]
    assert str(tmp_path / "mpich_shm_alive_0") in facts.leftovers(tmp_path)
    assert facts.leftovers(tmp_path / "none") == []


def test_a_kernel_cache_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert cache_problem() == ""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert str(tmp_path / "file") in cache_problem()


@pytest.mark.parametrize(
    ("environment", "says", "wanted"),
    [
        ({"SLURM_KILL_BAD_EXIT": "1"}, None, True),
        ({"SLURM_KILL_BAD_EXIT": "0", "SLURM_JOB_ID": "1"}, "KillOnBadExit           = 1", True),
        ({"SLURM_JOB_ID": "1"}, "KillOnBadExit           = 0", None),  # srun's -K cannot be seen
        ({"SLURM_JOB_ID": "1"}, None, None),
        ({}, "KillOnBadExit           = 1", None),
    ],
)
def test_whether_srun_ends_a_step(tmp_path, monkeypatch, environment, says, wanted):
    if says:
        (tmp_path / "scontrol").write_text(f"#!/bin/sh\necho '{says}'\n", encoding="utf-8")
        (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin" if says else str(tmp_path))
    assert facts.kill_on_bad_exit(environment) is wanted


@pytest.mark.mpi
def test_facts_of_all_ranks(world):
    found = facts.gather(world)
    assert found == world.bcast(found) and len(found) == world.size
    assert [one.local_rank for one in found] == list(range(world.size)) and {one.node for one in found} == {0}
    assert found[world.rank].cores == own_cores() and found[world.rank].host == os.uname().nodename
    users = [sum(core in one.cores for one in found) for core in own_cores()]
    assert found[world.rank].threads == max(1, int(sum(1 / count for count in users) + 1e-9))
    assert all(one.leftovers == [] for one in found if one.local_rank)


def test_facts_of_a_process_without_mpi():
    (found,) = facts.gather(None)
    assert found.threads == len(own_cores()) and found.node == found.local_rank == 0
