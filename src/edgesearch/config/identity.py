"""What makes two runs the same run: the resolved config without task, logging and machine keys."""

import dataclasses
import hashlib
import json
from typing import Any

from edgesearch.config.rules import FIRST
from edgesearch.config.schema import Config


def identity(config: Config) -> dict[str, Any]:
    """Return the nested mapping of the keys that decide a run's result.

    A key that a later version brought is left out where it has the value that stands for the time before.
    """

    def kept(node: Any) -> Any:
        if not dataclasses.is_dataclass(node):
            return node
        return {f.name: kept(getattr(node, f.name)) for f in dataclasses.fields(node) if _counts(f, node)}

    return dict(kept(config))


def _counts(item: dataclasses.Field[Any], node: Any) -> bool:
    if item.metadata["machine"]:
        return False
    return bool(item.metadata["since"] == FIRST or getattr(node, item.name) != item.metadata["before"])


def config_hash(config: Config, content: str | None = None) -> str:
    """Return 12 hex digits naming the run; `content` is the digest of user files that the config only points to."""
    text = json.dumps([identity(config), content], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def flat_identity(config: Config) -> dict[str, Any]:
    """Return `identity` by dotted key."""
    return {key: value for key, (value, counts) in _walk(config).items() if counts}


def flat(config: Config) -> dict[str, Any]:
    """Return every key that may decide a run's result, by dotted key, whatever its value."""
    return {key: value for key, (value, _) in _walk(config).items()}


def _walk(node: Any, prefix: str = "") -> dict[str, tuple[Any, bool]]:
    """Value of each key, and whether it is part of the identity."""
    values: dict[str, tuple[Any, bool]] = {}
    for item in dataclasses.fields(node):
        if item.metadata["machine"]:
            continue
        name, value = f"{prefix}{item.name}", getattr(node, item.name)
        values |= _walk(value, f"{name}.") if dataclasses.is_dataclass(value) else {name: (value, _counts(item, node))}
    return values
