"""Programs in files: an .npz without pickle. One entry is JSON, the others are the integers it names."""

import dataclasses
import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgesearch.atomic import write_bytes
from edgesearch.errors import ModelFileError
from edgesearch.numerics.approximation import Table
from edgesearch.numerics.decode import decode
from edgesearch.numerics.format import ChannelFormat, Format
from edgesearch.numerics.operations import Operation
from edgesearch.numerics.program import Constant, IntegerProgram, Value, set_of
from edgesearch.untrusted.arrays import read_arrays
from edgesearch.untrusted.files import DamagedError
from edgesearch.untrusted.text import parse_json

VERSIONS = (1, 2)  # the second has formats by channel
_MOST_NUMBERS, _MOST_BYTES = 1 << 22, 16 << 20  # of all arrays, unpacked
_MOST_TEXT = 1 << 20  # bytes of what is not in arrays


def save(program: IntegerProgram, path: str | Path) -> None:
    """Write a program; the file is complete or not there."""
    path = Path(path)
    tables = set_of(program.tables)
    arrays = {f"constant/{name}": c.integers.astype(_smallest(c.format)) for name, c in program.constants.items()}
    arrays |= {f"table/{k}": table.coefficients.astype(np.int16) for k, table in enumerate(tables)}
    text = json.dumps(
        {
            "steps": program.steps,
            "values": {name: [v.size, str(v.format)] for name, v in program.values.items()},
            "constants": {name: str(c.format) for name, c in program.constants.items()},
            "tables": [_table_to_json(table) for table in tables],
            "table_of": {out: next(k for k, t in enumerate(tables) if t is own) for out, own in program.tables.items()},
            "states": program.states,
            "step": [_to_json(operation) for operation in program.step],
            "head": [_to_json(operation) for operation in program.head],
            "logits": program.logits,
            "about": program.about,
            **({"class_names": program.class_names} if program.class_names else {}),
        }
    )
    by_channel = isinstance(program.values["input"].format, ChannelFormat)
    header = {"version": VERSIONS[by_channel], "digest": _digest(text, arrays)}
    buffer = io.BytesIO()
    np.savez(buffer, header=_bytes(json.dumps(header)), program=_bytes(text), **arrays)  # type: ignore[arg-type]
    write_bytes(path, buffer.getvalue())


def load(path: str | Path) -> IntegerProgram:
    """Read a program back. It may come from anyone: what is accepted, the interpreter and C can run.

    Raises:
        ModelFileError: no such file, not a program, another version, truncated, edited, or with something in it that
            `validity.check` refuses.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelFileError(f"a program is a file such as program.npz, got {path}, which is none; give its path")
    try:
        arrays = read_arrays(path, _MOST_BYTES)
        if not isinstance(arrays, dict):
            raise DamagedError("it is a single array")
        if sum(array.size for array in arrays.values()) > _MOST_NUMBERS:
            raise DamagedError(f"it has more than {_MOST_NUMBERS} numbers")
        header = decode(_Header, parse_json(_words(arrays, "header")), "its header")
        text = _words(arrays, "program")
        if header.version in VERSIONS and header.digest == _digest(text, arrays):
            return _program(decode(_Stored, parse_json(text), "it"), arrays)
    except (DamagedError, ModelFileError, OSError) as error:
        reason = str(error).partition(";")[0]
        raise ModelFileError(f"{path} is not a program or is damaged: {reason}; export it again") from error
    if header.version not in VERSIONS:
        known = " or ".join(map(str, VERSIONS))
        raise ModelFileError(
            f"{path} must be a program of version {known}, got {header.version}; export it again with this edgesearch"
        )
    raise ModelFileError(f"{path} was changed after it was written; export it again")


@dataclass(frozen=True)
class _Header:
    version: int
    digest: str


@dataclass(frozen=True)
class _StoredTable:
    """A table without its coefficients."""

    function: str
    source: Format
    to: Format
    segment_bits: int
    shifts: tuple[int, ...]
    limit: int
    last: int
    error: float


@dataclass(frozen=True)
class _Stored:
    """A program without its arrays."""

    steps: int
    values: dict[str, tuple[int, Format]]
    constants: dict[str, Format]
    tables: tuple[_StoredTable, ...]
    table_of: dict[str, int]
    states: dict[str, str]
    step: tuple[Operation, ...]
    head: tuple[Operation, ...]
    logits: str
    about: dict[str, str]
    class_names: tuple[str, ...] = ()


def _program(stored: _Stored, arrays: dict[str, Any]) -> IntegerProgram:
    wanted = {f"constant/{name}" for name in stored.constants} | {f"table/{k}" for k in range(len(stored.tables))}
    if arrays.keys() != wanted or not all(array.dtype.kind == "i" for array in arrays.values()):
        raise DamagedError("its arrays are others than its text names")
    tables = [
        Table(**vars(entry), coefficients=arrays[f"table/{k}"].astype(np.int64))
        for k, entry in enumerate(stored.tables)
    ]
    if not all(0 <= k < len(tables) for k in stored.table_of.values()):
        raise DamagedError("it names a table that it has not")
    return IntegerProgram(
        steps=stored.steps,
        values={name: Value(size, format) for name, (size, format) in stored.values.items()},
        constants={
            name: Constant(arrays[f"constant/{name}"].astype(np.int64), format)
            for name, format in stored.constants.items()
        },
        tables={out: tables[k] for out, k in stored.table_of.items()},
        states=stored.states,
        step=stored.step,
        head=stored.head,
        logits=stored.logits,
        about=stored.about,
        class_names=stored.class_names,
    )


def _to_json(operation: Operation) -> dict[str, Any]:
    return {"operation": type(operation).__name__, **dataclasses.asdict(operation)}


def _table_to_json(table: Table) -> dict[str, Any]:
    entry = {f.name: getattr(table, f.name) for f in dataclasses.fields(table) if f.name != "coefficients"}
    return entry | {"source": str(table.source), "to": str(table.to)}


def _smallest(format: Format) -> Any:
    return next(t for t in (np.int8, np.int16, np.int32, np.int64) if np.iinfo(t).max >= format.largest)


def _words(arrays: dict[str, Any], name: str) -> str:
    try:
        array = arrays.pop(name)
        if array.nbytes > _MOST_TEXT:
            raise DamagedError(f"its {name} has more than {_MOST_TEXT} bytes")
        return str(array.tobytes().decode())
    except (KeyError, UnicodeDecodeError) as error:
        raise DamagedError(f"it has no {name}") from error


def _bytes(text: str) -> Any:
    return np.frombuffer(text.encode(), np.uint8)


def _digest(text: str, arrays: dict[str, Any]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name}{array.dtype.str}{array.shape}".encode() + array.tobytes())
    return digest.hexdigest()
