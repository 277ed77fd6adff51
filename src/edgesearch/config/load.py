"""From an untyped OmegaConf tree (or a run's config.yaml) to a checked `Config`."""

import copy
import difflib
import functools
from collections.abc import Iterator
from dataclasses import Field, fields, is_dataclass
from pathlib import Path
from typing import Any, cast, get_args, get_origin

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from edgesearch.config.checks import check
from edgesearch.config.rules import FIRST, Rule
from edgesearch.config.schema import Config
from edgesearch.errors import ConfigError, ModelFileError
from edgesearch.untrusted.files import DamagedError
from edgesearch.untrusted.text import read_yaml

_STORED = 32 << 10  # bytes of a run's config.yaml
_KEPT_SHARES = {"sW": "schedule.wSparsity", "sU": "schedule.uSparsity"}
_OTHER_NAMES = {
    "learning_rate": "train.lr", "hidden": "cell.hidden_size", "hidden_dim": "cell.hidden_size",
    "units": "cell.hidden_size", "hd": "cell.hidden_size", "layers": "cell.num_layers", "bits": "quant.weight_bits",
    "flash": "budget.flash_bytes", "ram": "budget.ram_bytes", "trials": "search.n_trials",
}  # fmt: skip


def typed_config(tree: DictConfig) -> Config:
    """Merge `tree` into the schema, resolve it and check every rule.

    A tree that was written before a key existed gets the value that stands for the time before it.

    Raises:
        ConfigError: an unknown key, a wrong type, a missing value, a value out of range or a contradictory pair.
    """
    tree = copy.deepcopy(tree)
    OmegaConf.set_struct(tree, False)
    try:
        _fill(tree, Config)
        merged = OmegaConf.merge(OmegaConf.structured(Config), tree)
        config = cast(Config, OmegaConf.to_object(merged))
    except ConfigKeyError as error:
        raise ConfigError(unknown_key(str(error.full_key))) from error
    except MissingMandatoryValue as error:
        raise ConfigError(f"{error.full_key} must be given, got nothing; set {error.full_key}=VALUE") from error
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{error.full_key} has the wrong type: {reason}; see conf/ for its default") from error
    check(config)
    return config


def load_config(path: Path) -> Config:
    """Read the config.yaml of a run folder, which may be anyone's: nothing in it is resolved.

    Raises:
        ModelFileError: the file is missing, is not YAML, holds an interpolation or breaks a rule.
    """
    try:
        tree = read_yaml(path, _STORED)
    except FileNotFoundError as error:
        raise ModelFileError(f"a run folder holds config.yaml, got none at {path}; give the folder of a run") from error
    except (DamagedError, OSError) as error:
        raise ModelFileError(f"{path} is not readable YAML: {error}; train the run again") from error
    if not isinstance(tree, dict):
        raise ModelFileError(f"{path} must hold a mapping; train the run again")
    asked = next((text for text in _texts(tree) if "${" in text), None)
    if asked is not None:
        raise ModelFileError(f"{path} must hold values, got {asked[:80]!r}, which asks for others; train the run again")
    try:
        return typed_config(OmegaConf.create(tree))
    except (ConfigError, OmegaConfBaseException) as error:
        reason = " ".join(str(error).split())
        raise ModelFileError(f"{path} is not a config of this version ({reason}); train the run again") from error


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict | list):
        for part in (*node, *node.values()) if isinstance(node, dict) else node:
            yield from _texts(part)


def _fill(tree: DictConfig, schema: type) -> None:
    """Give the keys that came after the file was written the values that stand for the time before them."""
    for item in fields(schema):
        inner, node = _group(item), tree._get_node(item.name)  # (which resolves nothing)
        if inner is None:
            if item.metadata["since"] != FIRST and node is None:
                tree[item.name] = copy.deepcopy(item.metadata["before"])
        elif isinstance(node, DictConfig) and not node._is_none() and not node._is_interpolation():
            _fill(node, inner)


def _group(item: Field[Any]) -> type | None:
    """The dataclass of a key that holds keys of its own."""
    return next((t for t in (item.type, *get_args(item.type)) if isinstance(t, type) and is_dataclass(t)), None)


def unknown_key(full_key: str, value: str | None = None) -> str:
    """Return the message for an unknown dotted key, with the nearest known one; `value` is what it was set to."""
    if full_key.startswith("search.space."):
        return f"{full_key} is not in the space of this search; add it with a plus sign: +{full_key}=..."
    known = list(key_types())
    mapping = next((path for path in _mappings() if full_key == path or full_key.startswith(f"{path}.")), None)
    if mapping is not None:
        name = full_key.removeprefix(mapping).lstrip(".") or "NAME"
        return f"{mapping} is empty until it is added to; write +{mapping}.{name}={value or 'VALUE'}"
    if full_key in known:
        parent = full_key.rpartition(".")[0]
        return f"{full_key} can be set only where {parent} is not null; choose an option of its group that has {parent}"
    return f"{full_key} is not a key of the configuration; {_meant(full_key, known, value)}"


def _meant(full_key: str, known: list[str], value: str | None) -> str:
    last = full_key.rsplit(".", 1)[-1]
    if last in _KEPT_SHARES:
        key = _KEPT_SHARES[last]
        try:
            remedy = f"set {key}={round(1 - float(value or ''), 12):g}"
        except ValueError:
            remedy = f"set {key} to 1 - {last}"
        return f"EdgeML's {last} is the share of weights that stay, {key} that of zeros: {remedy}"
    if last.lower() in _OTHER_NAMES:
        return f"did you mean {_OTHER_NAMES[last.lower()]}?"
    lower = {path.lower(): path for path in known if ("." in path) == ("." in full_key)}
    near = [path for path in known if path.lower() == full_key.lower()]
    near = near or [lower[path] for path in difflib.get_close_matches(full_key.lower(), lower, n=1, cutoff=0.7)]
    near = near or [path for path in known if path.rsplit(".", 1)[-1].lower() == last.lower()][:1]
    return f"did you mean {near[0]}?" if near else "see `python -m edgesearch --help` for the keys"


def _mappings() -> list[str]:
    """The keys under which names are the user's own."""
    return [path for path, kind in key_types().items() if any(get_origin(t) is dict for t in (kind, *get_args(kind)))]


@functools.cache
def key_types() -> dict[str, Any]:
    """Return the declared type of every dotted key; that of a group is its dataclass."""

    def walk(node: type, prefix: str) -> dict[str, Any]:
        found = {}
        for item in fields(node):
            inner = _group(item)
            found[f"{prefix}{item.name}"] = inner or item.type
            found |= walk(inner, f"{prefix}{item.name}.") if inner else {}
        return found

    return walk(Config, "")


@functools.cache
def key_rules() -> dict[str, Rule]:
    """Return the rule of every dotted key that is no group."""

    def walk(node: type, prefix: str) -> dict[str, Rule]:
        found: dict[str, Rule] = {}
        for item in fields(node):
            inner = key_types()[f"{prefix}{item.name}"]
            if isinstance(inner, type) and is_dataclass(inner):
                found |= walk(inner, f"{prefix}{item.name}.")
            else:
                found[f"{prefix}{item.name}"] = item.metadata["rule"]
        return found

    return walk(Config, "")
