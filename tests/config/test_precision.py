"""Constants that reach arithmetic survive the conversion to its type, or are refused by name: NumPy's conversion says which."""

import dataclasses
import itertools

import numpy as np
import pytest

from deshpc.config.load import build
from deshpc.config.schema import ModelConfig, OptimizerConfig
from deshpc.errors import ConfigError

TYPES = {  # train.precision, train.accumulate: type of weights, of arithmetic
    ("float32", ""): ("float32", "float32"), ("float64", ""): ("float64", "float64"), ("float32", "float64"): ("float32", "float64"),
    ("float32", "int64"): ("float32", "float64"), ("bfloat16", ""): ("float32", "float32"), ("bfloat16", "int64"): ("float32", "float64"),
}  # fmt: skip
OPTIONS = [
    (section, field)
    for section, kind in (("optimizer", OptimizerConfig), ("model", ModelConfig))
    for field in dataclasses.fields(kind)
    if field.metadata["arithmetic"]
]
VALUES = (5e-324, 1e-300, 1e-60, 1e-39, 1.17e-38, 1.18e-38, 1e-8, 0.5, 1 - 1e-9, 3e38, 3.5e38, 1e300, 1.7e308)


def config(section, name, value, types=("float32", ""), **optimizer):
    rule = {"l1": "ftrl", "beta": "ftrl"}.get(name, "sgd")
    tree = {"data": {"format": "synthetic"}, "train": dict(zip(("precision", "accumulate"), types, strict=True))}
    tree["optimizer"] = {"name": rule, "learning_rate": 1.0, **optimizer}
    if rule == "ftrl":
        tree["model"] = {"init_std": 0.0}  # its state starts at a multiple of the first weight
    tree.setdefault(section, {})[name] = value
    return build(tree)


def test_the_options_are_there():
    names = {field.name for _, field in OPTIONS}
    assert {"learning_rate", "dense_learning_rate", "epsilon", "l1", "l2", "clip_norm", "initial_accumulator", "init_std", "beta2"} <= names
    floats = {field.name for kind in (OptimizerConfig, ModelConfig) for field in dataclasses.fields(kind) if field.type in (float, "float")}
    assert floats - names == {"final_rate_fraction", "dropout"}  # which have checks of their own


@pytest.mark.parametrize(("section", "field"), OPTIONS, ids=[field.name for _, field in OPTIONS])
def test_a_constant_survives_or_is_refused(section, field):
    refused = 0
    for types, value in itertools.product(TYPES, VALUES):
        weights, compute = TYPES[types]
        kind = {"weights": weights, "compute": compute, "start": "float32"}[field.metadata["arithmetic"]]
        below, of_weight = field.metadata["below"], value * 3**0.5 if field.name == "init_std" else value
        if below is not None and value >= below:
            continue
        with np.errstate(over="ignore", under="ignore"):
            number, largest = np.dtype(kind).type(value), np.dtype(kind).type(of_weight)
        survives = np.isfinite(largest) and number >= np.finfo(kind).smallest_normal and (below is None or number < below)
        try:
            found = getattr(getattr(config(section, field.name, value, types), section), field.name)
        except ConfigError as error:
            assert not survives, (types, value, error)
            named = "bfloat16" if field.metadata["arithmetic"] == "start" and types[0] == "bfloat16" else kind
            assert f"{section}.{field.name} = {value!r}" in str(error) and named in str(error)
            refused += 1
        else:
            assert survives and found == value, (types, value)
    assert refused
    if field.metadata["minimum"] == 0.0 and field.name != "beta":
        assert config(section, field.name, 0.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epsilon": 1e-60}, "optimizer.epsilon = 1e-60 is too small for float32: at least 1.18e-38"),
        ({"learning_rate": 1e300}, "optimizer.learning_rate = 1e+300 is too large for float32: at most 3.40e+38"),
        ({"beta2": 0.99999999}, "optimizer.beta2 = 0.99999999 is not below 1.0 in float32, which rounds it up: at most 0.9999999"),
        ({"decay": "linear", "final_rate_fraction": 1e-60}, "optimizer.final_rate_fraction = 1e-60: the last learning_rate is too small"),
        ({"decay": "linear", "final_rate_fraction": 0.01, "dense_learning_rate": 1e-37}, "the last dense_learning_rate is too small"),
        ({"decay": "linear", "final_rate_fraction": 5e-324, "learning_rate": 0.1}, "the last learning_rate is 0; give 0"),
        ({"name": "ftrl", "learning_rate": 1e-38, "beta": 10.0}, "optimizer.learning_rate = 1e-38"),
        ({"name": "ftrl", "learning_rate": 2e-38, "beta": 10.0}, "(beta + sqrt(initial_accumulator)) / learning_rate is too large for float32"),
        ({"name": "ftrl", "dense_learning_rate": 2e-38, "beta": 10.0}, "optimizer.dense_learning_rate = 2e-38"),
    ],
)
def test_the_message_names_option_value_type_and_limit(options, words):
    with pytest.raises(ConfigError) as caught:
        build({"data": {"format": "synthetic"}, "optimizer": options})
    assert words in str(caught.value)


def test_a_chance_of_dropout_below_its_resolution():
    with pytest.raises(ConfigError, match=r"model.dropout = 1e-06 is too small: chances are multiples of 1 / 65536"):
        build({"data": {"format": "synthetic"}, "model": {"dropout": 1e-6}})
    for chance in (0.0, 1e-5, 0.999999):
        assert build({"data": {"format": "synthetic"}, "model": {"dropout": chance}}).model.dropout == chance
