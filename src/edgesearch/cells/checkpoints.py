"""Checkpoints that others made: only tensors and plain numbers are read, and nothing larger than the file."""

import pickletools
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgesearch.untrusted.arrays import check_archive
from edgesearch.untrusted.files import DamagedError

_MOST = 4 << 30  # bytes of a checkpoint
_TEXT = 2 << 20  # bytes of its pickle
_STORAGES = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
_GLOBALS = frozenset(
    {"torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter", "collections OrderedDict"}
    | {f"torch {kind}Storage" for kind in _STORAGES}
)
# that name something by other means than the text that is looked at
_OTHER_GLOBALS = frozenset({"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID"})


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return what a checkpoint holds, on the CPU.

    Its pickle may call nothing but what rebuilds tensors, and no tensor may claim more than the file has.

    Raises:
        DamagedError: it is no checkpoint, damaged, or holds something else.
        OSError: it cannot be read.
    """
    _check(path)
    found = _loaded(path, "meta")
    size = path.stat().st_size
    for tensor in _tensors(found):
        if tensor.numel() * tensor.element_size() > size:
            raise DamagedError(f"it claims a tensor of shape {tuple(tensor.shape)}, which it has not")
    found = _loaded(path, "cpu")
    if not isinstance(found, dict):
        raise DamagedError("it holds no mapping")
    return found


def _check(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            check_archive(archive, min(_MOST, 2 * path.stat().st_size))
            texts = [entry for entry in archive.infolist() if entry.filename.endswith("data.pkl")]
            if any(entry.compress_type for entry in archive.infolist()) or len(texts) != 1:
                raise DamagedError("it is not what torch.save writes")
            if texts[0].file_size > _TEXT:
                raise DamagedError(f"it holds {texts[0].file_size} bytes of names and numbers, more than {_TEXT}")
            _check_pickle(archive.read(texts[0]))
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:  # (the last: it is encrypted)
        raise DamagedError(str(error)) from error


def _check_pickle(text: bytes) -> None:
    try:
        for operation, argument, _ in pickletools.genops(text):
            named = operation.name == "GLOBAL" and argument not in _GLOBALS
            if named or operation.name in _OTHER_GLOBALS:
                raise DamagedError(f"it calls {str(argument)[:80]!r}, which no checkpoint needs")
    except DamagedError:
        raise
    except (ValueError, IndexError, KeyError) as error:
        raise DamagedError(f"its pickle is damaged ({str(error)[:80]})") from error


def _loaded(path: Path, place: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # (of files that torch.save did not write)
            return torch.load(path, map_location=place, weights_only=True)
    except OSError:
        raise
    except Exception as error:  # (torch.load raises many unrelated types)
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DamagedError(reason[:200]) from error


def _tensors(node: Any) -> list[Tensor]:
    found: list[Tensor] = []
    waiting = [node]
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if isinstance(node, Tensor):
            found.append(node)
        elif isinstance(node, dict | list | tuple) and id(node) not in seen:
            seen.add(id(node))
            waiting += node.values() if isinstance(node, dict) else node
    return found
