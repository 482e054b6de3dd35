"""Whole training steps of every model on a device: milliseconds a step, where they go, and PyTorch's and FBGEMM's beside them.

    PYTHONPATH=src python scripts/bench/gpu_steps.py [--device cuda] [--scale full] [--out steps.json]

The real model on one rank: batches of 26 keys a sample, each field with keys of its own, drawn by Zipf's law with an exponent
such that about 35 % of 2^20 look-ups are distinct; 13 dense features, Adagrad, k = 16.  The same few batches come again and again,
so that every row is there when the clock runs.  A step ends when its loss is on the host.  The split comes from a second pass
that waits for the device after every stage; its sum is more than a step.

PyTorch has a table of known size and row numbers where deshpc hashes and looks keys up; its batches lie in pinned memory, and
are copied when their step begins.  Deep models have three hidden layers of 400 units, and are measured with the first size of
batches; their PyTorch models are compiled, with a sparse table of PyTorch's or with FBGEMM's, which has the row-wise Adagrad
inside.
"""

import argparse
import statistics
import sys
import time
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import gpu_one_rank
import numpy as np
from gpu_batches import of_fields
from gpu_device import environment, open_bench, save

from deshpc.config.load import build

ABSENT = 3  # exit code where only peers are asked for and there are none
FIELDS, DENSE = 26, 13
SCALES = {  # look-ups of the batches;  batches;  timed steps
    "full": ((2**20, 2**18, 2**21), 3, 24),
    "small": ((2**18, 2**16), 3, 12),
    "tiny": ((260,), 2, 2),
}
ROWS_A_LOOKUP = 4  # of the whole table, which PyTorch holds from the beginning
VARIANTS = {  # name: (model, how gradients are summed, accumulate, matrix products)
    "LR, ordered": ("lr", "ordered", "", "auto"),
    "FM, ordered": ("fm", "ordered", "", "auto"),
    "FM, atomic": ("fm", "atomic", "", "auto"),
    "FM, ordered, fixed point": ("fm", "ordered", "int64", "auto"),
}
DEEP = {
    **{name: (name, "ordered", "", "auto") for name in ("wide_deep", "deepfm", "nfm", "dcn", "dcnv2", "dlrm", "xdeepfm")},
    **{f"{name}, tf32": (name, "ordered", "", "tf32") for name in ("deepfm", "dlrm")},
}
HIDDEN = (400, 400, 400)
PEERS = ("PyTorch", "FBGEMM")
WITH_PEERS = ("wide_deep", "deepfm", "dcn", "dcnv2", "dlrm")  # peers/torch_deep_models.py
sys.path.append(str(Path(__file__).parent / "peers"))


class Stages:
    """What a model tells its stages to: milliseconds of each, the device waited for at its end.  Idle until `watch`."""

    def __init__(self, bench):
        self._bench, self._current, self._since, self.times, self._watches = bench, None, 0.0, {}, False

    def watch(self):
        """Begin to measure."""
        self._watches = True

    def enter(self, stage):
        if not self._watches:
            return
        self._bench.wait()
        now = time.perf_counter()
        if self._current is not None:
            self.times.setdefault(self._current, []).append(1e3 * (now - self._since))
        self._current, self._since = stage, time.perf_counter()

    def means(self, steps):
        """{stage: milliseconds a step}, without making batches."""
        return {stage: sum(times) / steps for stage, times in self.times.items() if stage != "read"}


