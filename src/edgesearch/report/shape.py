"""What JSON from a stranger must look like, said once as data.

A shape is a `Kind` of single values; `[shape]`, a list of it; `{"*": shape}`, a mapping to it; `{"key": shape}`, a
mapping that has the key, or may have it where its name ends in a question mark; `(shape, None)`, it or null.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_SHOWN = 40  # characters of a value


@dataclass(frozen=True)
class Kind:
    """Single values: what they are called, and which ones they are."""

    words: str
    accepts: Callable[[Any], bool]


Shape = Any
TEXT = Kind("text", lambda v: isinstance(v, str))
NUMBER = Kind("a finite number", lambda v: type(v) in (int, float) and -1e300 < v < 1e300)
SHARE = Kind("a number from 0 to 1", lambda v: type(v) in (int, float) and 0 <= v <= 1)
WHOLE = Kind("a whole number of at least 0", lambda v: type(v) is int and 0 <= v < 2**53)
COUNT = Kind("a whole number of at least 1", lambda v: type(v) is int and 1 <= v < 2**53)
YES_OR_NO = Kind("true or false", lambda v: type(v) is bool)
PLAIN = Kind("text, a number, true, false or null", lambda v: v is None or isinstance(v, str | int | float))


def one_of(*options: str) -> Kind:
    """Return the kind of these texts."""
    return Kind(f"one of {', '.join(options)}", lambda v: v in options)


def fault(value: Any, shape: Shape, name: str = "") -> str | None:
    """Return where a value is not of its shape and why, for the first such place, or None."""
    if isinstance(shape, tuple):
        return None if value is None else fault(value, shape[0], name)
    if isinstance(shape, Kind):
        return None if shape.accepts(value) else _must(name, shape.words, value)
    if isinstance(shape, list):
        if not isinstance(value, list | tuple):
            return _must(name, "a list", value)
        return next((f for k, item in enumerate(value) if (f := fault(item, shape[0], f"{name}[{k}]"))), None)
    if not isinstance(value, dict):
        return _must(name, "a mapping", value)
    return _fault_of_mapping(value, shape, f"{name}." if name else "")


def _fault_of_mapping(value: dict[str, Any], shape: dict[str, Shape], prefix: str) -> str | None:
    for key, inner in shape.items():
        named = key.removesuffix("?")
        if key == "*":
            parts = list(value.items())
        elif named in value:
            parts = [(named, value[named])]
        elif key.endswith("?"):
            parts = []
        else:
            return f"{prefix}{named} is missing"
        found = next((f for part, item in parts if (f := fault(item, inner, f"{prefix}{part}"))), None)
        if found:
            return found
    return None


def _must(name: str, words: str, value: Any) -> str:
    got = value if isinstance(value, str | int | float | bool) or value is None else type(value).__name__
    text = repr(got)[: _SHOWN + 1]
    return f"{name or 'it'} must be {words}, got {text if len(text) <= _SHOWN else text[:_SHOWN] + '...'}"
