"""Folders of exported files, complete or not there, and what they say of themselves."""

import re
from collections.abc import Mapping
from pathlib import Path

from edgesearch.atomic import atomic_folder
from edgesearch.errors import ConfigError
from edgesearch.numerics.program import IntegerProgram


def write_folder(folder: Path, made: Mapping[str, str | bytes], left_behind: frozenset[str] = frozenset()) -> None:
    """Write an export's files; names `left_behind` are those that using an earlier export leaves there.

    Raises:
        ConfigError: there is something else than an earlier export.
        OSError: the folder cannot be written.
    """
    folder = folder.resolve()
    if folder.exists():
        found = {path.name for path in folder.iterdir()} if folder.is_dir() else {folder.name}
        foreign = found - made.keys() - left_behind
        if foreign:
            raise ConfigError(
                f"an export needs a new folder, or one with nothing but an earlier export, got {folder} with "
                f"{min(foreign)}; give another folder"
            )
    with atomic_folder(folder) as partial:
        for name, content in made.items():
            (partial / name).write_bytes(content.encode() if isinstance(content, str) else content)


def described(program: IntegerProgram) -> str:
    """Return what a program says of itself as words that end no comment or string of any language."""
    return worded(", ".join(f"{key} {value}" for key, value in program.about.items()) or "an integer program")


def worded(text: str) -> str:
    """Return words that end no comment or string of any language."""
    return re.sub(r"[^\w ,.:;=+()-]", "_", text)