class Load:
    """Batches of so many look-ups, as row numbers and as deshpc takes them.  distinct : their mean share of distinct keys"""

    def __init__(self, lookups, rows, count):
        self.samples, self.rows, random = lookups // FIELDS, rows, np.random.default_rng(3)
        self.lookups = self.samples * FIELDS
        self.drawn = [of_fields(random, self.samples, FIELDS, rows - FIELDS) for _ in range(count)]
        self.batches = _batches_of(self.drawn)
        self.distinct = len(np.unique(self.drawn[0])) / self.lookups

    def result(self, name, times, first_losses, **further):
        """What is reported of a run."""
        ms = statistics.median(times)
        return {
            "name": name, "lookups": self.lookups, "samples": self.samples, "distinct": self.distinct, "ms": ms,
            "least_ms": min(times), "most_ms": max(times), "m_samples_per_s": self.samples / ms / 1e3,
            "first_losses": [float(loss) / self.samples for loss in first_losses], **further,
        }  # fmt: skip


def _batches_of(drawn):
    """A Batch of each array of row numbers."""
    from rows_worker import key_of

    from deshpc.data.batch import Batch

    made = []
    for step, numbers in enumerate(drawn):
        n = len(numbers)
        random = np.random.default_rng(step)
        offsets = np.arange(n + 1, dtype=np.int64) * FIELDS
        made.append(Batch(
            step, n, np.arange(n), offsets[:-1], offsets[1:], key_of(numbers.ravel()),
            np.tile(np.arange(FIELDS, dtype=np.uint16), n), None, random.random((n, DENSE), np.float32),
            (random.random(n) < 0.25).astype(np.float32),
        ))  # fmt: skip
    return made


@contextmanager
def open_model(bench, name, sums, accumulate, products, dim, enter):
    """The model of a configuration on the bench's device and one rank.  enter : see `Model`"""
    from mpi4py import MPI

    from deshpc.backend.cuda.backend import CudaBackend
    from deshpc.comm.group import Group
    from deshpc.model.build import build_model

    config = build({
        "data": {"format": "synthetic"}, "model": {"name": name, "dim": dim, "hidden": list(HIDDEN)},
        "train": {"accumulate": accumulate}, "compute": {"backend": "cuda", "cuda_sums": sums, "matrix_products": products},
    })  # fmt: skip
    group, backend = Group(MPI.COMM_SELF), CudaBackend(bench.device, sums == "atomic", products)
    group.take_arrays_of(backend)
    yield build_model(config, backend, group, FIELDS, DENSE, enter=enter)
    backend.close()
    group.free()


def train(bench, variant, load, timed, dim=16):
    """The result of one variant on these batches."""
    from deshpc.training.step import steps

    batches, stages = load.batches, Stages(bench)
    with open_model(bench, *{**VARIANTS, **DEEP}[variant], dim, stages.enter) as model:
        model.table.reserve(int(1.1 * load.distinct * load.lookups * len(batches)) + 1)
        losses = [one.loss for one in steps(model, batches)]  # inserts every row, compiles every kernel
        losses += [one.loss for one in steps(model, batches)]
        if not np.isfinite(losses).all():
            raise RuntimeError(f"losses {losses}")
        times, before = [], None
        for _ in steps(model, (batches[i % len(batches)] for i in range(timed + 1))):
            now = time.perf_counter()
            if before is not None:
                times.append(1e3 * (now - before))
            before = now
        upload = model.backend.upload
        stages.watch()

        def uploaded(arrays):
            stages.enter("upload")
            placed = upload(arrays)
            stages.enter("route")
            return placed

        model.backend.upload = uploaded
        turns = min(timed, 2 * len(batches))
        for _ in steps(model, (batches[i % len(batches)] for i in range(turns))):
            pass
        rows, table_bytes = len(model.table), model.table.nbytes
    return load.result(
        variant, times, losses[:3], dim=dim, rows=rows, table_bytes=table_bytes, stages_ms=stages.means(turns)
    )


