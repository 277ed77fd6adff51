"""Elements of unequal width: recursive bisection until the error holds, then joints moved as far as it allows.

A function, an interval of integers and an error flow in; elements with real polynomials flow out, continuous at joints:
each polynomial is the best one that takes the joint's value. Multi-element generalised polynomial chaos with a uniform
density (Wan and Karniadakis, J. Comput. Phys. 209, 2005) is the same with projection as the method.
"""

from dataclasses import dataclass

import numpy as np

from edgesearch.errors import ConfigError
from edgesearch.numerics.format import Floats, Format
from edgesearch.numerics.functions import Function
from edgesearch.numerics.polynomials import Method, Points

_CHECKED = (1 - np.cos(np.pi * np.arange(49) / 48)) / 2


@dataclass(frozen=True)
class Element:
    """Integers start..end with a polynomial in u = (x - start) / (end - start), constant first."""

    start: int
    end: int
    coefficients: Floats

    @property
    def left(self) -> float:
        """The value at the start."""
        return float(self.coefficients[0])

    @property
    def right(self) -> float:
        """The value at the end."""
        return float(self.coefficients.sum())


class Mesher:
    """Divides `low`..`high` of a source format into elements no wider than `widest`.

    Attributes:
        bisected: how many elements recursive bisection alone took, the last time.
    """

    def __init__(
        self, function: Function, source: Format, interval: tuple[int, int], last: float, degree: int, method: Method
    ) -> None:
        """`last` is the value that the last element ends in."""
        self.function, self.source, self.low, self.high = function, source, *interval
        self.last, self.degree, self.bisected = last, degree, 0
        self._points = Points(method, degree)
        self._vander = np.vander(_CHECKED, degree + 1, increasing=True)

    def elements(self, error: float, widest: int, most: int) -> list[Element]:
        """Return the elements, each with an error of at most `error` at the points looked at.

        Raises:
            ConfigError: bisection takes far more than `most` elements.
        """
        joints = self._joints(error, widest, 8 * most + 64)
        self.bisected = len(joints) - 1
        found: list[Element] = []
        start, left = self.low, float(self._at(np.array([float(self.low)]))[0])
        while start < self.high:
            element = self._widened(start, left, error, widest, [j for j in joints if j > start])
            found.append(element)
            start, left = element.end, element.right
        return found

    def _joints(self, error: float, widest: int, most: int) -> list[int]:
        joints, waiting = [self.low], [(self.low, self.high)]
        while waiting:
            start, end = waiting.pop()
            if end - start > 1 and (end - start > widest or self._tried(start, end, None)[1] > error):
                middle = (start + end) // 2
                waiting += [(middle, end), (start, middle)]
            else:
                joints.append(end)
            if len(joints) + len(waiting) > most:
                raise ConfigError(
                    f"{self.function.name} within {error:.3g} takes more than {most} segments of degree {self.degree}; "
                    "raise error, approximate.degree or approximate.segments"
                )
        return joints

    def _widened(self, start: int, left: float, error: float, widest: int, ends: list[int]) -> Element:
        """The longest element from `start`: over whole elements of the bisection first, then to the integer."""
        low, found = start, None
        furthest = min(self.high, start + widest)
        for end in [*(e for e in ends if e < furthest), furthest]:
            element, worst = self._tried(start, end, left)
            if worst > error:
                high = end
                break
            low, found = end, element
        else:
            high = low
        while high - low > 1:
            middle = (low + high) // 2
            element, worst = self._tried(start, middle, left)
            if worst <= error:
                low, found = middle, element
            else:
                high = middle
        return found or self._tried(start, start + 1, left)[0]

    def _tried(self, start: int, end: int, left: float | None) -> tuple[Element, float]:
        """The element and its largest error; it begins with the function's value if `left` is not given."""
        x = start + (end - start) * self._points.u
        values, checked = self._at(x), self._at(start + (end - start) * _CHECKED)
        scale, weight = self._scale(values), self._scale(checked)
        first = float(checked[0]) if left is None else left
        last = self.last
        if end < self.high:
            # errors of an odd degree have the same sign at both ends: a joint between them is halfway
            last = float(checked[-1])
            if self.degree % 2:
                free = self._points.free(values, scale)
                last += float(free[0] - checked[0] + free.sum() - checked[-1]) / 2
        element = Element(start, end, self._points.joined(values, scale, first, last))
        return element, float((np.abs(self._vander @ element.coefficients - checked) / weight).max())

    def _at(self, x: Floats) -> Floats:
        values = self.function(x * self.source.step)
        if not np.isfinite(values).all():
            where = x[~np.isfinite(values)][0] * self.source.step
            raise ConfigError(
                f"{self.function.name} must be finite on its interval, got another value at x = {where:.6g}; "
                "set approximate.low and approximate.high"
            )
        return values

    def _scale(self, values: Floats) -> Floats:
        return np.abs(values) if self.function.relative else np.ones_like(values)
