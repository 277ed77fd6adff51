"""`data.name` to a checked, split and normalised `Dataset`."""

import importlib
from collections.abc import Callable
from typing import cast

from edgesearch.config import DataConfig
from edgesearch.data.dataset import Dataset, RawData, Split, check_labels, check_rows, statistics
from edgesearch.data.split import split_validation
from edgesearch.errors import ConfigError, DataError

_READERS = {
    "digits": ("digits", "load_digits", (None,)),
    "usps10": ("usps", "load_usps10", ("esl", "libsvm")),
    "har2": ("har", "load_har2", ("full", "9ch_subset", "totalacc")),
    "har6": ("har", "load_har6", ("full", "9ch_subset", "totalacc")),
    "fsdd": ("fsdd", "load_fsdd", (None,)),
    "gsc12_small": ("speech_commands", "load_gsc12_small", (None,)),
    "gsc12": ("speech_commands", "load_gsc12", (None,)),
    "npy": ("npy", "load_npy_data", (None,)),
}
_AUDIO = ("fsdd", "gsc12_small", "gsc12")


def load_dataset(config: DataConfig, *, single: bool = False) -> Dataset:
    """Read, check, split and measure the configured data set; with `single` in 32-bit floats, as version 0.1 did.

    Raises:
        ConfigError: an unknown name or variant.
        DataError: a missing, damaged or unusable file.
    """
    raw = _reader(config)(config)
    if single:
        raw = raw.single()
    _check(config, raw)
    train, validation = _with_validation(config, raw)
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
        front_end=raw.front_end,
    )


def _check(config: DataConfig, raw: RawData) -> None:
    others = {"test": raw.test} | ({} if raw.validation is None else {"validation": raw.validation})
    for name, part in {"training": raw.train, **others}.items():
        check_rows(f"data={config.name} {name} data", part)
        if part.x.shape[1:] != raw.train.x.shape[1:]:
            raise DataError(
                f"training and {name} data must have the same steps and features, got {raw.train.x.shape[1:]} and "
                f"{part.x.shape[1:]}; check the files"
            )
    check_labels(raw.train, others, raw.class_names)
    steps, features = raw.train.x.shape[1:]
    if config.input_size not in (None, features):
        raise ConfigError(
            f"data.input_size must be null or the data's {features} features, got {config.input_size}; "
            "set data.input_size=null"
        )
    for key, shift, extent in (("steps", config.shift_steps, steps), ("features", config.shift_features, features)):
        if config.augment and shift >= extent:
            raise ConfigError(
                f"data.shift_{key} must be less than the data's {extent} {key}, got {shift}; set data.shift_{key}=0"
            )


def _with_validation(config: DataConfig, raw: RawData) -> tuple[Split, Split]:
    if (raw.validation is None) == (config.validation is None):
        found = "brings its own" if raw.validation else "has none of its own"
        remedy = "null" if raw.validation else "0.1"
        raise ConfigError(
            f"data.validation must be null if and only if the data set brings a validation split; data={config.name} "
            f"{found}, got data.validation={config.validation}; set data.validation={remedy}"
        )
    if raw.validation is not None:
        return raw.train, raw.validation
    assert config.validation is not None
    train = raw.train if config.validation_by == "group" else Split(raw.train.x, raw.train.y)
    return split_validation(train, config.validation, config.split_seed)


def _reader(config: DataConfig) -> Callable[[DataConfig], RawData]:
    if config.name not in _READERS:
        raise ConfigError(f"data.name must be one of {', '.join(_READERS)}, got {config.name}; set data=digits")
    module, function, variants = _READERS[config.name]
    if (config.features is not None) != (config.name in _AUDIO):
        found = "null" if config.features is None else "a front end"
        raise ConfigError(
            f"data.features belongs to the audio sets {', '.join(_AUDIO)} and to no other, got {found} with "
            f"data={config.name}; leave it as the group sets it"
        )
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
