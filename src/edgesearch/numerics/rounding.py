"""How a sum of integers loses its last bits: the rule, or one of the random ways that training may use instead.

Every way adds a number u below 2 ** shift and shifts right; the rule's u is the half. Random u come from mixing
64 bits: a counter's for `stochastic`, the sum's own for `pseudo`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from edgesearch.errors import ConfigError
from edgesearch.numerics.format import Ints, round_shift

_RANDOM = 63  # bits of a random number
KINDS = ("nearest", "stochastic", "pseudo")


class Rounding:
    """Shifts right with one of three ways of rounding.

    Args:
        kind: `nearest` is `round_shift`, halves upwards. `stochastic` rounds up with the probability of what is cut
            off. `pseudo` takes its random number from the sum itself, so that equal sums are rounded alike: a hash of
            all its bits. NITI (arXiv:2009.13108) takes the last bits that are cut off, which are zeros in a half or a
            quarter: it rounds all of these upwards.
        seed: of the counter.

    Raises:
        ConfigError: the kind is unknown.
    """

    def __init__(self, kind: str = "nearest", seed: int = 0) -> None:
        if kind not in KINDS:
            words = ", ".join(KINDS)
            raise ConfigError(f"train.rounding must be one of {words}, got {kind}; set train.rounding=nearest")
        self.kind = kind
        self._seed = seed
        self.restart(0)

    def restart(self, step: int) -> None:
        """Draw as at the beginning of a step, so that a resumed training draws what it would have drawn."""
        self._counter = int(mixed(np.array([self._seed * 1_000_003 + step]))[0])

    def __call__(self, values: npt.NDArray[Any], shift: int | Ints) -> npt.NDArray[Any]:
        """Return values * 2 ** -shift as integers.

        Args:
            values: int64, or Python's integers.
            shift: for all values, or one of at least 0 for each.
        """
        if isinstance(shift, int):
            if self.kind == "nearest" or shift <= 0:
                return round_shift(values, shift)
            bits = self._bits(values)
            wide = bits.astype(object) << max(shift - _RANDOM, 0) if values.dtype == object else bits
            found: npt.NDArray[Any] = (values + (wide & ((1 << shift) - 1))) >> shift
            return found
        if self.kind == "nearest":
            below = np.where(shift > 0, 1 << np.maximum(shift - 1, 0), 0)
        else:
            below = self._bits(values) & ((np.int64(1) << shift) - 1)
        return np.asarray((values + below) >> shift)

    def _bits(self, values: npt.NDArray[Any]) -> Ints:
        if self.kind == "pseudo":
            if values.dtype == object:
                values = np.asarray(values & 0xFFFFFFFFFFFFFFFF).astype(np.uint64)
            return mixed(values)
        first = self._counter
        self._counter = (first + values.size) % (1 << _RANDOM)
        return mixed(np.arange(values.size, dtype=np.uint64) + np.uint64(first)).reshape(values.shape)


def mixed(values: npt.NDArray[Any]) -> Ints:
    """Return 63 evenly distributed bits of each of the integers: SplitMix64 (Steele, Lea and Flood, 2014)."""
    with np.errstate(over="ignore"):
        z: npt.NDArray[np.uint64] = values.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
        return np.asarray(z >> np.uint64(1)).view(np.int64)
