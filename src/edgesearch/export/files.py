"""Folders of exported files, complete or not there, and what they say of themselves."""

import hashlib
import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

from edgesearch.atomic import atomic_folder
from edgesearch.errors import ConfigError, EdgesearchWarning
from edgesearch.numerics.program import IntegerProgram
from edgesearch.untrusted.files import DamagedError
from edgesearch.untrusted.text import read_json

CONDITIONS = "It may be used, changed and passed on without conditions (SPDX-License-Identifier: CC0-1.0)."
FRONT_END = "front end"  # of what is said about a program: how samples became frames
MANIFEST = ".edgesearch.json"  # names and digests of what an export wrote
_LARGEST = 256 << 20  # bytes of a file of an export
_EARLIER = ("model.h", "program.py", "model.ezpc")  # of which each export of version 0.1, without a list, has one


def write_folder(folder: Path, made: Mapping[str, str | bytes], left_behind: frozenset[str] = frozenset()) -> None:
    """Write an export's files and a list of them. What anyone else wrote there is never removed.

    Args:
        folder: a new folder, an empty one, or one with nothing but an earlier export that nobody has changed since. One
            of version 0.1, which has no list, is moved aside.
        made: contents by name relative to the folder.
        left_behind: names that using an earlier export leaves there.

    Raises:
        ConfigError: there is something else.
        OSError: the folder cannot be written.
    """
    folder = folder.resolve()
    check_folder(folder, left_behind)
    contents = {name: text.encode() if isinstance(text, str) else text for name, text in made.items()}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    contents[MANIFEST] = (json.dumps(digests, indent=1) + "\n").encode()
    if folder.exists() and _is_earlier(folder):
        _move_aside(folder)
    with atomic_folder(folder) as partial:
        for name, content in contents.items():
            (partial / name).parent.mkdir(exist_ok=True)
            (partial / name).write_bytes(content)


def check_folder(folder: Path, left_behind: frozenset[str] = frozenset()) -> None:
    """See that an export may take the place of what is there.

    Raises:
        ConfigError: there is something else than an earlier export that nobody has changed.
    """
    foreign = _foreign(folder, left_behind) if folder.exists() and not _is_earlier(folder) else None
    if foreign:
        raise ConfigError(
            f"an export needs a new folder, or one with nothing but an earlier export, got {folder} with {foreign}; "
            "give another folder, or move that away"
        )


def _foreign(folder: Path, left_behind: frozenset[str]) -> str | None:
    """Return the name of a file that no export wrote, or that was changed since; None if there is none."""
    if not folder.is_dir():
        return folder.name
    try:
        listed = read_json(folder / MANIFEST) if (folder / MANIFEST).is_file() else {}
    except (DamagedError, OSError):
        return MANIFEST
    ours = listed if isinstance(listed, dict) else {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name == MANIFEST or (path.is_dir() and not path.is_symlink()) or _left(name, left_behind):
            continue
        if path.is_symlink() or not path.is_file() or name not in ours:
            return name
        with path.open("rb") as file:
            changed = path.stat().st_size > _LARGEST or hashlib.file_digest(file, "sha256").hexdigest() != ours[name]
        if changed:
            return f"{name}, which was changed"
    return None


def _left(name: str, left_behind: frozenset[str]) -> bool:
    return any(name == own or name.startswith(f"{own}/") for own in left_behind)


def _is_earlier(folder: Path) -> bool:
    """Whether version 0.1 wrote it, which left no list."""
    if (folder / MANIFEST).exists() or not any((folder / name).is_file() for name in _EARLIER):
        return False
    try:
        with (folder / "README.md").open("rb") as file:
            return b"Made by edgesearch" in file.read(300)
    except OSError:
        return False


def _move_aside(folder: Path) -> None:
    numbers = (k for k in range(1, 10_000) if not folder.with_name(f"{folder.name}-before-{k}").exists())
    aside = folder.with_name(f"{folder.name}-before-{next(numbers)}")
    folder.replace(aside)
    warnings.warn(f"an export of version 0.1 was in {folder}; it is now {aside}", EdgesearchWarning, stacklevel=3)


def described(program: IntegerProgram) -> str:
    """Return what a program says of itself as words that end no comment or string of any language."""
    return worded(", ".join(f"{key} {value}" for key, value in program.about.items()) or "an integer program")


def worded(text: str) -> str:
    """Return words that end no comment or string of any language."""
    return re.sub(r"[^\w ,.:;=+()-]", "_", text)
