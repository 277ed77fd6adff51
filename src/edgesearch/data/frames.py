"""What there is to see of frames, channel by channel: from it the input's format is chosen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_ROWS = 1024  # frames kept


@dataclass(eq=False)
class Frames:
    """What was seen of frames of D channels.

    Attributes:
        low, high, mean, deviation: of each channel (D,), in its unit.
        count: frames.
        rows: frames drawn evenly from all (k, D).
    """

    low: Floats
    high: Floats
    mean: Floats
    deviation: Floats
    count: int
    rows: Floats = field(repr=False)

    @classmethod
    def of(cls, frames: npt.NDArray[np.floating[Any]]) -> "Frames":
        """Return what there is to see of frames (N, D), with up to `_ROWS` of them from all over."""
        rows = frames[np.linspace(0, len(frames) - 1, min(_ROWS, len(frames))).astype(int)].astype(np.float64)
        seen = [_seen(frames[:, channel]) for channel in range(frames.shape[1])]
        low, high, mean, deviation = np.stack(seen, axis=1)
        return cls(low, high, mean, deviation, len(frames), rows)

    def joined(self, other: "Frames", generator: np.random.Generator) -> "Frames":
        """Return both together (Chan et al. 1979); rows are kept in proportion."""
        count = self.count + other.count
        share = other.count / count
        apart = other.mean - self.mean
        square = (1 - share) * self.deviation**2 + share * other.deviation**2 + share * (1 - share) * apart**2
        rows = np.concatenate((self.rows, other.rows))
        if len(rows) > _ROWS:
            taken = min(len(other.rows), max(1, round(_ROWS * share)))
            kept = generator.permutation(len(self.rows))[: _ROWS - taken]
            rows = np.concatenate((self.rows[kept], other.rows[generator.permutation(len(other.rows))[:taken]]))
        low, high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        return Frames(low, high, self.mean + share * apart, np.sqrt(square), count, rows)

    def widened(self, margin: npt.NDArray[np.floating[Any]]) -> "Frames":
        """Return frames that reach further by `margin` (D,) on both sides."""
        return Frames(self.low - margin, self.high + margin, self.mean, self.deviation, self.count, self.rows)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Frames":
        """Read back what `to_json` gave."""
        arrays = {name: np.array(found[name], np.float64) for name in ("low", "high", "mean", "deviation", "rows")}
        return cls(count=int(found["count"]), **arrays)


def _seen(values: npt.NDArray[np.floating[Any]]) -> Floats:
    """Least, largest, mean and deviation of a channel, of the differences to its first value."""
    first = float(values[0])
    exact = values.astype(np.float64) - first
    return np.array([first + exact.min(), first + exact.max(), first + exact.mean(), exact.std()])
