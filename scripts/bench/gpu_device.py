"""The device that gpu_kernels.py and gpu_steps.py measure: CUDA with events, or the CPU executor of the tests.

    bench = open_bench("cuda")          times are those of the stream, between two events
    bench = open_bench("executor")      the same calls where there is no GPU: whether a script works, not how fast

Everything that only CuPy can do is here.
"""

import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]


def open_bench(name):
    """The bench called "cuda" or "executor"."""
    return CudaBench() if name == "cuda" else ExecutorBench()


class CudaBench:
    """The first CUDA device."""

    name, measures = "cuda", True

    def __init__(self):
        import cupy

        from deshpc.backend.cuda.device import open_device

        self._cupy = cupy
        self.device = open_device(0)
        self._stream = cupy.cuda.get_current_stream()  # the device has made its own the current one

    def free_bytes(self):
        """Bytes of the device's memory that nobody has, what arrays have left behind included."""
        self._cupy.get_default_memory_pool().free_all_blocks()
        return self._cupy.cuda.runtime.memGetInfo()[0]

    def milliseconds(self, work, before, repeats):
        """Times on the device of `repeats` calls of `work`, each after `before`, none of which waits for the one ahead."""
        pairs = []
        for _ in range(repeats):
            before()
            begin = self._stream.record()
            work()
            pairs.append((begin, self._stream.record()))
        pairs[-1][1].synchronize()
        return [self._cupy.cuda.get_elapsed_time(begin, end) for begin, end in pairs]

    def wait(self):
        """Wait until the device has nothing to do."""
        self._stream.synchronize()

    def without_pool(self):
        """Let every array be an allocation of its own, so that a checker of memory sees where each ends."""
        self._cupy.cuda.set_allocator(None)

    def facts(self):
        """What the device is."""
        runtime = self._cupy.cuda.runtime
        properties, (free, total) = runtime.getDeviceProperties(0), runtime.memGetInfo()
        return {
            "card": _text(properties["name"]), "memory_bytes": total, "free_bytes": free,
            "l2_bytes": properties.get("l2CacheSize"), "multiprocessors": properties.get("multiProcessorCount"),
            "capability": self._cupy.cuda.Device(0).compute_capability, "driver_cuda": runtime.driverGetVersion(),
            "runtime_cuda": runtime.runtimeGetVersion(), "nvrtc": list(self._cupy.cuda.nvrtc.getVersion()),
        }  # fmt: skip


class ExecutorBench:
    """The executor of the tests."""

    name, measures = "executor", False

    def __init__(self):
        sys.path.append(str(ROOT / "tests"))
        from executor.device import ExecutorDevice

        self.device = ExecutorDevice(mode="fast")

    def free_bytes(self):
        return 2**28

    def milliseconds(self, work, before, repeats):
        times = []
        for _ in range(repeats):
            before()
            begin = time.perf_counter()
            work()
            times.append(1e3 * (time.perf_counter() - begin))
        return times

    def wait(self):
        self.device.synchronize()

    def without_pool(self):
        pass

    def facts(self):
        return {"card": "none: executor on the CPU", "memory_bytes": 0, "free_bytes": 0}


def environment(bench):
    """{name: value} of the device, what drives it, and this source tree."""
    found = {**bench.facts(), "python": platform.python_version(), "processor": platform.machine(), "cores": os.cpu_count()}
    for package in ("cupy", "numba", "numba_cuda", "numpy", "mpi4py", "torch", "pytest"):
        found[package] = _version(package)
    query = ["nvidia-smi", "--query-gpu=name,driver_version,clocks.max.sm,clocks.max.memory,power.limit", "--format=csv,noheader"]
    found["nvidia-smi"] = _output(query)
    found["commit"] = _output(["git", "-C", str(ROOT), "rev-parse", "HEAD"])
    found["changed"] = _output(["git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no"])
    return found


def upload(device, host):
    """A copy of a host array on the device."""
    host = np.ascontiguousarray(host)
    array = device.empty(host.shape, host.dtype)
    device.to_device(host, array)
    return array


def save(path, content):
    """Write JSON to `path` at once, so that what a part has measured is there if it is ended."""
    if path:
        temporary = Path(path).with_suffix(".partial")
        temporary.write_text(json.dumps(content, indent=1, default=str), encoding="utf-8")
        os.replace(temporary, path)


def _version(package):
    if importlib.util.find_spec(package) is None:
        return None
    import importlib.metadata as metadata

    distributions = metadata.packages_distributions().get(package, [package.replace("_", "-")])
    for name in distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "?"


def _output(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _text(name):
    return name.decode() if isinstance(name, bytes) else name
