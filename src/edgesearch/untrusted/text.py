"""Text, JSON and YAML that others made, as plain values: nothing in them is resolved, made or followed."""

import json
from pathlib import Path
from typing import Any

import yaml

from edgesearch.untrusted.files import DamagedError, opened

_TEXT = 16 << 20  # bytes of a text file
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_YAML, _EVENTS, _DEEPEST = 1 << 20, 200_000, 20  # bytes, events and levels of a YAML file


def read_text(path: Path, most: int = _TEXT) -> str:
    """Return the text of a UTF-8 file of at most `most` bytes.

    Raises:
        DamagedError: it is longer, no text, or no regular file.
        OSError: it cannot be read.
    """
    with opened(path, most) as file:
        try:
            return file.read(most + 1).decode()
        except UnicodeDecodeError as error:
            raise DamagedError(f"it is no UTF-8 text (byte {error.start})") from error


def read_json(path: Path, most: int = _TEXT) -> Any:
    """Return what a JSON file holds.

    Raises:
        DamagedError: as `read_text` does, or for text that is no JSON or nests too deeply.
        OSError: it cannot be read.
    """
    return parse_json(read_text(path, most))


def parse_json(text: str) -> Any:
    """Return what JSON text holds; NaN and infinity, which JSON has not, are refused.

    Raises:
        DamagedError: the text is no JSON or nests too deeply.
    """
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError as error:
        raise DamagedError("it nests too deeply") from error
    except ValueError as error:
        raise DamagedError(f"it is no JSON ({error})") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def read_yaml(path: Path) -> Any:
    """Return the mappings, lists, texts and numbers of a YAML file. Interpolations stay texts; nothing else is made.

    Raises:
        DamagedError: more than a megabyte, no UTF-8, no YAML, aliases, or nesting beyond twenty levels.
        OSError: it cannot be read.
    """
    text = read_text(path, _YAML)
    try:
        _check_events(text)
        return yaml.load(text, Loader=_LOADER)  # noqa: S506  (a safe one)
    except DamagedError:
        raise
    except (yaml.YAMLError, ValueError) as error:  # (a number or a date that Python does not take)
        raise DamagedError(f"it is no YAML ({' '.join(str(error).split())[:100]})") from error


def _check_events(text: str) -> None:
    """An alias stands for as much as it likes, and what is nested too deeply exhausts the reader."""
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=_LOADER)):
        if isinstance(event, yaml.AliasEvent):
            raise DamagedError("it has an alias")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST or count > _EVENTS:
            raise DamagedError("it has more nesting or entries than belong there")
