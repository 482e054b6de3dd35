"""The run's configuration: documented frozen dataclasses, filled from TOML, errors that name the nearest option."""

from deshpc.config.load import configured, flat, load, override, resolved
from deshpc.config.schema import (
    CheckpointConfig,
    ComputeConfig,
    Config,
    DataConfig,
    FieldConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    SyntheticConfig,
    TrainConfig,
)

__all__ = [
    "CheckpointConfig",
    "ComputeConfig",
    "Config",
    "DataConfig",
    "FieldConfig",
    "ModelConfig",
    "OptimizerConfig",
    "RunConfig",
    "SyntheticConfig",
    "TrainConfig",
    "configured",
    "flat",
    "load",
    "override",
    "resolved",
]
