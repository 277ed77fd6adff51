"""Programs as a stranger would send them: well-formed files with right digests, whose content is anything."""

import copy
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgesearch.numerics.program import IntegerProgram
from edgesearch.numerics.storage import _digest, save

Content = dict[str, Any]
Edit = Callable[[Content, dict[str, Any]], None]


def opened(program: IntegerProgram, folder: Path) -> tuple[Content, dict[str, Any]]:
    """Text and arrays of a program's file."""
    save(program, folder / "honest.npz")
    with np.load(folder / "honest.npz") as file:
        arrays = {name: file[name] for name in file.files}
    arrays.pop("header")
    return json.loads(arrays.pop("program").tobytes()), arrays


def written(path: Path, content: Any, arrays: dict[str, Any], version: int = 1) -> Path:
    """A file with this text and these arrays, and the digest that they have."""
    text = content if isinstance(content, str) else json.dumps(content)
    header = json.dumps({"version": version, "digest": _digest(text, arrays)})
    parts = {"header": np.frombuffer(header.encode(), np.uint8), "program": np.frombuffer(text.encode(), np.uint8)}
    buffer = io.BytesIO()
    np.savez(buffer, **parts, **arrays)  # type: ignore[arg-type]
    path.write_bytes(buffer.getvalue())
    return path


def edited(content: Content, arrays: dict[str, Any], edit: Edit) -> tuple[Content, dict[str, Any]]:
    """A copy on which an edit was made."""
    content, arrays = copy.deepcopy(content), dict(arrays)
    edit(content, arrays)
    return content, arrays


def renamed(old: str, new: str) -> Edit:
    """Give a vector or constant another name, everywhere."""

    def edit(content: Content, arrays: dict[str, Any]) -> None:
        def walk(node: Any) -> Any:
            if isinstance(node, dict):
                return {(new if key == old else key): walk(value) for key, value in node.items()}
            if isinstance(node, list):
                return [walk(value) for value in node]
            return new if node == old else node

        changed = walk(content)
        content.clear()
        content.update(changed)
        if f"constant/{old}" in arrays:
            arrays[f"constant/{new}"] = arrays.pop(f"constant/{old}")

    return edit


def put(*path: Any, value: Any) -> Edit:
    """Replace, or add, what lies at a path of keys and indices of the text."""

    def edit(content: Content, arrays: dict[str, Any]) -> None:
        node: Any = content
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = value

    return edit


def drop(*path: Any) -> Edit:
    """Remove what lies at a path of the text."""

    def edit(content: Content, arrays: dict[str, Any]) -> None:
        node: Any = content
        for key in path[:-1]:
            node = node[key]
        del node[path[-1]]

    return edit


def array(name: str, make: Callable[[Any], Any]) -> Edit:
    """Replace an array."""

    def edit(content: Content, arrays: dict[str, Any]) -> None:
        arrays[name] = make(arrays[name])

    return edit


def both(*edits: Edit) -> Edit:
    """One edit after the other."""

    def edit(content: Content, arrays: dict[str, Any]) -> None:
        for one in edits:
            one(content, arrays)

    return edit


def leaves(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything in a text."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from leaves(value, (*path, key))
