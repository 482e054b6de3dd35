"""What the host computes in a step of training on a CUDA device, stage by stage: milliseconds.

    PYTHONPATH=src python scripts/bench/gpu_host_time.py [--steps 300] [--as after --out docs/measured/gpu_host_time.json] [--profile]

Needs no GPU: the device does nothing (`tests/support/idle_device.py`), so what CUDA and CuPy take for a launch or a copy is not in it.  One
rank, Adagrad, k = 16, 13 dense features, 2^20 look-ups a step.  Figures are medians over steps, and the least of a whole step:
that of a machine that does nothing else.  The gather of the upload, which copies the batch to pinned memory, is a figure of its
own; in a run it is another thread's.
"""

import argparse
import cProfile
import json
import os
import platform
import pstats
import statistics
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import gpu_one_rank
import numpy as np

from deshpc.backend.cuda import upload
from deshpc.backend.cuda.backend import CudaBackend
from deshpc.config.load import build
from deshpc.data.batch import Batch

sys.path.append(str(Path(__file__).parents[2] / "tests" / "support"))
DENSE, BATCHES, UNMEASURED, DISTINCT = 13, 3, 10, 367_000
SHAPES = {"8,192 x 128": (8192, 128), "40,330 x 26": (40_330, 26)}  # samples and keys of each
VARIANTS = {  # name: (model, options of [optimizer], options of [train])
    "LR": ("lr", {}, {}),
    "FM": ("fm", {}, {}),
    "FM, clipped": ("fm", {"clip_norm": 1e-3}, {}),
    "FM, fixed point": ("fm", {}, {"accumulate": "int64"}),
    "DeepFM": ("deepfm", {}, {}),
    "DLRM": ("dlrm", {}, {}),
}
GATHER = "gather"


class Stages:
    """Nanoseconds of each stage of each step: what a Model tells its stages to."""

    def __init__(self):
        self.of_steps, self._current, self._since, self._steps = [], None, 0, None

    def enter(self, stage):
        now = time.perf_counter_ns()
        if self._steps is not None and self._current is not None:
            self._steps[self._current] = self._steps.get(self._current, 0) + now - self._since
        if stage == "read":  # once a step
            self._steps = {}
            self.of_steps.append(self._steps)
        self._current, self._since = stage, time.perf_counter_ns()

    def result(self):
        """Milliseconds, without the first steps and the last, which has not ended; a whole step is all but batch and gather."""
        steps = self.of_steps[UNMEASURED:-1]
        whole = [sum(ns for name, ns in one.items() if name not in ("read", GATHER)) for one in steps]
        stages = {name: _ms(statistics.median(one[name] for one in steps)) for name in steps[0] if name != "read"}
        return {"ms": _ms(statistics.median(whole)), "least_ms": _ms(min(whole)), "stages_ms": stages}


def _ms(nanoseconds):
    return round(nanoseconds / 1e6, 4)


def batches_of(samples, keys):
    """A few Batches; which keys they have is nothing to the host."""
    made = []
    for step in range(BATCHES):
        random, offsets = np.random.default_rng(step), np.arange(samples + 1, dtype=np.int64) * keys
        made.append(Batch(
            step, samples, np.arange(samples), offsets[:-1], offsets[1:], random.integers(1, 2**64, samples * keys, np.uint64),
            np.tile(np.arange(keys, dtype=np.uint16), samples), None, random.random((samples, DENSE), np.float32),
            (random.random(samples) < 0.25).astype(np.float32),
        ))  # fmt: skip
    return made


@contextmanager
def open_model(variant, fields, stages):
    """The model of a variant on an idle device and one rank."""
    from idle_device import IdleDevice
    from mpi4py import MPI

    from deshpc.comm.group import Group
    from deshpc.model.build import build_model

    name, rule, train = VARIANTS[variant]
    config = build({
        "data": {"format": "synthetic"}, "model": {"name": name, "dim": 16}, "compute": {"backend": "cuda"},
        "optimizer": rule, "train": train,
    })  # fmt: skip
    group, backend = Group(MPI.COMM_SELF), CudaBackend(IdleDevice())
    group.take_arrays_of(backend)
    with parts_of_upload(backend, stages):
        yield build_model(config, backend, group, fields, DENSE, enter=stages.enter)
    backend.close()
    group.free()


@contextmanager
def parts_of_upload(backend, stages):
    """Let the upload of a batch and the gather in it be stages."""
    send, fill = backend.upload, upload._fill

    def sending(arrays):
        stages.enter("upload")
        placed = send(arrays)
        stages.enter("route")
        return placed

    def filling(*arguments):
        stages.enter(GATHER)
        fill(*arguments)
        stages.enter("upload")

    backend.upload, upload._fill = sending, filling
    yield
    upload._fill = fill


def measure(variant, shape, count, profile):
    """The result of Stages for a variant.  profile : a cProfile.Profile, or None"""
    from deshpc.training.step import steps

    stages, made = Stages(), batches_of(*SHAPES[shape])
    with open_model(variant, SHAPES[shape][1], stages) as model:
        model.table.reserve(2 * DISTINCT)
        for turn, _ in enumerate(steps(model, (made[i % BATCHES] for i in range(count + UNMEASURED + 1)))):
            if profile and turn == UNMEASURED:
                profile.enable()
        if profile:
            profile.disable()
    return stages.result()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--only", nargs="*", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--shapes", nargs="*", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--as", dest="name", default="after", help="name of these figures in the file")
    parser.add_argument("--out", type=Path, help="JSON file, in which other figures stay")
    parser.add_argument("--profile", action="store_true", help="print where the time goes; figures are then larger")
    options = parser.parse_args()
    gpu_one_rank.stand_in()
    profile, found = cProfile.Profile() if options.profile else None, {}
    for variant in options.only:
        for shape in options.shapes:
            found[f"{variant}, {shape}"] = result = measure(variant, shape, options.steps, profile)
            stages = ", ".join(f"{name} {ms:.3f}" for name, ms in result["stages_ms"].items())
            print(f"{variant:<16}{shape:>12}{result['ms']:8.3f} ms (least {result['least_ms']:.3f}): {stages}", flush=True)
    if profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(30)
    if options.out:
        held = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {}
        machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        held[options.name] = {"machine": machine, "load": round(os.getloadavg()[0], 1), "steps": options.steps, "cases": found}
        options.out.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
