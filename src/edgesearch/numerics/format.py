"""Fixed-point formats and THE rounding rule: shift right with round-half-up, saturate when storing.

Arrays hold integers as int64; a number is its integer times 2 ** -fraction. A frame of sensors with different units has
a `ChannelFormat`.
"""

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgesearch.errors import ModelFileError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_NAME = re.compile(r"([su])(\d{1,2})\.(-?\d{1,3})(?:\[([-+\d,]{1,1000000})\])?")
_CHANNEL = re.compile(r"(-?\d{1,3})([-+]\d{1,16})?")


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

    def channel(self, index: int) -> tuple[int, int]:
        """Return fraction and offset of a channel: integer n stands for (n + offset) 2 ** -fraction in its unit."""
        return self.fraction, 0

    def __str__(self) -> str:
        return f"{'s' if self.signed else 'u'}{self.bits}.{self.fraction}"

    @staticmethod
    def parse(text: str) -> "Format":
        """Return the format that `str` gives as `text`, such as s16.12, or s16.15[13,-2-405] for two channels.

        Raises:
            ModelFileError: it is none, or has not 1 to 32 bits.
        """
        found = _NAME.fullmatch(text)
        if found is None or not 1 <= int(found[2]) <= 32:
            raise ModelFileError(
                f"a format is written like s16.12 with at most 32 bits, got {text[:80]!r}; export it again"
            )
        bits, fraction, signed = int(found[2]), int(found[3]), found[1] == "s"
        if found[4] is None:
            return Format(bits, fraction, signed)
        channels = [_CHANNEL.fullmatch(part) for part in found[4].split(",")]
        if not all(channels):
            raise ModelFileError(f"a channel is written like 13 or -2-405, got {found[4][:80]!r}; export it again")
        pairs = [(int(c[1]), int(c[2] or 0)) for c in channels if c is not None]
        return ChannelFormat(bits, fraction, signed, tuple(f for f, _ in pairs), tuple(o for _, o in pairs))


@dataclass(frozen=True)
class ChannelFormat(Format):
    """A frame's format in which each channel has a fraction and an offset of its own, for sensors of different units.

    Integer n of channel d stands for (n + offsets[d]) 2 ** -fractions[d] in the channel's unit. What the program
    computes with is n 2 ** -fraction, which is the value less `bases`[d] in units of `spans`[d].

    Attributes:
        fractions: of each channel (D,).
        offsets: in units of each channel's last place (D,).
    """

    fractions: tuple[int, ...] = ()
    offsets: tuple[int, ...] = ()

    @property
    def spans(self) -> Floats:
        """What the program's 1 is in each channel's unit (D,)."""
        return np.asarray(2.0 ** (self.fraction - np.array(self.fractions)), np.float64)

    @property
    def bases(self) -> Floats:
        """The value of integer 0 in each channel's unit (D,)."""
        return np.asarray(np.array(self.offsets) * 2.0 ** -np.array(self.fractions, np.float64), np.float64)

    def integers(self, numbers: npt.ArrayLike) -> Ints:
        """Return the integers nearest to values (..., D) in the channels' units, halves upwards, saturated.

        Raises:
            ModelFileError: a number is not finite.
        """
        fractions, offsets = np.array(self.fractions, np.float64), np.array(self.offsets, np.float64)
        scaled = np.floor(np.asarray(numbers, np.float64) * 2.0**fractions - offsets + 0.5)
        if not np.isfinite(scaled).all():
            raise ModelFileError("a number must be finite to be stored as an integer, got NaN or infinity; train again")
        return np.clip(scaled, self.low, self.high).astype(np.int64)

    def numbers(self, integers: Ints) -> Floats:
        """Return the values (..., D) in the channels' units that `integers` stand for."""
        return np.asarray((integers + np.array(self.offsets)) * 2.0 ** -np.array(self.fractions, np.float64))

    def channel(self, index: int) -> tuple[int, int]:
        """Return fraction and offset of a channel."""
        return self.fractions[index], self.offsets[index]

    def __str__(self) -> str:
        pairs = zip(self.fractions, self.offsets, strict=True)
        return f"{super().__str__()}[{','.join(f'{f}{o:+d}' if o else str(f) for f, o in pairs)}]"


def round_shift(values: Ints, shift: int) -> Ints:
    """Return values * 2 ** -shift, halves rounded up: the only place where integers are rounded."""
    if shift <= 0:
        return values << -shift
    return (values + (1 << (shift - 1))) >> shift
