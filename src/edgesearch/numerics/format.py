"""Fixed-point formats and THE rounding rule: shift right with round-half-up, saturate when storing.

Arrays hold integers as int64; a number is its integer times 2 ** -fraction.
"""

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgesearch.errors import ModelFileError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_NAME = re.compile(r"([su])(\d+)\.(-?\d+)")


@dataclass(frozen=True)
class Format:
    """`bits` in all, of them `fraction` after the point (which may be negative or more than `bits`)."""

    bits: int
    fraction: int
    signed: bool = True

    @property
    def low(self) -> int:
        """The smallest integer."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        """The largest integer."""
        return (1 << (self.bits - self.signed)) - 1

    @property
    def largest(self) -> int:
        """The largest magnitude."""
        return max(-self.low, self.high)

    @property
    def step(self) -> float:
        """The difference of neighbouring numbers."""
        return 2.0**-self.fraction

    def integers(self, numbers: npt.ArrayLike) -> Ints:
        """Return the integers nearest to `numbers`, halves upwards, saturated.

        Raises:
            ModelFileError: a number is not finite.
        """
        scaled = np.floor(np.asarray(numbers, np.float64) * 2.0**self.fraction + 0.5)
        if not np.isfinite(scaled).all():
            raise ModelFileError("a number must be finite to be stored as an integer, got NaN or infinity; train again")
        return np.clip(scaled, self.low, self.high).astype(np.int64)

    def numbers(self, integers: Ints) -> Floats:
        """Return the numbers that `integers` stand for."""
        return integers * np.float64(self.step)

    def __str__(self) -> str:
        return f"{'s' if self.signed else 'u'}{self.bits}.{self.fraction}"

    @classmethod
    def parse(cls, text: str) -> "Format":
        """Return the format that `str` gives as `text`, such as s16.12.

        Raises:
            ModelFileError: it is none, or has not 1 to 32 bits.
        """
        found = _NAME.fullmatch(text)
        if found is None or not 1 <= int(found[2]) <= 32:
            raise ModelFileError(f"a format is written like s16.12 with at most 32 bits, got {text}; export it again")
        return cls(int(found[2]), int(found[3]), found[1] == "s")


def round_shift(values: Ints, shift: int) -> Ints:
    """Return values * 2 ** -shift, halves rounded up: the only place where integers are rounded."""
    if shift <= 0:
        return values << -shift
    return (values + (1 << (shift - 1))) >> shift
