"""Any function in integers: a table of polynomials on segments of unequal width, continuous at the joints.

Integers flow in and out; `generator` makes the tables.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from edgesearch.numerics.format import Format, Ints
from edgesearch.numerics.packing import stored_bits
from edgesearch.numerics.polynomials import Method, horner

_STARTS = tuple(Format(bits, 0, signed) for bits in (16, 32) for signed in (False, True))
LISTED = 17  # bits of a source of which every input can be listed


@dataclass(frozen=True)
class Piecewise:
    """An approximated function on the integers `low`..`high`; beyond them it keeps its last value.

    With m = |x| where there is a mirror and m = x otherwise, held to low..high, s the last segment with starts[s] <= m
    and t = (m - starts[s]) << scales[s]: from the last coefficient on a = round_shift(a * t + (c << shift), shift), and
    round_shift(a * t + (c0 << rise), shift) at the end. mirror - y for x < 0; the result is held between `bounds`.

    Attributes:
        function: its name or expression.
        label: the same as a name for files.
        method: `gpc` or `minimax`.
        source, to: formats of x and of the value.
        interval: low and high.
        mirror: the integer c of f(-x) = c - f(x), if there is one.
        bounds: the least and the greatest value.
        starts: (segments,), the first integer of each.
        scales: (segments,), which make t as large as `wide` allows.
        shifts: of each Horner step, that of the last coefficient first.
        rise: by which a constant term is shifted.
        coefficients: (segments, degree + 1), constant first, of 16 bits, or 32 if `wide`.
        wide: whether sums need 64 bits; otherwise 32 are enough.
        error: worst error, absolute or `relative`: over every x, or for a source of more than 17 bits a bound on it.
        jump: largest difference of two polynomials at their joint, in units of the last place.
        bisected: segments that bisection alone would have taken.
        worst_at: x of the worst error (of those looked at).
    """

    function: str
    label: str
    method: Method
    source: Format
    to: Format
    interval: tuple[int, int]
    mirror: int | None
    bounds: tuple[int, int]
    starts: Ints
    scales: Ints
    shifts: tuple[int, ...]
    rise: int
    coefficients: Ints
    wide: bool
    relative: bool
    error: float
    jump: int
    bisected: int
    worst_at: float

    @property
    def flash_bytes(self) -> int:
        """Bytes of starts, scales and coefficients."""
        own = stored_bits(self.start_format) // 8 + 1
        return int(len(self.starts) * own + self.coefficients.size * (4 if self.wide else 2))

    @property
    def start_format(self) -> Format:
        """The integers that hold the starts: 16 or 32 bits, signed where one is negative."""
        low, high = int(self.starts[0]), int(self.starts[-1])
        return next(f for f in _STARTS if f.low <= low and high <= f.high)

    def __call__(self, x: Ints) -> Ints:
        """Return the function of integers x in format `source`, in format `to`; others count as the nearest in it."""
        if self.source.bits > LISTED:
            return self.computed(x)
        return np.asarray(np.take(self._listed, np.asarray(x) - self.source.low, mode="clip"), np.int64)

    @cached_property
    def _listed(self) -> Ints:
        return self.computed(np.arange(self.source.low, self.source.high + 1))

    def computed(self, x: Ints) -> Ints:
        """Return the same, computed for each x."""
        x = np.clip(x, self.source.low, self.source.high)
        m = np.clip(np.abs(x) if self.mirror is not None else x, *self.interval)
        y = self.polynomial(np.searchsorted(self.starts, m, side="right") - 1, m)
        if self.mirror is not None:
            y = np.where(x < 0, self.mirror - y, y)
        return np.clip(y, *self.bounds)

    def polynomial(self, segment: Ints, m: Ints) -> Ints:
        """Return what the polynomials of segments give at integers m, not held between bounds."""
        t = (m - self.starts[segment]) << self.scales[segment]
        return horner(self.coefficients[segment], t, self.shifts, self.rise)