def train_torch(name, load, timed, device="cuda"):
    """PyTorch's result: EmbeddingBag or Embedding with sparse gradients, Adagrad, float32; a deep model's top is compiled."""
    import torch
    from torch_deep_models import Deep
    from torch_models import ACCUMULATOR, FM, LR, RATE

    torch.manual_seed(1)
    if name in WITH_PEERS:
        model = Deep(_job(name, device), load.rows, FIELDS, DENSE).to(device)
    else:
        model = {"lr": LR, "fm": FM}[name](load.rows, DENSE).to(device)
    tables = [model.table.weight]
    others = [one for one in model.parameters() if one is not model.table.weight]
    rates = RATE, model.rate if name in WITH_PEERS else RATE
    optimizers = [
        torch.optim.Adagrad(group, lr=rate, initial_accumulator_value=ACCUMULATOR)
        for group, rate in zip((tables, others), rates, strict=True)
    ]
    return _torch_result(f"PyTorch {name}", load, timed, device, model, optimizers, lambda indices: (indices,), torch.__version__)


def train_fbgemm(name, load, timed, device="cuda"):
    """The same with FBGEMM's table, which looks up and updates in kernels of its own: row-wise Adagrad."""
    import fbgemm_gpu
    import torch
    from fbgemm_gpu.split_embedding_configs import EmbOptimType
    from fbgemm_gpu.split_table_batched_embeddings_ops_common import EmbeddingLocation, PoolingMode
    from fbgemm_gpu.split_table_batched_embeddings_ops_training import (
        ComputeDevice,
        SplitTableBatchedEmbeddingBagsCodegen,
    )
    from torch_deep_models import top_of, width_of
    from torch_models import ACCUMULATOR, RATE, first_weights

    torch.manual_seed(1)
    on_device = device == "cuda"
    place = (EmbeddingLocation.DEVICE, ComputeDevice.CUDA) if on_device else (EmbeddingLocation.HOST, ComputeDevice.CPU)
    job = _job(name, device)

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            top, self.rate = top_of(job, FIELDS, DENSE)
            self.top, self.width = top.to(device), width_of(job)
            self.table = SplitTableBatchedEmbeddingBagsCodegen(
                [(load.rows, self.width, *place)], feature_table_map=[0] * FIELDS, pooling_mode=PoolingMode.SUM,
                optimizer=EmbOptimType.EXACT_ROWWISE_ADAGRAD, learning_rate=RATE, eps=1e-8,
            )  # fmt: skip
            first_weights(self.table.split_embedding_weights()[0])

        def forward(self, indices, offsets, dense):
            return self.top(self.table(indices, offsets).view(len(dense), -1, self.width), dense)

    model, offsets = Model(), torch.arange(load.lookups + 1, device=device)
    optimizers = [torch.optim.Adagrad(model.top.parameters(), lr=model.rate, initial_accumulator_value=ACCUMULATOR)]

    def keys(indices):  # field after field
        return indices.T.reshape(-1), offsets

    return _torch_result(f"FBGEMM {name}", load, timed, device, model, optimizers, keys, fbgemm_gpu.__version__)


def _job(name, device):
    return {"model": name, "hidden": list(HIDDEN), "compiled": name in WITH_PEERS and device == "cuda"}


def _torch_result(title, load, timed, device, model, optimizers, keys, version):
    """keys : function(indices) -> what the model takes in front of the dense features"""
    import torch

    criterion = torch.nn.BCEWithLogitsLoss(reduction="sum")
    pinned = (lambda array: torch.from_numpy(array).pin_memory()) if device == "cuda" else torch.from_numpy
    made = [
        tuple(map(pinned, (numbers.astype(np.int64), batch.dense, batch.labels)))
        for numbers, batch in zip(load.drawn, load.batches, strict=True)
    ]

    def step(turn):
        indices, dense, labels = (one.to(device, non_blocking=True) for one in made[turn % len(made)])
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss = criterion(model(*keys(indices), dense), labels)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        return float(loss.detach())

    first = [step(turn) for turn in range(3)]
    times = []
    for turn in range(timed):
        before = time.perf_counter()
        step(turn)
        times.append(1e3 * (time.perf_counter() - before))
    return load.result(title, times, first, rows=load.rows, version=version)


