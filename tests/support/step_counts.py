"""What steps of training ask of a device: counts of launches, copies, memsets and waits, for each combination of options.

The counts are a function of the options and of how many digits sorts have to go through, since steps are steady: all rows are
there, no array grows, nothing is compiled.  A batch has as many distinct keys as make three digits of 8 bits: so have those of
2^16 to 2^24 rows.
"""

from itertools import product
from typing import NamedTuple

import numpy as np
from counting_device import CountingDevice
from deep_training import MODELS as DEEP
from deep_training import deep_config
from executor.device import ExecutorDevice
from small_training import EXCHANGES, ROUTINGS, reads, small_config, small_model
from synthetic_batches import N_FIELDS, plain_batch

from deshpc.backend.cuda.backend import CudaBackend
from deshpc.training.step import steps

MODELS = ("lr", "fm", *DEEP)
KINDS = {
    "plain": {},
    "clipped": {"rule": {"clip_norm": 0.1}},
    "fixed point": {"accumulate": "int64"},
}
"""Options of `small_config`, by what a step does.  Deep models are counted in plain steps: clipping and fixed point are the same in all."""

COUNTED = ("launches", "elementwise", "products", "to device", "to host", "on device", "memsets", "waits", "new arrays")
"""What is counted of a step."""

SAMPLES, KEYS = 2048, 68  # 139,264 keys in all, of which each of two ranks has more than 2^16
UNSTEADY, STEPS = 2, 5  # the first two steps insert, compile, and make the buffers of two batches; the last prepares no other


class Case(NamedTuple):
    """One combination of options."""

    model: str
    exchange: str
    routing: str
    kind: str

    def __str__(self):
        return ", ".join(self)


def cases(ranks):
    """[Case] of so many ranks.  One rank sends nothing, and is built without exchange and routing, whatever they are called."""
    travelling = product(EXCHANGES, ROUTINGS) if ranks > 1 else [(EXCHANGES[0], ROUTINGS[0])]
    return [Case(model, *way, kind) for way, model in product(travelling, MODELS) for kind in kinds_of(model)]


def kinds_of(model):
    """Those of KINDS that a model is counted in."""
    return [kind for kind in KINDS if model not in DEEP or kind == "plain"]


def counts_of(comm, case):
    """{one of COUNTED: number in a step} of training on `comm`, of the steady step and the rank with most.  Collective.

    RuntimeError if something is compiled in a step that should be steady.
    """
    options = {"precision": "float32", "exchange": case.exchange, "routing": case.routing, **KINDS[case.kind]}
    config = deep_config(case.model, **options) if case.model in DEEP else small_config(case.model, **options)
    device, found = CountingDevice(ExecutorDevice(mode="fast")), []
    with small_model(comm, config, backend=CudaBackend(device)) as model:
        model.table.reserve(2 * SAMPLES * KEYS)
        before = device.counts()
        for _ in steps(model, [reads(model, _batch(step)) for step in range(STEPS)]):
            found.append(device.counts() - before)
            before = device.counts()
    steady = found[UNSTEADY:-1]
    if any(one["compiled"] for one in steady):
        raise RuntimeError(f"{case}: these steps compile: {[dict(one) for one in found]}")
    of_ranks = comm.allgather(steady)
    return {kind: max(one[kind] for those in of_ranks for one in those) for kind in COUNTED}


def _batch(step):
    """A global batch of the same keys in every step, none of them twice, in another order each time."""
    random = np.random.default_rng(step)
    numbers = random.permutation(np.arange(SAMPLES * KEYS, dtype=np.uint64))
    fields = numbers % np.uint64(N_FIELDS)
    hashed = (numbers + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)  # odd, so that no two are equal
    return plain_batch(
        step, np.full(SAMPLES, KEYS), hashed & ~np.uint64(0xFFFF << 32) | fields << np.uint64(32), fields, None,
        random.standard_normal((SAMPLES, 2)), random.random(SAMPLES) < 0.4,
    )  # fmt: skip
