"""Every valid way to split a model over ranks, and to exchange what they have computed: the same model by each of them."""

from dataclasses import replace
from itertools import product
from types import SimpleNamespace
from typing import NamedTuple

from deshpc.config.schema import ModelConfig, TrainConfig, choices
from deshpc.errors import ConfigError
from deshpc.exchange.kinds import EXCHANGES
from deshpc.model.combinations import replicates, require_valid


class Choice(NamedTuple):
    """What a planner chooses: options of [train], and model.first_layer."""

    split: str
    first_layer: str
    exchange: str
    routing: str
    levels: str

    def __str__(self):
        return " ".join(self)


def configured(config, choice, key_numbers):
    """A Config with the options of a Choice.  key_numbers : of `train.key_numbers`, which is not auto"""
    train = replace(
        config.train, split=choice.split, exchange=choice.exchange, routing=choice.routing, levels=choice.levels, key_numbers=key_numbers
    )
    return replace(config, train=train, model=replace(config.model, first_layer=choice.first_layer))


def candidates(config, ranks, nodes, field_names, fixed=None, key_fields=()):
    """[(Choice, Config)] of all that goes with a model, its backend and the number of ranks, in a fixed order.

    nodes : of them; two levels are tried where some have several ranks
    fixed : {option: value} of a Choice that are not to be chosen
    key_fields : FieldConfigs of the fields that become keys, where they are known
    ConfigError where nothing goes, with what the first Choice lacks.
    """
    levels = ("one", "two") if 1 < nodes < ranks else ("one",)
    backend, found = SimpleNamespace(name=_backend(config)), []
    refusals = []
    possible = {
        "split": choices(TrainConfig, "split"), "first_layer": choices(ModelConfig, "first_layer"), "exchange": tuple(EXCHANGES),
        "routing": choices(TrainConfig, "routing"), "levels": levels, **{name: (value,) for name, value in (fixed or {}).items()},
    }  # fmt: skip
    for options in product(*(possible[name] for name in Choice._fields)):
        choice = Choice(*options)
        planned = configured(config, choice, "on" if config.train.key_numbers == "auto" else config.train.key_numbers)
        if not _means_itself(config, choice):
            continue
        try:
            require_valid(planned, backend, ranks, field_names, key_fields)
        except ConfigError as error:
            refusals.append(str(error))
            continue
        found.append((choice, planned))
    if not found:
        given = ", ".join(f"{name} = {value!r}" for name, value in (fixed or {}).items())
        why = f": {refusals[0]}" if refusals else ""
        raise ConfigError(f"no valid way to train model.name = {config.model.name!r} on {ranks} ranks{f' with {given}' if given else ''}{why}")
    return found


def _backend(config):
    """What the ranks compute on, where a device is not asked for by name: processors, which have every combination."""
    return "cuda" if config.compute.backend == "cuda" else "cpu"


def _means_itself(config, choice):
    """Whether no other Choice is the same run: owners compute their part by columns in any case, and lr and fm have no first layer."""
    if choice.first_layer == "pooled":
        return True
    return choice.split != "column" and config.model.name not in ("lr", "fm") and not replicates(config)
