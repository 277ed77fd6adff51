"""quant_info.json, which may come from anyone: what a `Quantizer` saved, checked before anything is made of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesearch.compress.calibrate import Observed, Ranges
from edgesearch.compress.graph import Graph
from edgesearch.config.schema import RANGES
from edgesearch.data.frames import Frames
from edgesearch.untrusted.files import DamagedError
from edgesearch.untrusted.text import read_json

NAME = "quant_info.json"
_SHOWN = 40  # characters of a value
_MOST = 32 << 20  # bytes
_STEPS = 1 << 20
_NUMBERS = 4096  # of a sample, and rows of frames
_WIDTHS = ("weights", "activations", "range", "function_error", "named")
_LARGEST = 1e200  # squares stay finite


@dataclass(frozen=True)
class Saved:
    """The file's parts, each of its type; `fits` tells whether they are a graph's."""

    steps: int
    weights: str | None  # the digest of the model's, which version 0.1 did not write
    widths: Mapping[str, Any]
    ranges: Ranges
    sizes: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> "Saved":
        """Read the file.

        Raises:
            DamagedError: it is not what `Quantizer.save` writes.
            OSError: it cannot be read.
        """
        found = _mapping(read_json(path, _MOST), "it")
        digest = found.get("weights")
        if "weights" in found and not isinstance(digest, str):
            raise _other("weights", "text", digest)
        ranges = Ranges()
        for name, entry in _mapping(found.get("ranges"), "ranges").items():
            ranges.observed[name] = _observed(entry, f"the range of {_shown(name)}")
        frames = found.get("frames")
        ranges.frames = None if frames is None else _frames(_mapping(frames, "frames"))
        steps = _whole(found.get("steps"), "steps", 1, _STEPS)
        sizes = _mapping(found.get("sizes"), "sizes")
        return cls(steps, digest, _widths(_mapping(found.get("widths"), "widths")), ranges, sizes)

    def check(self, graph: Graph, channels: int) -> None:
        """Raise `DamagedError` unless they are those of a graph whose frames have so many channels."""
        if self.sizes != graph.sizes:
            raise DamagedError("ranges of another model")
        unknown = self.widths["named"].keys() - (graph.roles.keys() - graph.states.keys())
        if unknown:
            raise DamagedError(f"widths of {_shown(min(unknown))}, which is no tensor of the model")
        frames = self.ranges.frames
        if frames is not None and frames.low.size != channels:
            raise DamagedError(f"frames of {frames.low.size} channels for a model of {channels}")


def _widths(found: dict[str, Any]) -> dict[str, Any]:
    if found.keys() != set(_WIDTHS):
        raise _other("widths", f"a mapping of {', '.join(_WIDTHS)}", ", ".join(found))
    _whole(found["weights"], "widths.weights", 2, 16)
    _whole(found["activations"], "widths.activations", 8, 16)
    if not isinstance(found["range"], str) or found["range"] not in RANGES:
        raise _other("widths.range", f"one of {', '.join(RANGES)}", found["range"])
    error = found["function_error"]
    if type(error) not in (int, float) or not 0 < error <= 0.1:
        raise _other("widths.function_error", "above 0 and at most 0.1", error)
    for name, bits in _mapping(found["named"], "widths.named").items():
        _whole(bits, f"widths.named of {_shown(name)}", 2, 16)
    return found


def _observed(entry: Any, where: str) -> Observed:
    entry = _mapping(entry, where)
    largest = _numbers([entry.get("largest")], f"largest in {where}", 1)
    if largest[0] < 0:
        raise _other(f"largest in {where}", "at least 0", entry["largest"])
    sample = _numbers(entry.get("sample"), f"sample in {where}", _NUMBERS)
    return Observed(float(largest[0]), _whole(entry.get("count"), f"count in {where}", 1, 2**53), sample)


def _frames(found: dict[str, Any]) -> Frames:
    rows = found.get("rows")
    if not isinstance(rows, list) or not 1 <= len(rows) <= _NUMBERS:
        raise _other("frames.rows", f"a list of 1 to {_NUMBERS} frames", rows)
    table = [_numbers(row, "a frame of frames.rows") for row in rows]
    low, high, mean, deviation = (
        _numbers(found.get(name), f"frames.{name}") for name in ("low", "high", "mean", "deviation")
    )
    if any(part.shape != low.shape for part in (high, mean, deviation, *table)):
        raise DamagedError("frames must have as many numbers in every part, got different ones")
    if (low > high).any() or (deviation < 0).any():
        raise DamagedError("frames must have lows up to the highs and deviations of at least 0, got others")
    _whole(found.get("count"), "frames.count", 1, 2**53)
    return Frames.from_json(found)


def _mapping(found: Any, where: str) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise _other(where, "a mapping", found)
    return found


def _whole(found: Any, where: str, low: int, high: int) -> int:
    if type(found) is not int or not low <= found <= high:
        raise _other(where, f"a whole number from {low} to {high}", found)
    return found


def _numbers(found: Any, where: str, most: int = 1 << 20) -> npt.NDArray[np.float64]:
    if not isinstance(found, list) or not 1 <= len(found) <= most:
        raise _other(where, f"a list of 1 to {most} numbers", found)
    wrong = next((v for v in found if type(v) not in (int, float) or not -_LARGEST < v < _LARGEST), 0)
    if wrong != 0:
        raise _other(where, "finite numbers", wrong)
    return np.array(found, np.float64)


def _other(where: str, wanted: str, found: Any) -> DamagedError:
    return DamagedError(f"{where} must be {wanted}, got {_shown(found)}")


def _shown(found: Any) -> str:
    if isinstance(found, list | dict):
        return type(found).__name__
    if isinstance(found, int) and abs(found) > 10**_SHOWN:
        return "a whole number of many digits"
    text = ascii(found)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
