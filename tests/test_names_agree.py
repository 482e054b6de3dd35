"""What a configuration may choose from has the same names wherever they are listed, in the package, its documents and the tests' own
lists: none is missing, and nothing is there that nobody can choose.  Contracts of stations: `test_contracts.py`.
"""

import inspect
import re
from pathlib import Path
from types import SimpleNamespace

import deep_training
import every_kind
import plain_model
import pytest
import small_training
import task_training

import deshpc
from deshpc.backend import rules
from deshpc.backend.cpu import loss
from deshpc.backend.cpu.rules import _FORMULAS
from deshpc.backend.cuda import elementwise
from deshpc.backend.cuda.loss import _BODIES
from deshpc.backend.links import LINKS
from deshpc.backend.losses import LOSSES
from deshpc.checkpoint.manifest_form import STATE
from deshpc.config.load import build
from deshpc.config.schema import (
    METRICS_OF_LOSS,
    DataConfig,
    FieldConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
    choices,
)
from deshpc.errors import ConfigError
from deshpc.exchange.kinds import EXCHANGES
from deshpc.formats import arrow, cells
from deshpc.formats.label_kinds import LABELS
from deshpc.formats.open import _READERS
from deshpc.formats.schema import Schema
from deshpc.hashing import partition
from deshpc.model.build import open_partition
from deshpc.model.combinations import require_valid
from deshpc.model.definitions import DEFINITIONS, definition_class
from deshpc.plan.cost import _EXCHANGES
from deshpc.serve.encoder import Encoder
from deshpc.serve.forward import FORWARDS
from deshpc.serve.onnx_graph import GRAPHS
from deshpc.serve.onnx_graph.graph import _PREDICTIONS
from deshpc.table.optimizer import _SUMMED, open_optimizer
from deshpc.training.advice import _WORDS
from deshpc.training.early_stopping import _NAME, _SIGN
from deshpc.training.evaluation import _OF_LOSS

DOCS, KERNELS = Path(__file__).parents[1] / "docs", Path(deshpc.__file__).parent / "_kernels"

OFFERED = {
    "data.fields.kind": {*choices(FieldConfig, "kind")},
    "data.format": {*choices(DataConfig, "format")},
    "model.name": {*choices(ModelConfig, "name")},
    "optimizer.name": {*choices(OptimizerConfig, "name")},
    "train.exchange": {*choices(TrainConfig, "exchange")} - {"auto"},
    "train.loss": {*choices(TrainConfig, "loss")},
    "train.split": {*choices(TrainConfig, "split")} - {"auto"},
    "train.stop_metric": {*choices(TrainConfig, "stop_metric")} - {"none"},
}


def column(page, header):
    """Names in the first column of the table of docs/ whose first line begins so."""
    _, found, rest = (DOCS / page).read_text(encoding="utf-8").partition(f"\n{header}")
    assert found, f"{page} has no table {header}"
    lines = rest.partition("\n\n")[0].splitlines()[2:]
    return re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in lines))


def classes(module):
    """Classes that a module defines."""
    return {one for one in vars(module).values() if inspect.isclass(one) and one.__module__ == module.__name__}


def option(rule):
    """RowwiseAdagrad: rowwise_adagrad."""
    return re.sub(r"\B([A-Z])", r"_\1", rule).lower()


def refused_on_a_device(rule):
    """Whether a rule is refused on a device, by its name."""
    config = build({"data": {"format": "synthetic"}, "optimizer": {"name": rule}})
    try:
        require_valid(config, SimpleNamespace(name="cuda"))
    except ConfigError as error:
        return f"optimizer.name = {rule!r}" in str(error)
    return False


