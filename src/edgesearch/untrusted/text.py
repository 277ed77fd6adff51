"""Text, JSON and YAML that others made, as plain values: nothing in them is resolved, made or followed."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from edgesearch.untrusted.files import DamagedError, opened

_TEXT = 16 << 20  # bytes of a text file
_LISTS = 500_000  # an empty one takes thirty times its text in memory
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DIGITS, _NUMBER = 40, re.compile(r"[-+]?[0-9.][0-9a-fA-FxXoO.:_+-]*")
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


def check_aliases(text: str) -> None:
    """See that the aliases of a YAML text stand for no more than its reader can hold; other faults are left to it.

    Raises:
        DamagedError: they stand for more than 200,000 entries.
    """
    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = [(None, 0)]
    for event in yaml.parse(text, Loader=_LOADER):
        anchor = getattr(event, "anchor", None)
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((anchor, 1))
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_nodes.pop()
        else:
            size = sizes.get(str(anchor), 1) if isinstance(event, yaml.AliasEvent) else 1
        if anchor is not None and not isinstance(event, yaml.AliasEvent):
            sizes[anchor] = size
        open_nodes[-1] = open_nodes[-1][0], open_nodes[-1][1] + size
        if open_nodes[-1][1] > _EVENTS:
            raise DamagedError(f"its aliases stand for more than {_EVENTS} entries")


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
        DamagedError: the text is no JSON, nests too deeply or has more than half a million lists and mappings.
    """
    if text.count("[") + text.count("{") > _LISTS:
        raise DamagedError(f"it has more than {_LISTS} lists and mappings")
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError as error:
        raise DamagedError("it nests too deeply") from error
    except ValueError as error:
        raise DamagedError(f"it is no JSON ({error})") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def read_yaml(path: Path, most: int = _YAML) -> Any:
    """Return the mappings, lists, texts and numbers of a YAML file. Interpolations stay texts; nothing else is made.

    Raises:
        DamagedError: more than `most` bytes, no UTF-8, no YAML, tags, aliases, nesting beyond twenty levels, or numbers
            of more than 40 characters.
        OSError: it cannot be read.
    """
    text = read_text(path, most)
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
        if getattr(event, "tag", None) is not None:
            raise DamagedError(f"it has the tag {event.tag[:40]!r}")
        if isinstance(event, yaml.ScalarEvent) and len(event.value) > _DIGITS and _NUMBER.fullmatch(event.value):
            raise DamagedError(f"it has a number of {len(event.value)} characters")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST or count > _EVENTS:
            raise DamagedError("it has more nesting or entries than belong there")
