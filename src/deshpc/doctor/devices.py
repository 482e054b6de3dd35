"""Which CUDA device a rank takes, found out without creating a context on any."""

import ctypes
import os
from dataclasses import dataclass

NO_DRIVER = "no driver"


@dataclass(frozen=True)
class Device:
    """A visible device: its number in this process, and what the driver says, where there is one.

    identity : equal for all processes that see the same device, whatever number it has there
    """

    number: int
    name: str
    identity: str


def visible_devices(environment=os.environ):
    """The devices that this process may use, in CUDA's order; empty where there are none.

    As the driver says.  Where the driver cannot be loaded, nothing can run on a device; but what the allocation
    grants (CUDA_VISIBLE_DEVICES, else Slurm's list) is told, under the name NO_DRIVER.
    """
    found = _driver_devices()
    if found is not None:
        return found
    return [Device(number, NO_DRIVER, identity) for number, identity in enumerate(granted_devices(environment))]


def granted_devices(environment=os.environ):
    """Identities in CUDA_VISIBLE_DEVICES, else in Slurm's list of the step or the job; empty if there is none.

    As CUDA reads it: the list ends at the first empty or negative entry.
    """
    lists = ("CUDA_VISIBLE_DEVICES", "SLURM_STEP_GPUS", "SLURM_JOB_GPUS")
    text = next((environment[name] for name in lists if name in environment), "")
    identities = []
    for entry in text.split(","):
        entry = entry.strip()
        if not entry or entry.startswith("-"):
            break
        identities.append(entry)
    return identities


def device_of_rank(devices, local_rank):
    """The device that the rank with this number on its node takes: round and round; None where there are none."""
    return devices[local_rank % len(devices)] if devices else None


def _driver_devices():
    """Devices by CUDA's driver, which heeds CUDA_VISIBLE_DEVICES; None where there is no driver or no device."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return None
    devices = []
    for number in range(count.value):
        device, name, identity = ctypes.c_int(), ctypes.create_string_buffer(100), ctypes.create_string_buffer(16)
        driver.cuDeviceGet(ctypes.byref(device), number)
        driver.cuDeviceGetName(name, len(name), device)
        driver.cuDeviceGetUuid(identity, device)
        devices.append(Device(number, name.value.decode(errors="replace"), identity.raw.hex()))
    return devices
