"""Options that kernels take as numbers of the run's precision: what becomes 0 or infinite there is refused by name.

Numbers below the smallest normal one are refused too: they are rounded coarsely, and their reciprocals are infinite.
"""

import dataclasses
import math
import struct
import sys

from deshpc.errors import ConfigError

_LIMITS = {  # smallest normal number, largest one, and both as text
    "bfloat16": (2.0**-126, (2.0 - 2.0**-7) * 2.0**127, "1.18e-38", "3.38e+38"),
    "float32": (2.0**-126, (2.0 - 2.0**-23) * 2.0**127, "1.18e-38", "3.40e+38"),
    "float64": (sys.float_info.min, sys.float_info.max, "2.23e-308", "1.79e+308"),
}
_DROPOUT_STEP = 2.0**-16  # of the chances that `nn.dropout` knows


def require_representable(config, source):
    """ConfigError unless every option that reaches arithmetic, and what is made of it, is 0 or a normal number of its type."""
    types = number_types(config.train)
    for section in ("model", "optimizer"):
        part = getattr(config, section)
        for field in dataclasses.fields(part):
            if field.metadata["arithmetic"]:
                value, kind = getattr(part, field.name), types[field.metadata["arithmetic"]]
                _require(value, kind, f"{source}: {section}.{field.name} = {value!r} is", field.metadata["below"])
    _require_last_rates(config.optimizer, types, source)
    if config.optimizer.name == "ftrl":
        _require_ftrl(config, types, source)
    std, dropout = config.model.init_std, config.model.dropout
    _require(largest_weight(std), types["start"], f"{source}: model.init_std = {std!r}: the largest first weight is")
    if 0.0 < dropout <= _DROPOUT_STEP / 2:
        raise ConfigError(f"{source}: model.dropout = {dropout!r} is too small: chances are multiples of 1 / 65536; 0: nothing is dropped")


def number_types(train):
    """{what `schema.option` calls arithmetic: number type} by a TrainConfig.

    weights : of linear weights and optimizer state
    compute : of arithmetic
    start : in which first weights are drawn
    """
    rows = row_type(train.precision)
    compute = {"": rows, "int64": "float64"}.get(train.accumulate, train.accumulate)
    return {"weights": rows, "compute": compute, "start": "bfloat16" if train.precision == "bfloat16" else "float32"}


def row_type(precision):
    """The type, by NumPy's name, of rows that are read out, and of all their numbers in memory but embeddings, by `train.precision`."""
    return "float32" if precision == "bfloat16" else precision


def largest_weight(std):
    """The largest of weights that are uniform with this standard deviation."""
    return math.sqrt(3.0) * std


def _require(number, kind, what, below=None):
    """Refuse a number that is neither 0 nor normal in type `kind`, or that is rounded up to what it must be below."""
    low, high, low_text, high_text = _LIMITS[kind]
    if 0.0 < abs(number) < low:
        raise ConfigError(f"{what} too small for {kind}: at least {low_text}, or 0 where that has a meaning")
    if abs(number) > high:
        raise ConfigError(f"{what} too large for {kind}: at most {high_text}")
    if below is not None and kind == "float32" and struct.unpack("f", struct.pack("f", number))[0] >= below:
        raise ConfigError(f"{what} not below {below} in {kind}, which rounds it up: at most {below - 2.0**-24!r}")


def _rates(one):
    """[(name, value)] of the learning rates of rows and dense parameters."""
    rates = [("learning_rate", one.learning_rate)]
    return rates + [("dense_learning_rate", one.dense_learning_rate)] * (one.dense_learning_rate > 0.0)


def _require_last_rates(one, types, source):
    """Refuse a decay to a rate that is nearly, but not, 0."""
    for name, rate in _rates(one):
        _require(
            rate * one.final_rate_fraction, types["compute"],
            f"{source}: optimizer.final_rate_fraction = {one.final_rate_fraction!r}: the last {name} is",
        )  # fmt: skip
        if one.final_rate_fraction and not rate * one.final_rate_fraction:
            raise ConfigError(f"{source}: optimizer.final_rate_fraction = {one.final_rate_fraction!r}: the last {name} is 0; give 0")


def _require_ftrl(config, types, source):
    """Refuse rates by which the state that stands for a first weight is infinite."""
    one, weight = config.optimizer, largest_weight(config.model.init_std)
    for name, rate in _rates(one)[: 1 if one.dense_name else 2]:
        slope = (one.beta + math.sqrt(one.initial_accumulator)) / rate + one.l2
        what = f"{source}: optimizer.{name} = {rate!r}: with ftrl (beta + sqrt(initial_accumulator)) / {name} is"
        _require(slope, types["compute"], what)
        _require(max(slope * weight, 1.0), types["weights"], f"{what}, times the largest first weight,")
