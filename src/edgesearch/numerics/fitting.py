"""Real polynomials on elements in, a table of integers with its measured error out.

The constant term is the value of a joint, and the linear term is chosen so that a segment ends in the value that the
next one begins with: what is left at a joint is below one unit of the last place. Where a source has too many integers
to list, the error is a bound: the worst at equally spaced integers, and what the curvature and the roundings can add.
"""

import dataclasses
import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from edgesearch.numerics.format import Floats, Format, Ints, round_shift
from edgesearch.numerics.functions import Function
from edgesearch.numerics.mesh import Element
from edgesearch.numerics.piecewise import LISTED, Piecewise
from edgesearch.numerics.polynomials import Method, horner

_DENSE = 4097  # integers of a segment that are looked at where there are more
_GUARD = (3, 12)  # most fraction bits that a constant term of 16 or of 32 bits has beyond the value's
_NUDGES = np.arange(-2, 3)


class Fitting:
    """Coefficients of 16 bits and sums of 32, or of 32 and 64 where a format has more bits than that holds."""

    def __init__(self, function: Function, source: Format, to: Format, method: Method) -> None:
        self.function, self.source, self.to, self.method = function, source, to, method
        self.wide = source.bits > LISTED or to.bits - to.signed > 15
        self.coefficient = Format(32 if self.wide else 16, 0)
        self.position = 30 if self.wide else 15  # bits of t
        self.sum = 2.0 ** (62 if self.wide else 31)

    @property
    def widest(self) -> int:
        """The most integers of a segment."""
        return 1 << self.position

    def table(self, elements: Sequence[Element], bisected: int) -> Piecewise:
        """Return the table, with its error."""
        widths = np.array([e.end - e.start for e in elements])
        scales = np.array([self.position - (int(w) - 1).bit_length() for w in widths])
        ends = widths << scales
        share = ends * 2.0**-self.position
        real = np.stack([e.coefficients for e in elements])
        real = real / share[:, None] ** np.arange(real.shape[1])
        last = elements[-1].right
        fractions = self._fractions(real)
        coefficients, shifts, rise = self._integers(real, fractions, last, ends)
        mirror = self.function.mirror
        table = Piecewise(
            function=self.function.name,
            label=self.function.label,
            method=self.method,
            source=self.source,
            to=self.to,
            interval=(elements[0].start, elements[-1].end),
            mirror=None if mirror is None else mirror << self.to.fraction,
            bounds=self._bounds(),
            starts=np.array([e.start for e in elements]),
            scales=scales,
            shifts=shifts,
            rise=rise,
            coefficients=coefficients,
            wide=self.wide,
            relative=self.function.relative,
            error=0.0,
            jump=0,
            bisected=bisected,
            worst_at=0.0,
        )
        error, at = self._measured(table) if self.source.bits <= LISTED else self._bounded(table, fractions)
        return dataclasses.replace(table, error=error, worst_at=at, jump=_jump(table))

    def _bounds(self) -> tuple[int, int]:
        function, to = self.function, self.to
        if function.mirror is None or function.settles is None:
            return to.low, to.high
        least, most = to.integers(np.array([function.mirror - function.settles, function.settles])).tolist()
        return least, most

    def _fractions(self, real: Floats) -> list[int]:
        """Fraction bits of each coefficient: as many as it, its products and their sums have room for."""
        top = np.abs(real).max(axis=0)
        top[1] += 2 * self.to.step  # the ends of segments are rounded
        sums = np.cumsum(top[::-1])[::-1]  # of the terms from each on
        room = (self.sum - 1) * 2.0**-self.position
        guard = min(_GUARD[self.wide], _fitting(top[0], self.coefficient.high) - self.to.fraction)
        fractions = [self.to.fraction + max(0, guard)]
        for k in range(1, len(top)):
            whole = sums[0] + self.to.step if k == 1 else sums[k]
            own = min(_fitting(top[k], self.coefficient.high), _fitting(float(whole), room))
            fractions.append(min(own, fractions[-1] + self.position))
        for k in range(len(top) - 1, 0, -1):
            fractions[k - 1] = min(fractions[k - 1], fractions[k] + self.position)
        return fractions

    def _integers(
        self, real: Floats, fractions: list[int], last: float, ends: Ints
    ) -> tuple[Ints, tuple[int, ...], int]:
        """Coefficients, Horner's shifts and that of the constant term; linear terms lead to the next start."""
        coefficients = np.stack(
            [Format(self.coefficient.bits, f).integers(real[:, k]) for k, f in enumerate(fractions)], axis=1
        )
        shifts = [self.position + fractions[k] - fractions[k - 1] for k in range(len(fractions) - 1, 0, -1)]
        rise = shifts[-1]
        shifts[-1] += fractions[0] - self.to.fraction
        following = np.append(coefficients[1:, 0], np.floor(last * 2.0 ** fractions[0] + 0.5).astype(np.int64))
        wanted = (following - coefficients[:, 0]) << rise
        # a * t must be `wanted`, where a is the linear term and what comes before it
        before = np.zeros_like(ends)
        if len(fractions) > 2:
            before = round_shift(horner(coefficients[:, 2:], ends, shifts[:-2]) * ends, shifts[-2])
        linear = (wanted // ends - before)[:, None] + _NUDGES
        left = np.abs((linear + before[:, None]) * ends[:, None] - wanted[:, None])
        chosen = np.take_along_axis(linear, left.argmin(axis=1)[:, None], axis=1)[:, 0]
        coefficients[:, 1] = np.clip(chosen, self.coefficient.low, self.coefficient.high)
        return coefficients, tuple(shifts), rise

    def _measured(self, table: Piecewise) -> tuple[float, float]:
        """The worst error over every x, and where."""
        low, high = table.interval
        if table.mirror is not None:
            low, high = self.source.low, self.source.high
        x = np.arange(low, high + 1)
        true = self.function(self.source.numbers(x))
        error = np.abs(self.to.numbers(table.computed(x)) - true)
        error = error / np.abs(true) if self.function.relative else error
        worst = int(error.argmax())
        return float(error[worst]), float(x[worst] * self.source.step)

    def _bounded(self, table: Piecewise, fractions: list[int]) -> tuple[float, float]:
        """A bound on the error, and the worst place of those looked at."""
        rounding = 0.5 * self.to.step + sum(0.5 * 2.0**-f for f in fractions[1:-1])
        worst, at = 0.0, 0.0
        joints = [*table.starts.tolist(), table.interval[1]]
        for k, (start, end) in enumerate(pairwise(joints)):
            m = np.unique(np.linspace(start, end, _DENSE).round().astype(np.int64))
            t = ((m - start) << table.scales[k]) * 2.0**-self.position
            polynomial = np.polynomial.Polynomial(table.coefficients[k] * 2.0 ** -np.array(fractions, np.float64))
            true = self.function(self.source.numbers(m))
            error = np.abs(polynomial(t) - true)
            x = (m - start) * self.source.step
            bent = np.abs(polynomial.deriv(2)(t)).max() * (t[-1] / x[-1]) ** 2 if len(fractions) > 2 else 0.0
            between = np.diff(x).max() ** 2 / 8 * (bent + self._curvature(x, true)) if len(m) < end - start + 1 else 0.0
            own = float(error.max()) + float(between) + rounding
            if own > worst:
                worst, at = own, float(m[error.argmax()] * self.source.step)
        if self.function.settles is not None:
            beyond = abs(
                float(self.to.numbers(table.computed(np.array([self.source.high])))[0]) - self.function.settles
            )
            worst = max(worst, beyond)
        return worst, at

    def _curvature(self, x: Floats, values: Floats) -> float:
        if self.function.curvature is not None:
            return self.function.curvature
        slopes = np.diff(values) / np.diff(x)
        return 2 * float(np.abs(np.diff(slopes) / np.diff(x)[1:]).max(initial=0.0))


def _fitting(largest: float, most: float) -> int:
    """The most fraction bits with which `largest` is at most `most`."""
    return math.floor(math.log2(most / largest)) if largest > 0 else 30


def _jump(table: Piecewise) -> int:
    """The largest difference of neighbouring polynomials at their joint, and of the first and its mirror image."""
    joints, number = table.starts[1:], np.arange(len(table.starts))
    left = np.clip(table.polynomial(number[:-1], joints), *table.bounds)
    right = np.clip(table.polynomial(number[1:], joints), *table.bounds)
    jump = int(np.abs(left - right).max(initial=0))
    if table.mirror is not None and table.source.signed:
        y = int(table.computed(np.array([0]))[0])
        jump = max(jump, abs(table.mirror - 2 * y))
    return jump
