"""Sigmoid and tanh of integer programs: polynomials on equal segments of |x|, a constant beyond the last one.

Coefficients are found by interpolation at Chebyshev nodes, rounded to 16 bits, and judged by the worst error over every
integer that the input format has. The function of a negative x follows by symmetry: tanh(-x) = -tanh(x), sigmoid(-x) =
1 - sigmoid(x).
"""

import math
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from edgesearch.errors import ConfigError
from edgesearch.numerics.format import Floats, Format, Ints, round_shift
from edgesearch.numerics.functions import NAMED
from edgesearch.numerics.polynomials import horner, interpolated

APPROXIMATED = tuple(NAMED)
SOURCE = Format(16, 11)  # +-16, beyond which sigmoid and tanh are 0 or 1 in 16 bits: one table serves every gate
_SOURCE = 16  # bits of x
_COEFFICIENT = 16  # bits
_MOST_SEGMENTS = 128
_MOST_ORDER, _MOST_SHIFT = 3, 30
_SUM = 1 << 31  # what no sum reaches
_FARTHEST = 1 << 17  # of the first |x| beyond the segments


@dataclass(frozen=True)
class Table:
    """An approximated function.

    With m = |x|, s = m >> segment_bits and d = m & (2 ** segment_bits - 1): from the last coefficient on,
    a = round_shift(a * d, shift) + c, and round_shift((a * d) + (c0 << shift), shift) at the end. From `limit` on the
    value is `last`. The result is held between `bounds`.

    Attributes:
        function: `sigmoid` or `tanh`.
        source, to: formats of x and of the value.
        segment_bits: log2 of the integers in a segment.
        shifts: of each Horner step, that of the last coefficient first.
        coefficients: (segments, order + 1), constant term first.
        limit: the first |x| beyond the segments.
        last: the value there.
        error: worst absolute error over every x of the format.
    """

    function: str
    source: Format
    to: Format
    segment_bits: int
    shifts: tuple[int, ...]
    coefficients: Ints
    limit: int
    last: int
    error: float

    @property
    def bounds(self) -> tuple[int, int]:
        """The least and the greatest value: those of the function, as far as the format has them."""
        one = 1 << self.to.fraction
        return max(self.to.low, -one if self.function == "tanh" else 0), min(self.to.high, one)

    @property
    def flash_bytes(self) -> int:
        """Bytes of the coefficients."""
        return 2 * self.coefficients.size

    @cached_property
    def is_sound(self) -> bool:
        """Whether every x has a segment, coefficients have 16 bits and no sum more than 32."""
        segments, columns = self.coefficients.shape if self.coefficients.ndim == 2 else (0, 0)
        known = self.function in NAMED and self.source.signed
        if not known or self.source.bits > _SOURCE or not 0 <= self.to.fraction <= _SOURCE:
            return False
        if not (2 <= columns <= 1 + _MOST_ORDER and segments >= 1 and 0 <= self.segment_bits <= _SOURCE):
            return False
        if len(self.shifts) != columns - 1 or not all(0 <= shift <= _MOST_SHIFT for shift in self.shifts):
            return False
        if not 1 <= self.limit <= min(segments << self.segment_bits, _FARTHEST) or abs(self.last) >= _SUM >> 1:
            return False
        lowest, highest = -(1 << (_COEFFICIENT - 1)), (1 << (_COEFFICIENT - 1)) - 1
        if self.coefficients.min() < lowest or self.coefficients.max() > highest:
            return False
        return math.isfinite(self.error) and self._widest() < _SUM

    def _widest(self) -> int:
        """The largest magnitude of any product, sum and value of the polynomial, over every x."""
        m = np.arange(min(self.limit, self.source.largest + 1))
        c, d = self.coefficients[m >> self.segment_bits], m & ((1 << self.segment_bits) - 1)
        a, widest = c[:, -1], 0
        for k, shift in zip(range(c.shape[1] - 2, -1, -1), self.shifts, strict=True):
            parts = [a * d, c[:, 0] << shift if k == 0 else np.zeros_like(a)]
            widest = max(widest, *(int(np.abs(part).max()) + (1 << shift) for part in (*parts, sum(parts))))
            if widest >= _SUM:
                return widest
            a = round_shift(parts[0] + parts[1], shift) + (c[:, k] if k else 0)
        return max(widest, int(np.abs(a).max()) + (1 << self.to.fraction))

    def __call__(self, x: Ints) -> Ints:
        """Return the function of integers x in format `source`, in format `to`."""
        magnitude = np.abs(x)
        inside = np.minimum(magnitude, self.limit - 1)
        c = self.coefficients[inside >> self.segment_bits]
        d = inside & ((1 << self.segment_bits) - 1)
        y = np.where(magnitude < self.limit, horner(c, d, self.shifts), self.last)
        mirrored = (1 << self.to.fraction) - y if self.function == "sigmoid" else -y
        return np.clip(np.where(x < 0, mirrored, y), *self.bounds)


