"""Whatever a run asks the device to compile, NVRTC compiles, within the gates of every kernel.

Runs of all number types, rules, kinds of values and exchanges are made on the executor, which takes down the forms; those that
`variants.py` does not have are compiled here.
"""

from functools import cache
from itertools import product

import pytest
from compile_gates.gates import refusals
from compile_gates.limits import PROMISING
from compile_gates.machine_code import kernels_in
from compile_gates.nvrtc import cubin_of
from compile_gates.tools import reason_to_skip
from executor.device import ExecutorDevice
from mpi4py import MPI
from small_training import EXCHANGES, ROUTINGS, RULES, score, small_config
from synthetic_batches import N_FIELDS, awkward_batches
from variants import VARIANTS

from deshpc.backend.cuda.backend import CudaBackend
from deshpc.backend.cuda.source import text_of
from deshpc.comm.group import Group
from deshpc.model.build import build_model
from deshpc.training.step import step

pytestmark = pytest.mark.skipif(reason_to_skip() is not None, reason=str(reason_to_skip()))

RUNS = [  # every number type, every rule, every kind of values, each once or more
    ("float32", "", "adagrad, clipped", 1), ("float32", "", "ftrl", 0), ("float32", "", "adam", 2),
    ("float32", "", "rowwise_adagrad", 0), ("float32", "float64", "sgd", 1), ("float32", "int64", "adagrad, clipped", 2),
    ("float64", "", "adam", 0), ("float64", "int64", "ftrl", 1),
]  # fmt: skip
CAPABILITY = 90


class Recorder(ExecutorDevice):
    """Takes down what it is asked to compile."""

    def __init__(self):
        super().__init__(mode="fast")
        self.forms = set()

    def compile(self, name, source, constants):
        self.forms.add((name, tuple(constants.items())))
        return super().compile(name, source, constants)


def forms_of(name, rule, weighted, precision, accumulate, atomic=False):
    """{(file, constants)} of training and evaluation with every exchange and routing."""
    device, group = Recorder(), Group(MPI.COMM_SELF)
    backend = CudaBackend(device, atomic)
    group.take_arrays_of(backend)
    for exchange, routing in product(EXCHANGES, ROUTINGS):
        rule_of, types = RULES[rule], {"precision": precision, "accumulate": accumulate}
        config = small_config(name, rule=rule_of, exchange=exchange, routing=routing, **types)
        model = build_model(config, backend, group, N_FIELDS, 2, ranks=2)
        for batch in awkward_batches(1, 2, weighted):
            step(model, batch)
            score(model, batch)
        model.table.load(model.table.export())
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