def with_torch(device):
    """Whether PyTorch is there, with a device to train on."""
    try:
        import torch
    except ImportError:
        return False
    return device == "executor" or torch.cuda.is_available()


def beside_peers(results):
    """[{"name", "lookups", "ms", "peers": {"PyTorch" or "FBGEMM": ms}}] of deshpc's results that a peer has one for."""
    models = {variant: of_variant[0] for variant, of_variant in {**VARIANTS, **DEEP}.items()}
    ms = {(one["name"], one["lookups"]): one["ms"] for one in results if "error" not in one}
    found = [
        {
            "name": name, "lookups": lookups, "ms": own,
            "peers": {peer: ms[f"{peer} {models[name]}", lookups] for peer in PEERS if (f"{peer} {models[name]}", lookups) in ms},
        }
        for (name, lookups), own in ms.items()
        if name in models
    ]  # fmt: skip
    return [one for one in found if one["peers"]]


def line(result, measured=True):
    """A result as lines of the table."""
    what = f"{result['name']:<30}{result.get('lookups', 0):>10,} look-ups"
    if "error" in result:
        return f"{what} FAILED {result['error']}"
    if not measured:
        return f"{what} ran"
    text = (
        f"{what}{result['distinct']:>6.0%} distinct{result['ms']:>9.3f} ms a step ({result['least_ms']:.3f} - "
        f"{result['most_ms']:.3f}){result['m_samples_per_s']:>8.2f} M samples/s"
    )
    if "stages_ms" in result:
        text += "\n    waiting after each: " + ", ".join(f"{name} {ms:.3f}" for name, ms in result["stages_ms"].items())
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "executor"), default="cuda")
    parser.add_argument("--scale", choices=SCALES, default="full")
    parser.add_argument("--only", nargs="*", choices=[*VARIANTS, *DEEP], default=[*VARIANTS, *DEEP], help="variants")
    parser.add_argument("--of", nargs="*", choices=("deshpc", "peers"), default=["deshpc", "peers"], help="whose steps")
    parser.add_argument("--no-pool", action="store_true", help="every array an allocation of its own, for compute-sanitizer")
    parser.add_argument("--out", help="JSON file, written anew after each result")
    options = parser.parse_args()
    if options.of == ["peers"] and not with_torch(options.device):
        print("PyTorch is not there, or has no device to train on")
        return ABSENT
    mpi = gpu_one_rank.stand_in()
    bench = open_bench(options.device)
    if options.no_pool:
        bench.without_pool()
    found = {"environment": {**environment(bench), "mpi": mpi}, "scale": options.scale, "results": []}
    sizes, count, timed = SCALES[options.scale]
    rows, failed = ROWS_A_LOOKUP * sizes[0], False

    def measure(name, work, *arguments):
        nonlocal failed
        try:
            result = work(*arguments)
        except Exception as error:  # the others are measured all the same
            failed = True
            result = {"name": name, "lookups": load.lookups, "error": f"{type(error).__name__}: {error}"}
        found["results"].append(result)
        save(options.out, found)
        print(line(result, bench.measures), flush=True)

    for lookups in sizes:
        load = Load(lookups, rows, count)
        chosen = [one for one in options.only if one in VARIANTS or lookups == sizes[0]]
        for variant in chosen if "deshpc" in options.of else ():
            measure(variant, train, bench, variant, load, timed)
        bench.free_bytes()
        if "peers" in options.of and with_torch(options.device):
            device = "cuda" if bench.measures else "cpu"
            for name in dict.fromkeys({**VARIANTS, **DEEP}[one][0] for one in chosen):
                if name in ("lr", "fm", *WITH_PEERS):
                    measure(f"PyTorch {name}", train_torch, name, load, timed, device)
                if name in WITH_PEERS and find_spec("fbgemm_gpu"):
                    measure(f"FBGEMM {name}", train_fbgemm, name, load, timed, device)
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
