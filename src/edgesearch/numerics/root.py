"""The reciprocal square root in integers, with range reduction: its relative error is bounded over all positive inputs.

x = m 4^k with m in [1, 4): a piecewise polynomial gives 1 / sqrt(m), and a shift by k the rest. It is 1 at m = 1
and 1/2 at m = 4, so that the result is continuous where k changes, too.
"""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from edgesearch.errors import ConfigError
from edgesearch.numerics.format import Format, Ints
from edgesearch.numerics.functions import Function
from edgesearch.numerics.generator import piecewise
from edgesearch.numerics.piecewise import Piecewise
from edgesearch.numerics.polynomials import Method

FRACTION = 14  # of m and of 1 / sqrt(m)
_REDUCED = Function("rsqrt", lambda m: 1.0 / np.sqrt(m), relative=True)
_EXACT, _LISTED = 15, 16  # bits of x up to which m is exact, and up to which every x is looked at
_WIDEST = 63


@dataclass(frozen=True)
class RootTable:
    """An approximated reciprocal square root.

    Attributes:
        source, to: formats of x and of the value; x <= 0 gives the largest value.
        mantissa: 1 / sqrt(m) for m = 1..4, both with 14 fraction bits.
        error: bound on the relative error over every positive x, rounding to `to` and saturation left out.
    """

    source: Format
    to: Format
    mantissa: Piecewise
    error: float

    @property
    def flash_bytes(self) -> int:
        """Bytes of the polynomials."""
        return self.mantissa.flash_bytes

    @property
    def rounded_error(self) -> float:
        """A bound on the relative error of what a call returns, saturation left out."""
        return self.error + self.rounding(self.source, self.to)

    @staticmethod
    def rounding(source: Format, to: Format) -> float:
        """Return what rounding to `to` adds to the relative error at most: that of the smallest value."""
        return 0.5 * to.step * float(np.sqrt(source.high * source.step))

    def reduced(self, x: Ints, fraction: int | None = None) -> tuple[Ints, Ints]:
        """Return y, with 14 fraction bits, and k, such that 1 / sqrt(x 2^-fraction) is y 2^-14 2^-k.

        Args:
            x: positive integers of any size up to 2^62, whatever the source format.
            fraction: their fraction bits; those of the source format if not given.
        """
        fraction = self.source.fraction if fraction is None else fraction
        # the bit below the leading one is cleared where it is set: no float64 is rounded up to the next power of two
        bits = np.frexp((x & ~(x >> 1)).astype(np.float64))[1].astype(np.int64)
        k = (bits - 1 - fraction) >> 1
        up = FRACTION - fraction - 2 * k
        down = np.maximum(-up, 0)
        m = ((x << np.maximum(up, 0)) + ((1 << down) >> 1)) >> down
        return self.mantissa(m), k

    def __call__(self, x: Ints) -> Ints:
        """Return 1 / sqrt(x) of integers x in format `source`, in format `to`."""
        y, k = self.reduced(np.maximum(x, 1))
        shift = k + FRACTION - self.to.fraction
        down = np.clip(shift, 0, 40)
        found = ((y << np.clip(-shift, 0, 40)) + ((1 << down) >> 1)) >> down
        return np.where(x > 0, np.clip(found, self.to.low, self.to.high), self.to.high)


def bare_root(x: Ints) -> tuple[Ints, Ints]:
    """Return y with 14 fraction bits and k for integers x > 0 of up to 62 bits: 1 / sqrt(x) = y 2 ** -14 2 ** -k."""
    return approximate_root(Format(_WIDEST, 0), Format(32, 30), 2e-4).reduced(x)


@cache
def approximate_root(
    source: Format, to: Format, error: float, *, degree: int = 2, method: Method = "gpc", segments: int = 64
) -> RootTable:
    """Return the table of the fewest segments whose relative error is at most `error`.

    Args:
        source: format of x, at most 63 bits.
        to: format of the value, at most 32 bits.
        error: largest relative error wanted, rounding to `to` and saturation left out.
        degree, method, segments: as for `piecewise`.

    Raises:
        ConfigError: a format has too many bits, or no table is good enough.
    """
    for name, format, most in (("takes", source, _WIDEST), ("gives", to, 32)):
        if format.bits > most:
            raise ConfigError(f"a reciprocal square root {name} at most {most} bits, got {format}; lower its format")
    bits = source.bits - source.signed
    room = error - (0.0 if bits <= _EXACT else 2.0 ** -(FRACTION + 2))  # of a rounded m
    try:
        mantissa = piecewise(
            _REDUCED,
            Format(17, FRACTION, signed=False),
            Format(16, FRACTION),
            room,
            low=1.0,
            high=4.0,
            degree=degree,
            method=method,
            segments=segments,
        )
    except ConfigError as failed:
        raise ConfigError(
            f"1 / sqrt(x) cannot be had within a relative error of {error:g} by {segments} segments of degree "
            f"{degree}; allow error=0.0002"
        ) from failed
    table = RootTable(source, to, mantissa, 0.0)
    return replace(table, error=_measured(table) if bits <= _LISTED else _bounded(table))


def _measured(table: RootTable) -> float:
    """The worst error over every positive x."""
    x = np.arange(1, table.source.high + 1)
    y, k = table.reduced(x)
    found = y * 2.0**-FRACTION * 2.0**-k
    return float(np.abs(found * np.sqrt(table.source.numbers(x)) - 1).max())


def _bounded(table: RootTable) -> float:
    """The worst error over every m and both ends of the numbers that are rounded to it."""
    m = np.arange(1 << FRACTION, (1 << (FRACTION + 2)) + 1)
    y = table.mantissa(m) * 2.0**-FRACTION
    ends = [np.sqrt((m + off) * 2.0**-FRACTION) for off in (-0.5, 0.0, 0.5)]
    return float(max(np.abs(y * end - 1).max() for end in ends))
