"""Layer 0: the typed configuration. A composed Hydra config goes in, a checked `Config` comes out."""

from edgesearch.config.identity import config_hash, identity
from edgesearch.config.load import load_config, typed_config
from edgesearch.config.schema import (
    BudgetConfig,
    CellConfig,
    Config,
    DataConfig,
    FeatureConfig,
    FinetuneConfig,
    LoggerConfig,
    QuantConfig,
    ScheduleConfig,
    SearchConfig,
    TaskConfig,
    TrainConfig,
)

__all__ = [
    "BudgetConfig",
    "CellConfig",
    "Config",
    "DataConfig",
    "FeatureConfig",
    "FinetuneConfig",
    "LoggerConfig",
    "QuantConfig",
    "ScheduleConfig",
    "SearchConfig",
    "TaskConfig",
    "TrainConfig",
    "config_hash",
    "identity",
    "load_config",
    "typed_config",
]
