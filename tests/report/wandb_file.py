"""Reads back a .wandb file: LevelDB's log format (blocks of 32 KiB) with a 7-byte file header, protobuf records."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2 as pb

_BLOCK, _HEADER = 32768, struct.Struct("<IHB")
_FULL, _LAST = 1, 4


def _chunks(path: Path) -> Iterator[bytes]:
    content = path.read_bytes()
    assert content[:4] == b":W&B"
    position, parts = 7, b""
    while position + _HEADER.size <= len(content):
        left = _BLOCK - position % _BLOCK
        if left < _HEADER.size:
            position += left
            continue
        _, length, kind = _HEADER.unpack_from(content, position)
        position += _HEADER.size
        parts += content[position : position + length]
        position += length
        if kind in (_FULL, _LAST):
            yield parts
            parts = b""


def _values(items: Any) -> dict[str, Any]:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


def read_offline(folder: Path) -> dict[str, Any]:
    """Return history rows, summary, run header and exit code of the one offline run under `folder`."""
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    found: dict[str, Any] = {"history": [], "summary": {}}
    for chunk in _chunks(path):
        message: Any = pb.Record()  # type: ignore[attr-defined]
        message.ParseFromString(chunk)
        kind = message.WhichOneof("record_type")
        if kind == "history":
            found["history"].append(_values(message.history.item))
        elif kind == "summary":
            found["summary"] |= _values(message.summary.update)
        elif kind == "run":
            found["run"] = message.run
        elif kind == "exit":
            found["exit_code"] = message.exit.exit_code
    return found
