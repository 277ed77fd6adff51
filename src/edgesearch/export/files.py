"""Folders of exported files, complete or not there, and what they say of themselves."""

import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

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
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        partial.chmod(0o755)
        for name, content in made.items():
            (partial / name).write_bytes(content.encode() if isinstance(content, str) else content)
        shutil.rmtree(folder, ignore_errors=True)
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def described(program: IntegerProgram) -> str:
    """Return what a program says of itself as words that end no comment or string of any language."""
    return worded(", ".join(f"{key} {value}" for key, value in program.about.items()) or "an integer program")


def worded(text: str) -> str:
    """Return words that end no comment or string of any language."""
    return re.sub(r"[^\w ,.:;=+()-]", "_", text)
