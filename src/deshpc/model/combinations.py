"""Which models, exchanges, types and backends go together."""

from deshpc.errors import ConfigError
from deshpc.ops.exchange import EXCHANGES


def exchange_name(config):
    """What `train.exchange` means, where it is auto."""
    if config.train.exchange != "auto":
        return config.train.exchange
    return "allreduce" if config.model.name in ("lr", "fm") or config.train.accumulate == "int64" else "rows"


def exchange_kind(config, ranks):
    """The class of the exchange of a configuration.  One rank has all rows and all samples: nothing to exchange."""
    return EXCHANGES["allreduce" if ranks == 1 else exchange_name(config)]


def require_deep(config, backend):
    """ConfigError, with the reason, where a deep model does not go with an option."""
    name, train = config.model.name, config.train
    if backend.name != "cpu":
        raise ConfigError(f"model.name = {name!r} does not run on compute.backend = {backend.name!r} yet; choose 'cpu'")
    if train.accumulate == "int64" and exchange_name(config) != "allreduce":
        raise ConfigError(
            f"train.accumulate = 'int64' with model.name = {name!r} needs train.exchange = 'allreduce': on a rank's own share of "
            "the samples, matrix products have other shapes on another number of ranks, and round differently"
        )
