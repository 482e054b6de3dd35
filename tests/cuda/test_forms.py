"""Whatever a run asks the device to compile, NVRTC compiles, within the gates of every kernel.

Runs of all number types, rules, kinds of values and exchanges are made on the executor, which takes down the forms; those of deep
models on a device that does nothing, since what they ask for depends on options alone.  Forms that `variants.py` does not have
are compiled here.
"""

from dataclasses import replace
from functools import cache
from itertools import cycle, product

import numpy as np
import pytest
from compile_gates.gates import refusals
from compile_gates.limits import PROMISING
from compile_gates.machine_code import kernels_in
from compile_gates.nvrtc import cubin_of
from compile_gates.tools import reason_to_skip
from deep_training import ACTIVATIONS, MODELS, NORMALISATIONS, deep_config
from executor.device import ExecutorDevice
from idle_device import IdleDevice
from small_training import EXCHANGES, ROUTINGS, RULES, reads, score, small_config
from synthetic_batches import N_FIELDS, awkward_batches, plain_batch
from variants import VARIANTS

from deshpc.backend.cuda.backend import CudaBackend
from deshpc.backend.cuda.source import text_of
from deshpc.comm.group import Group
from deshpc.comm.node_map import NodeMap
from deshpc.model.build import build_model
from deshpc.training.step import step

pytestmark = pytest.mark.skipif(reason_to_skip() is not None, reason=str(reason_to_skip()))

RUNS = [  # every number type, every rule, every kind of values, each once or more
    ("float32", "", "adagrad, clipped", 1), ("float32", "", "ftrl", 0), ("float32", "", "adam", 2),
    ("float32", "", "rowwise_adagrad", 0), ("float32", "float64", "sgd", 1), ("float32", "int64", "adagrad, clipped", 2),
    ("float64", "", "adam", 0), ("float64", "int64", "ftrl", 1),
]  # fmt: skip
CAPABILITY = 90
TWO_NODES = NodeMap(0, [0, 1])  # of one rank each


@pytest.fixture
def scratch_arrays_by_themselves():
    """Not here: what is compiled does not depend on where arrays lie."""


class _Recorder:
    """Takes down what it is asked to compile."""

    forms = frozenset()

    def compile(self, name, source, constants):
        self.forms |= {(name, tuple(constants.items()))}
        return super().compile(name, source, constants)


class Recorder(_Recorder, ExecutorDevice):
    """Runs all that it compiles."""


class IdleRecorder(_Recorder, IdleDevice):
    """Runs nothing: whatever is read back is 0."""


def even(batch):
    """As many samples of a batch as two ranks can divide."""
    samples = len(batch) - len(batch) % 2
    return replace(batch.share(0, samples), global_samples=samples)


def forms_of(name, rule, weighted, precision, accumulate, atomic=False):
    """{(file, constants)} of training and evaluation with every exchange and routing."""
    device, group = Recorder(mode="fast"), Group.mirrored(TWO_NODES)
    backend = CudaBackend(device, atomic)
    group.take_arrays_of(backend)
    for exchange, routing in product(EXCHANGES, ROUTINGS):
        rule_of, types = RULES[rule], {"precision": precision, "accumulate": accumulate}
        config = small_config(name, rule=rule_of, exchange=exchange, routing=routing, **types)
        model = build_model(config, backend, group, N_FIELDS, 2)
        for batch in map(even, awkward_batches(1, 2, weighted)):
            step(model, reads(model, batch))
            score(model, reads(model, batch))
        model.table.load(model.table.export())
    group.free()
    return device.forms


def forms_of_deep_model(config, batches, n_fields):
    """{(file, constants)} of training and evaluation."""
    device, group = IdleRecorder(), Group.mirrored(TWO_NODES)
    backend = CudaBackend(device)
    group.take_arrays_of(backend)
    model = build_model(config, backend, group, n_fields, batches[0].dense.shape[1])
    for batch in map(even, batches):
        step(model, reads(model, batch))
        score(model, reads(model, batch))
    backend.close()
    group.free()
    return device.forms


@cache
def checked(file, constants):
    """What the gates say of one form."""
    constants = dict(constants)
    if constants in VARIANTS[file]:
        return []  # test_compile_gates has it
    listed = file in {file for file, _ in PROMISING}
    return refusals(file, constants, CAPABILITY, kernels_in(cubin_of(file, text_of(file), constants, CAPABILITY), listed))


@pytest.mark.parametrize("name", ["lr", "fm"])
@pytest.mark.parametrize("precision, accumulate, rule, weighted", RUNS)
def test_what_a_run_asks_for_compiles(name, rule, weighted, precision, accumulate):
    forms = forms_of(name, rule, weighted, precision, accumulate, atomic=rule == "sgd")
    assert len(forms) >= 10
    wrong = [sentence for form in sorted(forms) for sentence in checked(*form)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.thorough(50)
@pytest.mark.parametrize("accumulate", ["", "int64"])
@pytest.mark.parametrize("kind", MODELS)
def test_what_deep_models_of_usual_sizes_ask_for_is_among_the_variants(kind, accumulate):
    samples, fields, rng = 4, 26, np.random.default_rng(3)
    batch = plain_batch(
        0, np.full(samples, fields), rng.integers(1, 2**63, samples * fields).astype(np.uint64), np.tile(np.arange(fields), samples),
        None, rng.standard_normal((samples, 13)), np.arange(samples) % 2 == 0,
    )  # fmt: skip
    config = deep_config(kind, "float32", {}, {"dim": 16}, accumulate=accumulate, exchange="allreduce", routing="broadcast")
    forms = forms_of_deep_model(config, [batch], fields)
    assert len(forms) >= 10
    assert not [form for form in sorted(forms) if dict(form[1]) not in VARIANTS[form[0]]]


@pytest.mark.parametrize("kind, run", list(zip(MODELS, cycle(RUNS))), ids=list(MODELS))
def test_what_a_deep_model_asks_for_compiles(kind, run):
    """Each model with one of the runs."""
    precision, accumulate, rule, weighted = run
    turn, forms = RUNS.index(run) % 3, set()
    layers = {"normalisation": NORMALISATIONS[turn], "activation": ACTIVATIONS[turn], "dropout": 0.3, "dim": 16}
    for exchange in EXCHANGES[: 1 if accumulate == "int64" else None]:
        config = deep_config(kind, precision, RULES[rule], layers, accumulate=accumulate, exchange=exchange, routing="broadcast")
        forms |= forms_of_deep_model(config, awkward_batches(1, 2, weighted), N_FIELDS)
    wrong = [sentence for form in sorted(forms) for sentence in checked(*form)]
    assert not wrong, "\n".join(wrong)
