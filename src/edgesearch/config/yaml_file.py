"""A YAML file that somebody else may have written: read as plain values, its size and nesting checked before."""

import stat
from pathlib import Path
from typing import Any

import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BYTES, _EVENTS, _DEEPEST = 1 << 20, 200_000, 20


class YamlError(Exception):
    """The file is no YAML of a size, nesting and content that is expected; says which in a few words."""


def read_yaml(path: Path) -> Any:
    """Return the mappings, lists, texts and numbers of a file. Interpolations stay texts; nothing else is made.

    Raises:
        FileNotFoundError: there is none.
        YamlError: no regular file, more than a megabyte, no UTF-8, no YAML, aliases, or nesting beyond twenty levels.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise YamlError("no regular file")
        if found.st_size > _BYTES:
            raise YamlError(f"{found.st_size} bytes, more than {_BYTES}")
        text = path.read_text(encoding="utf-8")
        _check_events(text)
        return yaml.load(text, Loader=_LOADER)  # noqa: S506  (a safe one)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise YamlError(str(error.strerror)) from error
    except (yaml.YAMLError, ValueError) as error:  # (a number or a date that Python does not take, or no UTF-8)
        raise YamlError(" ".join(str(error).split())[:100]) from error


def _check_events(text: str) -> None:
    """An alias stands for as much as it likes, and what is nested too deeply exhausts the reader."""
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=_LOADER)):
        if isinstance(event, yaml.AliasEvent):
            raise YamlError("an alias")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST or count > _EVENTS:
            raise YamlError("more nesting or entries than belong there")