LISTS = {
    "data.fields.kind": {
        "docs/data.md, keys": [*column("data.md", "| kind | keys of a cell "), "dense"],
        "docs/data.md, Parquet": column("data.md", "| kind | type of the column "),
        "docs/serving.md": column("serving.md", "| kind | value "),
        "every_kind.py": [field.get("kind", "categorical") for field in every_kind.FIELDS],
    },
    "data.format": {
        "formats/open.py": [*_READERS, "cache", "synthetic"],
        "docs/data.md": [*column("data.md", "| `format` |"), "cache", "synthetic"],
    },
    "model.name": {
        "model/definitions": [*DEFINITIONS, "lr"],
        "serve/forward": FORWARDS,
        "serve/onnx_graph": GRAPHS,
        "docs/models.md": column("models.md", "| name |"),
        "docs/serving.md": column("serving.md", "| model | inputs "),
        "deep_training.py, task_training.py, plain_ffm.py": [
            *(model["name"] for model in (deep_training.MODELS | deep_training.ATTENTION).values()), *task_training.MODELS, "lr", "fm", "ffm"
        ],
    },
    "optimizer.name": {
        "backend/rules.py": [option(one.__name__) for one in classes(rules) - {rules.StateStart}],
        "backend/cpu/rules.py": [option(one.__name__) for one in _FORMULAS],
        "backend/cuda": [*map(option, elementwise.RULES), *filter(refused_on_a_device, OFFERED["optimizer.name"])],
        "checkpoint/manifest_form.py": STATE,
        "docs/optimizers.md": column("optimizers.md", "| name |"),
        "small_training.py": [rule["name"] for rule in small_training.RULES.values()],
    },
    "train.exchange": {
        "exchange/kinds.py": EXCHANGES,
        "plan/cost.py": _EXCHANGES,
        "docs/method.md": column("method.md", "| exchange | forward"),
        "docs/method.md, bytes": column("method.md", "| exchange | kind "),
    },
    "train.loss": {
        "backend/losses.py": LOSSES,
        "backend/links.py": LINKS,
        "backend/cpu/loss.py": [name for name, one in LOSSES.items() if one in loss._FORMULAS and one in loss._LOSSES],
        "backend/cuda/loss.py": [name for name, one in LOSSES.items() if one in _BODIES],
        "config/schema.py": METRICS_OF_LOSS,
        "formats/label_kinds.py": LABELS,
        "training/evaluation.py": _OF_LOSS,
        "training/advice.py": _WORDS,
        "serve/onnx_graph": _PREDICTIONS,
        "docs/losses.md": column("losses.md", "| `train.loss` | labels y "),
        "docs/losses.md, metrics": column("losses.md", "| `train.loss` | metrics "),
        "plain_model.py": plain_model.LOSSES,
    },
    "train.stop_metric": {
        "config/schema.py": [name for names in METRICS_OF_LOSS.values() for name in names],
        "training/early_stopping.py": _SIGN,
        "training/early_stopping.py, names": _NAME,
    },
    "train.split": {
        "hashing/partition.py": [one.split for one in classes(partition)],
        "docs/models.md": column("models.md", "| split |"),
    },
}  # fmt: skip


@pytest.mark.parametrize("name, where", [(name, where) for name, lists in LISTS.items() for where in lists])
def test_a_list_has_what_the_configuration_offers(name, where):
    assert {*LISTS[name][where]} == OFFERED[name]


@pytest.mark.parametrize("section, name", [
    (FieldConfig, "kind"), (DataConfig, "format"), (ModelConfig, "name"), (OptimizerConfig, "name"), (OptimizerConfig, "dense_name"),
    (TrainConfig, "exchange"), (TrainConfig, "split"), (TrainConfig, "loss"),
])  # fmt: skip
def test_an_option_explains_its_choices(section, name):
    text = section.__dataclass_fields__[name].metadata["text"]
    assert [one for one in choices(section, name) if one and not re.search(rf"\b{one}([:,;]| or |$)", text)] == []


@pytest.mark.parametrize("name", sorted(OFFERED["optimizer.name"]))
def test_a_rule_is_the_one_that_is_named(name):
    optimizer = open_optimizer(OptimizerConfig(name=name))
    assert option(type(optimizer.rule(0, float)).__name__) == name
    planes, of_roots = STATE[name]
    assert optimizer.state_start.planes == planes and {*of_roots} <= {*range(planes)}


def test_other_lists_of_rules():
    assert {*choices(OptimizerConfig, "dense_name")} - {""} <= OFFERED["optimizer.name"]
    assert {*_SUMMED} <= OFFERED["optimizer.name"]
    numbers = re.findall(r"^#define ([A-Z_]+) (\d)$", (KERNELS / "rules.cuh").read_text(encoding="utf-8"), re.MULTILINE)
    assert numbers == [(option(rule).upper(), str(number)) for number, rule in enumerate(elementwise.RULES)]


def test_a_split_is_the_one_that_is_named():
    group = SimpleNamespace(rank=0, size=2)
    assert [open_partition(split, group, 1, 3).split for split in OFFERED["train.split"]] == [*OFFERED["train.split"]]
    assert {split for name in DEFINITIONS for split in definition_class(name).pushed_down} <= OFFERED["train.split"]


@pytest.mark.parametrize("module, parser_of, suffix", [(cells, cells.parser_of, "Parser"), (arrow, arrow.array_parser_of, "Arrays")])
def test_every_parser_is_that_of_a_kind(module, parser_of, suffix):
    fields = [FieldConfig("a", kind, weight_separator=weight) for kind in OFFERED["data.fields.kind"] for weight in ("", ":")]
    found = {type(parser_of(field, field.name, 0)).__name__ for field in fields} | {f"Label{suffix}"}
    assert found | {f"SampleWeight{suffix}"} == {one.__name__ for one in classes(module) if one.__name__.endswith(suffix)}


@pytest.mark.parametrize("call", [
    lambda: open_partition("other", SimpleNamespace(rank=0, size=2), 1, 3),
    lambda: open_optimizer(OptimizerConfig(name="other")).rule(0, float),
    lambda: open_optimizer(OptimizerConfig(name="other")).state_start,
    lambda: cells.parser_of(FieldConfig("a", "other"), "a", 0),
    lambda: arrow.array_parser_of(FieldConfig("a", "other"), "a", 0),
    lambda: Encoder(Schema.of_fields([FieldConfig("a", "other")], None), None).encode(1, [["1"]]),
])  # fmt: skip
def test_another_name_is_an_error(call):
    with pytest.raises((KeyError, ValueError), match="other"):
        call()
