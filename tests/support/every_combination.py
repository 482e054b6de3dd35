"""All that goes together: models, splits, first layers, exchanges and routings, as `model.combinations` allows them."""

from itertools import product
from types import SimpleNamespace

from deep_training import MODELS
from small_training import DIM, INIT_STD

from deshpc.config.load import build
from deshpc.config.schema import ModelConfig, TrainConfig, choices
from deshpc.errors import ConfigError
from deshpc.exchange.kinds import EXCHANGES
from deshpc.model.combinations import require_valid


def combined(one, rule, normalisation="none", **train):
    """The Config of (kind, split, first layer, exchange, routing);  rule : options of [optimizer];  others are those of [train]."""
    kind, split, first_layer, exchange, routing = one
    return build(
        {
            "data": {"format": "synthetic"},
            "model": {
                "dim": DIM, "init_std": INIT_STD, "normalisation": normalisation, "first_layer": first_layer,
                **MODELS.get(kind, {"name": kind}),
            },
            "optimizer": rule,
            "train": {"precision": "float64", "split": split, "exchange": exchange, "routing": routing, **train},
        }
    )  # fmt: skip


def is_valid(config, ranks=1):
    """Whether the options of a Config go together on so many ranks."""
    try:
        require_valid(config, SimpleNamespace(name="cpu"), ranks)
    except ConfigError:
        return False
    return True


COMBINATIONS = [
    one
    for one in product(
        ("lr", "fm", *MODELS), choices(TrainConfig, "split"), choices(ModelConfig, "first_layer"), EXCHANGES,
        choices(TrainConfig, "routing"),
    )
    if is_valid(combined(one, {"name": "sgd"}))
]  # fmt: skip