def exact(function: str, x: Floats) -> Floats:
    """Return the function in floating point."""
    return NAMED[function](x)


@cache
def approximate(function: str, source: Format, to: Format, error: float) -> Table:
    """Return the smallest table with an error of at most `error`, or 1.25 steps of the output if that is more.

    Args:
        function: `sigmoid` or `tanh`.
        source: format of x, at most 16 bits.
        to: format of the value.
        error: largest absolute error wanted.

    Raises:
        ConfigError: the function is unknown, x has more than 16 bits, or no table is good enough.
    """
    if function not in NAMED:
        raise ConfigError(f"an approximated function is one of {', '.join(NAMED)}, got {function}; use quantTanh")
    if not 0 <= to.fraction <= 16:
        raise ConfigError(f"an approximated function gives 0 to 16 fraction bits, got {to}; give it another format")
    if source.bits > _SOURCE:
        raise ConfigError(f"an approximated function takes at most 16 bits, got {source}; lower its format")
    wanted = max(error, 1.25 * to.step)
    found = [
        table
        for order in (1, 2)
        for bits in range(source.bits)
        if (table := _table(function, source, to, order, bits)) is not None and table.error <= wanted
    ]
    if not found:
        raise ConfigError(
            f"{function} from {source} to {to} cannot be had within {error:g}; raise quant.function_error"
        )
    return min(found, key=lambda table: (table.flash_bytes, table.error))


def _table(function: str, source: Format, to: Format, order: int, bits: int) -> Table | None:
    every = np.arange(source.low, source.high + 1)
    true = exact(function, source.numbers(every))
    settled = np.abs(true - exact(function, np.array([64.0]))[0]) < 0.5 * to.step
    limit = int(every[settled].min()) if settled.any() and settled[-1] else source.largest + 1
    segments = -(-limit // (1 << bits))
    if segments > _MOST_SEGMENTS:
        return None

    def at(x: Floats) -> Floats:
        return exact(function, x * source.step)

    real = np.stack([interpolated(at, s << bits, (s + 1) << bits, order) for s in range(segments)])
    rounded = _rounded(real, to, order)
    if rounded is None:
        return None
    coefficients, shifts = rounded
    last = int(to.integers(exact(function, source.numbers(np.array([max(limit, source.high)]))))[0])
    table = Table(function, source, to, bits, shifts, coefficients, segments << bits, last, 0.0)
    worst = float(np.abs(to.numbers(table(every)) - true).max())
    return Table(function, source, to, bits, shifts, coefficients, segments << bits, last, worst)


def _rounded(real: Floats, to: Format, order: int) -> tuple[Ints, tuple[int, ...]] | None:
    """Coefficients as 16-bit integers, each with as many fraction bits as fit, and the shifts between them."""
    fractions = [to.fraction]
    for k in range(1, order + 1):
        top = float(np.abs(real[:, k]).max())
        fractions.append(_COEFFICIENT - 2 - math.floor(math.log2(top)) if top > 0 else fractions[-1])
    fractions[1] = min(fractions[1], to.fraction + 15)
    if order == 2:
        fractions[2] = min(fractions[2], fractions[1] + 15)
    shifts = tuple(fractions[k] - fractions[k - 1] for k in range(order, 0, -1))
    if min(shifts) < 0:
        return None
    columns = [Format(_COEFFICIENT, f).integers(real[:, k]) for k, f in enumerate(fractions)]
    return np.stack(columns, axis=1), shifts
