"""Which operations each backend has, by the Protocols of `backend.operations`, under the same names of arguments; and which are missing."""

import inspect

import pytest

from deshpc.backend.cpu.backend import CpuBackend
from deshpc.backend.cuda.admission import Admission
from deshpc.backend.cuda.arrays import ArrayOperations
from deshpc.backend.cuda.attention import AttentionOperations
from deshpc.backend.cuda.bi_interaction import BiInteractionOperations
from deshpc.backend.cuda.cin import CINOperations
from deshpc.backend.cuda.dense import DenseOperations
from deshpc.backend.cuda.ffm import FFMOperations
from deshpc.backend.cuda.field_sums import FieldSumsOperations
from deshpc.backend.cuda.fm import FMOperations
from deshpc.backend.cuda.history import HistoryOperations
from deshpc.backend.cuda.interaction import InteractionOperations
from deshpc.backend.cuda.linear import LinearOperations
from deshpc.backend.cuda.lookup import LookupOperations
from deshpc.backend.cuda.loss import LossOperations
from deshpc.backend.cuda.normalisation import NormalisationOperations
from deshpc.backend.cuda.pool import PoolOperations
from deshpc.backend.cuda.routing import RoutingOperations
from deshpc.backend.cuda.rows import RowsOperations
from deshpc.backend.cuda.seats import SeatOperations
from deshpc.backend.cuda.self_attention import SelfAttentionOperations
from deshpc.backend.cuda.table import TableOperations
from deshpc.backend.cuda.tasks import TaskOperations
from deshpc.backend.cuda.update import UpdateOperations
from deshpc.backend.operations import GROUPS

ON_DEVICE = {
    "loss": LossOperations, "update": UpdateOperations, "table": TableOperations, "lookup": LookupOperations,
    "routing": RoutingOperations, "rows": RowsOperations, "linear": LinearOperations, "fm": FMOperations, "ffm": FFMOperations, "field_sums": FieldSumsOperations,
    "dense": DenseOperations, "interaction": InteractionOperations, "pool": PoolOperations, "bi_interaction": BiInteractionOperations,
    "admission": Admission, "history": HistoryOperations, "cin": CINOperations, "normalisation": NormalisationOperations,
    "arrays": ArrayOperations, "tasks": TaskOperations, "self_attention": SelfAttentionOperations,
    "attention": AttentionOperations, "seats": SeatOperations,
}  # fmt: skip
MISSING_ON_DEVICE = {
    "column split and replicated fields": ("selection",),
    "looks whose numbers come to the host": (
        "history.histories", "history.count_digits", "history.ties", "history.are_zero", "history.free_rows", "admission.forget",
    ),  # fmt: skip
    "rows that repeat, which are multiplied like all others": ("repeated",),
    "short numbers of keys and tables of values, which travel whole": ("key_numbers", "value_tables"),
    "lists of keys that owners read in place: they are sent": ("lists",),
    "products, which are cuBLAS's": ("dense.outer",),
}


def operations(contract):
    return {name: function for name, function in vars(contract).items() if not name.startswith("_") and callable(function)}


def arguments(function):
    """Names of the arguments of a function, a kernel or a method."""
    return [name for name in inspect.signature(getattr(function, "py_func", function)).parameters if name != "self"]


def lacks(contract, group):
    """{operation: what is wrong with it} of a backend's group, None for a missing one."""
    found = {}
    for name, wanted in operations(contract).items():
        if not hasattr(group, name):
            found[name] = None
        elif arguments(getattr(group, name)) != arguments(wanted):
            found[name] = arguments(getattr(group, name))
    return found


@pytest.mark.parametrize("name", GROUPS)
def test_the_cpu_has_every_operation(name):
    assert lacks(GROUPS[name], getattr(CpuBackend, name)) == {}


def test_what_a_device_lacks():
    groups = [name for name in GROUPS if name not in ON_DEVICE]
    single = {name: lacks(GROUPS[name], group) for name, group in ON_DEVICE.items()}
    assert [problem for found in single.values() for problem in found.values() if problem] == []
    missing = [f"{name}.{operation}" for name, found in single.items() for operation in found]
    assert {*groups, *missing} == {one for those in MISSING_ON_DEVICE.values() for one in those}


def test_other_arguments_are_seen():
    class Group:
        def begin_logit(self, bias, logit):
            pass

    assert lacks(GROUPS["loss"], Group)["begin_logit"] == ["bias", "logit"] and lacks(GROUPS["loss"], Group)["slopes"] is None
