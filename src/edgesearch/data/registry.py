"""`data.name` to a checked, split and normalised `Dataset`."""

import importlib
from collections.abc import Callable
from typing import cast

from edgesearch.config import DataConfig
from edgesearch.data.dataset import Dataset, RawData, check_labels, check_rows, statistics
from edgesearch.data.split import split_validation
from edgesearch.errors import ConfigError

_READERS = {
    "digits": ("digits", "load_digits", (None,)),
    "usps10": ("usps", "load_usps10", ("esl", "libsvm")),
}


def load_dataset(config: DataConfig) -> Dataset:
    """Read, check, split and measure the configured data set.

    Raises:
        ConfigError: an unknown name or variant.
        DataError: a missing, damaged or unusable file.
    """
    raw = _reader(config)(config)
    check_rows(f"data={config.name} training data", raw.train)
    check_rows(f"data={config.name} test data", raw.test)
    check_labels(raw.train, raw.test, raw.class_names)
    if raw.validation is None:
        train, validation = split_validation(raw.train, config.validation, config.split_seed)
    else:
        train, validation = raw.train, raw.validation
    mean, std = statistics(train.x)
    return Dataset(
        name=config.name,
        variant=config.variant,
        train=train,
        validation=validation,
        test=raw.test,
        class_names=raw.class_names,
        mean=mean,
        std=std,
        background=raw.background,
        subset_of=raw.subset_of,
    )


def _reader(config: DataConfig) -> Callable[[DataConfig], RawData]:
    if config.name not in _READERS:
        raise ConfigError(f"data.name must be one of {', '.join(_READERS)}, got {config.name}; set data=digits")
    module, function, variants = _READERS[config.name]
    if config.variant not in variants:
        allowed = ", ".join(str(v or "null") for v in variants)
        raise ConfigError(
            f"data.variant must be one of {allowed} for data={config.name}, got {config.variant}; "
            f"set data.variant={variants[0] or 'null'}"
        )
    reader = getattr(importlib.import_module(f"edgesearch.data.{module}"), function)
    return cast(Callable[[DataConfig], RawData], reader)


def source_digest(config: DataConfig) -> str | None:
    """Return the digest of the user's own files, which the config only points to; None for the named data sets."""
    if config.name != "npy":
        return None
    from edgesearch.data.npy import digest

    return digest(config)
