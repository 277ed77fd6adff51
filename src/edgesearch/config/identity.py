"""What makes two runs the same run: the resolved config without task, logging and machine keys."""

import dataclasses
import hashlib
import json
from typing import Any

from edgesearch.config.schema import Config


def identity(config: Config) -> dict[str, Any]:
    """Return the nested mapping of the keys that decide a run's result."""

    def kept(node: Any) -> Any:
        if not dataclasses.is_dataclass(node):
            return node
        return {f.name: kept(getattr(node, f.name)) for f in dataclasses.fields(node) if not f.metadata["machine"]}

    return dict(kept(config))


def config_hash(config: Config, content: str | None = None) -> str:
    """Return 12 hex digits naming the run; `content` is the digest of user files that the config only points to."""
    text = json.dumps([identity(config), content], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """Return the same by dotted key."""
    found: dict[str, Any] = {}
    for item in dataclasses.fields(node):
        value = getattr(node, item.name)
        if item.metadata["machine"]:
            continue
        found |= (
            flat(value, f"{prefix}{item.name}.") if dataclasses.is_dataclass(value) else {f"{prefix}{item.name}": value}
        )
    return found
