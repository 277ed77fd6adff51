"""From JSON to the dataclasses of a program: their annotations say what is accepted."""

import math
import types
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from edgesearch.errors import ModelFileError
from edgesearch.numerics.format import Format

_LARGEST = 2**62  # integers in a program's text


def decode(kind: Any, found: Any, where: str) -> Any:
    """Return `found`, as JSON gives it, as a value of type `kind`.

    Takes int, float, str, bool, tuples, dictionaries by name, formats as text, dataclasses of those, and unions of one
    with None or of dataclasses.

    Raises:
        ModelFileError: it is of another type; the message says what and, by `where`, where.
    """
    if is_dataclass(kind) and isinstance(kind, type):
        return Format.parse(_text(found, where)) if issubclass(kind, Format) else _object(kind, found, where)
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _one_of(inner, found, where)
    if origin is tuple:
        return _sequence(inner, found, where)
    if origin is dict:
        if not isinstance(found, dict):
            raise _other("a mapping", found, where)
        return {name: decode(inner[1], value, f"{where} {name[:40]}") for name, value in found.items()}
    return {int: _whole, float: _real, str: _text, bool: _truth}[kind](found, where)


def _one_of(kinds: tuple[Any, ...], found: Any, where: str) -> Any:
    """Of a type or None; of several dataclasses the one that the key `operation` names."""
    if type(None) in kinds:
        return None if found is None else decode(next(t for t in kinds if t is not type(None)), found, where)
    by_name = {kind.__name__: kind for kind in kinds}
    name = found.get("operation") if isinstance(found, dict) else None
    if not isinstance(name, str) or name not in by_name:
        raise _other(f"one of {', '.join(by_name)}", name, f"{where} operation")
    return decode(by_name[name], {key: value for key, value in found.items() if key != "operation"}, where)


def _object(kind: type, found: Any, where: str) -> Any:
    hints = _hints(kind)
    if not isinstance(found, dict) or not found.keys() <= hints.keys():
        raise _other(f"a mapping of {', '.join(hints)}", found, where)
    required = {item.name for item in fields(kind) if item.default is MISSING and item.default_factory is MISSING}
    if not required <= found.keys():
        raise _other(f"a mapping with {', '.join(sorted(required - found.keys()))}", found, where)
    return kind(**{name: decode(hints[name], value, f"{where} {name}") for name, value in found.items()})


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _sequence(inner: tuple[Any, ...], found: Any, where: str) -> tuple[Any, ...]:
    kinds = [inner[0]] * len(found) if isinstance(found, list) and inner[-1] is Ellipsis else list(inner)
    if not isinstance(found, list) or len(found) != len(kinds):
        raise _other("a list" if inner[-1] is Ellipsis else f"a list of {len(inner)}", found, where)
    return tuple(decode(kind, value, where) for kind, value in zip(kinds, found, strict=True))


def _whole(found: Any, where: str) -> int:
    if not isinstance(found, int) or isinstance(found, bool) or abs(found) >= _LARGEST:
        raise _other("a whole number", found, where)
    return found


def _real(found: Any, where: str) -> float:
    if not isinstance(found, int | float) or isinstance(found, bool) or not abs(found) < _LARGEST:
        raise _other("a finite number", found, where)
    assert math.isfinite(found)
    return float(found)


def _truth(found: Any, where: str) -> bool:
    if not isinstance(found, bool):
        raise _other("true or false", found, where)
    return found


def _text(found: Any, where: str) -> str:
    if not isinstance(found, str):
        raise _other("text", found, where)
    return found


def _other(wanted: str, found: Any, where: str) -> ModelFileError:
    return ModelFileError(f"{where} must be {wanted}, got {repr(found)[:60]}")
