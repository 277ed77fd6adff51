"""Programs in files: an .npz without pickle. One entry is JSON, the others are the integers it names."""

import dataclasses
import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from edgesearch.atomic import write_bytes
from edgesearch.errors import ModelFileError
from edgesearch.numerics.approximation import Table
from edgesearch.numerics.format import ChannelFormat, Format
from edgesearch.numerics.operations import Affine, Apply, Combine, Convolve, Geometry, Operation, Pool, Term
from edgesearch.numerics.program import Constant, IntegerProgram, Value, set_of

VERSIONS = (1, 2)  # the second has formats by channel
_KINDS = {kind.__name__: kind for kind in (Affine, Combine, Convolve, Pool, Apply)}


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
        }
    )
    by_channel = isinstance(program.values["input"].format, ChannelFormat)
    header = {"version": VERSIONS[by_channel], "digest": _digest(text, arrays)}
    buffer = io.BytesIO()
    np.savez(buffer, header=_bytes(json.dumps(header)), program=_bytes(text), **arrays)  # type: ignore[arg-type]
    write_bytes(path, buffer.getvalue())


def load(path: str | Path) -> IntegerProgram:
    """Read a program back.

    Raises:
        ModelFileError: no such file, not a program, another version, truncated or edited.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelFileError(f"a program is a file such as program.npz, got {path}, which is none; give its path")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name]) for name in file.files}
        header = json.loads(arrays.pop("header").tobytes())
        text = arrays.pop("program").tobytes().decode()
        version, digest = header["version"], header["digest"]
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        EOFError,
        RuntimeError,
        zipfile.BadZipFile,
        OSError,
    ) as error:
        raise ModelFileError(f"{path} is not a program or is damaged; export it again") from error
    if version not in VERSIONS:
        known = " or ".join(map(str, VERSIONS))
        raise ModelFileError(
            f"{path} must be a program of version {known}, got {version}; export it again with this edgesearch"
        )
    if digest != _digest(text, arrays):
        raise ModelFileError(f"{path} was changed after it was written; export it again")
    return _from_json(json.loads(text), arrays)


def _from_json(found: dict[str, Any], arrays: dict[str, Any]) -> IntegerProgram:
    tables = [
        Table(
            **{
                **entry,
                "source": Format.parse(entry["source"]),
                "to": Format.parse(entry["to"]),
                "shifts": tuple(entry["shifts"]),
                "coefficients": arrays[f"table/{k}"].astype(np.int64),
            }
        )
        for k, entry in enumerate(found["tables"])
    ]
    return IntegerProgram(
        steps=found["steps"],
        values={name: Value(size, Format.parse(text)) for name, (size, text) in found["values"].items()},
        constants={
            name: Constant(arrays[f"constant/{name}"].astype(np.int64), Format.parse(text))
            for name, text in found["constants"].items()
        },
        tables={out: tables[k] for out, k in found["table_of"].items()},
        states=found["states"],
        step=tuple(map(_operation, found["step"])),
        head=tuple(map(_operation, found["head"])),
        logits=found["logits"],
        about=found["about"],
    )


def _to_json(operation: Operation) -> dict[str, Any]:
    return {"operation": type(operation).__name__, **dataclasses.asdict(operation)}


def _operation(entry: dict[str, Any]) -> Operation:
    kind = entry.pop("operation")
    if kind not in _KINDS:
        raise ModelFileError(f"an operation is one of {', '.join(_KINDS)}, got {kind}; use the edgesearch that made it")
    if kind == "Combine":
        entry["terms"] = tuple(Term(tuple(t["operands"]), t["negative"], t["power"]) for t in entry["terms"])
    if kind == "Affine":
        entry["products"] = tuple((matrix, vector) for matrix, vector in entry["products"])
    if "geometry" in entry:
        g = entry["geometry"]
        pairs = ((a, b) for a, b in (g["kernel"], g["stride"], g["padding"]))
        entry["geometry"] = Geometry(g["channels"], g["height"], g["width"], *pairs)
    operation: Operation = _KINDS[kind](**entry)
    return operation


def _table_to_json(table: Table) -> dict[str, Any]:
    entry = {f.name: getattr(table, f.name) for f in dataclasses.fields(table) if f.name != "coefficients"}
    return entry | {"source": str(table.source), "to": str(table.to)}


def _smallest(format: Format) -> Any:
    return next(t for t in (np.int8, np.int16, np.int32, np.int64) if np.iinfo(t).max >= format.largest)


def _bytes(text: str) -> Any:
    return np.frombuffer(text.encode(), np.uint8)


def _digest(text: str, arrays: dict[str, Any]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name}{array.dtype.str}{array.shape}".encode() + array.tobytes())
    return digest.hexdigest()
