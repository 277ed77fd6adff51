"""The reciprocal square root in integers, with range reduction: its relative error is bounded over all positive inputs.

x = m 4^k with m in [1, 4): a polynomial on equal segments of m gives 1 / sqrt(m), and a shift by k the rest.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from edgesearch.errors import ConfigError
from edgesearch.numerics.format import Floats, Format, Ints, round_shift

_FRACTION = 14  # of m and of 1 / sqrt(m), both in 16 bits
_SPAN = 3 << _FRACTION  # of m - 1


@dataclass(frozen=True)
class RootTable:
    """An approximated reciprocal square root.

    Attributes:
        source, to: formats of x and of the value; x <= 0 gives the largest value.
        segment_bits: log2 of the integers in a segment of m - 1.
        shifts: of each Horner step, that of the last coefficient first.
        coefficients: (segments, order + 1), constant term first.
        error: worst relative error over every positive x, rounding to `to` and saturation left out.
    """

    source: Format
    to: Format
    segment_bits: int
    shifts: tuple[int, ...]
    coefficients: Ints
    error: float

    @property
    def flash_bytes(self) -> int:
        """Bytes of the coefficients."""
        return 2 * self.coefficients.size

    def reduced(self, x: Ints) -> tuple[Ints, Ints]:
        """Return 1 / sqrt(m), with 14 fraction bits, and k for x > 0."""
        exponent = np.frexp(x.astype(np.float64))[1].astype(np.int64) - 1 - self.source.fraction
        k = exponent >> 1
        up = _FRACTION - self.source.fraction - 2 * k
        m = np.where(up >= 0, x << np.maximum(up, 0), x >> np.maximum(-up, 0)) - (1 << _FRACTION)
        c, d = self.coefficients[m >> self.segment_bits], m & ((1 << self.segment_bits) - 1)
        y = c[..., -1]
        for n, shift in zip(range(c.shape[-1] - 2, -1, -1), self.shifts, strict=True):
            y = round_shift(y * d + (c[..., n] << shift), shift)
        return y, k

    def __call__(self, x: Ints) -> Ints:
        """Return 1 / sqrt(x) of integers x in format `source`, in format `to`."""
        y, k = self.reduced(np.maximum(x, 1))
        shift = k + _FRACTION - self.to.fraction
        down = (y + np.where(shift > 0, 1 << np.maximum(shift - 1, 0), 0)) >> np.maximum(shift, 0)
        found = np.where(shift > 0, down, y << np.clip(-shift, 0, 40))
        return np.where(x > 0, np.clip(found, self.to.low, self.to.high), self.to.high)


def bare_root(x: Ints) -> tuple[Ints, Ints]:
    """Return y with 14 fraction bits and k for integers x > 0 of up to 62 bits: 1 / sqrt(x) = y 2 ** -14 2 ** -k."""
    return approximate_root(Format(16, 0), Format(16, 14), 2e-4).reduced(x)


@cache
def approximate_root(source: Format, to: Format, error: float) -> RootTable:
    """Return the smallest table whose relative error is at most `error`.

    Args:
        source: format of x, at most 16 bits.
        to: format of the value.
        error: largest relative error wanted.

    Raises:
        ConfigError: x has more than 16 bits, or no table is good enough.
    """
    if source.bits > 16:
        raise ConfigError(f"a reciprocal square root takes at most 16 bits, got {source}; lower its format")
    tables = (_table(source, to, order, bits) for order in (1, 2) for bits in range(8, 16))
    found = [table for table in tables if table.error <= error]
    if not found:
        raise ConfigError(f"1 / sqrt(x) cannot be had within a relative error of {error:g}; allow 0.0002")
    return min(found, key=lambda table: (table.flash_bytes, table.error))


def _table(source: Format, to: Format, order: int, bits: int) -> RootTable:
    width, segments = 1 << bits, -(-_SPAN >> bits)
    real = np.stack([_interpolated(s * width, width, order) for s in range(segments)])
    tops = np.abs(real).max(axis=0)
    # each coefficient as fine as 16 bits allow, and at most 16 bits finer than the one before it
    fractions = [_FRACTION]
    for n in range(1, order + 1):
        fractions.append(min(14 - int(np.floor(np.log2(tops[n]))), fractions[-1] + 16))
    integers = np.stack([Format(16, f).integers(real[:, n]) for n, f in enumerate(fractions)], axis=1)
    shifts = tuple(fractions[n] - fractions[n - 1] for n in range(order, 0, -1))
    table = RootTable(source, to, bits, shifts, integers, 0.0)
    every = np.arange(1, source.high + 1)
    y, k = table.reduced(every)
    worst = np.abs(y * 2.0**-_FRACTION * 2.0**-k * np.sqrt(source.numbers(every)) - 1).max()
    return RootTable(source, to, bits, shifts, integers, float(worst))


def _interpolated(start: int, width: int, order: int) -> Floats:
    """Coefficients in powers of (integer m - 1 - start), constant first."""
    nodes = start + width / 2 * (1 + np.cos(np.pi * (np.arange(order + 1) + 0.5) / (order + 1)))
    values = 1.0 / np.sqrt(1.0 + nodes * 2.0**-_FRACTION)
    return np.asarray(np.polynomial.polynomial.polyfit(nodes - start, values, order), np.float64)
