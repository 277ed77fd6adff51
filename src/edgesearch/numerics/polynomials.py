"""Polynomials on an element: coefficients by interpolation, orthogonal projection or minimax; Horner in integers.

What flows in: a function at points; out: coefficients, constant first.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Literal

import numpy as np
from numpy.polynomial import legendre

from edgesearch.numerics.format import Floats, Ints, round_shift

Method = Literal["gpc", "minimax"]
METHODS: tuple[Method, ...] = ("gpc", "minimax")
_DENSE = 65  # points on which a minimax fit is levelled
_EXCHANGES = 12


def interpolated(evaluate: Callable[[Floats], Floats], start: int, end: int, order: int) -> Floats:
    """Return the polynomial in integers x - start through `evaluate` at the Chebyshev nodes of start .. end - 1."""
    nodes = (start + end - 1) / 2 + (end - start) / 2 * np.cos(np.pi * (np.arange(order + 1) + 0.5) / (order + 1))
    if end - start <= order:
        nodes = start + np.arange(order + 1.0)
    return np.asarray(np.polynomial.polynomial.polyfit(nodes - start, evaluate(nodes), order), np.float64)


def horner(coefficients: Ints, d: Ints, shifts: Sequence[int], rise: int | None = None) -> Ints:
    """Return the polynomials (..., order + 1) at integers d (...), one rounding a multiply-add.

    Args:
        coefficients: constant first.
        d: the variable.
        shifts: of each step, that of the last coefficient first.
        rise: how far the constant term is shifted up in the last step; as far as that step shifts down if not given.
    """
    a = coefficients[..., -1]
    for k, shift in zip(range(coefficients.shape[-1] - 2, -1, -1), shifts, strict=True):
        if k or rise is None:  # (the same as rounding the sum, and no sum is wider than the product)
            a = round_shift(a * d, shift) + coefficients[..., k]
        else:
            a = round_shift(a * d + (coefficients[..., 0] << rise), shift)
    return a


class Points:
    """Where a fit looks at an element, with the basis of Legendre polynomials there.

    Attributes:
        u: positions in [0, 1].
        weights: of the quadrature for `gpc`; none for `minimax`.
    """

    def __init__(self, method: Method, degree: int) -> None:
        """Gauss-Legendre nodes for a projection, Chebyshev extrema for minimax."""
        if method == "gpc":
            xi, self.weights = legendre.leggauss(2 * degree + 8)
        else:
            xi, self.weights = -np.cos(np.pi * np.arange(_DENSE) / (_DENSE - 1)), np.zeros(0)
        self.u = (1 + xi) / 2
        self._free: Floats = np.asarray(legendre.legvander(xi, degree), np.float64)
        self._bubbles = (1 - xi * xi)[:, None] * legendre.legvander(xi, degree - 2) if degree > 1 else None
        self._powers, self._bubble_powers = _powers(degree)

    def free(self, values: Floats, scale: Floats) -> Floats:
        """Return the coefficients in u of the best polynomial; errors count divided by `scale`."""
        return np.asarray(self._solved(self._free, values, scale) @ self._powers, np.float64)

    def joined(self, values: Floats, scale: Floats, left: float, right: float) -> Floats:
        """Return those of the best polynomial that is `left` at u = 0 and `right` at u = 1."""
        coefficients = np.zeros(self._free.shape[1])
        coefficients[:2] = left, right - left
        if self._bubbles is not None:
            rest = np.asarray(values - left - (right - left) * self.u, np.float64)
            coefficients += self._solved(self._bubbles, rest, scale) @ self._bubble_powers
        return coefficients

    def _solved(self, basis: Floats, values: Floats, scale: Floats) -> Floats:
        basis, values = basis / scale[:, None], values / scale
        if len(self.weights):
            root = np.sqrt(self.weights)
            return np.asarray(np.linalg.lstsq(basis * root[:, None], values * root, rcond=None)[0], np.float64)
        return _levelled(basis, values)


def _levelled(basis: Floats, values: Floats) -> Floats:
    """Remez' exchange over the points: errors of alternating sign become equal at one point more than unknowns."""
    count = basis.shape[1]
    inner = np.linspace(0, len(values) - 1, count + 3).round().astype(int)[1:-1]
    best, least = np.zeros(count), np.inf
    for _ in range(_EXCHANGES):
        signs = (-1.0) ** np.arange(count + 1)
        system = np.concatenate([basis[inner], signs[:, None]], axis=1)
        try:
            solution = np.linalg.solve(system, values[inner])
        except np.linalg.LinAlgError:
            break
        error = values - basis @ solution[:-1]
        worst = float(np.abs(error).max())
        if worst < least:
            best, least = solution[:-1], worst
        if worst <= abs(solution[-1]) * (1 + 1e-4):
            break
        inner = _extrema(error, count + 1, inner)
    return best


def _extrema(error: Floats, count: int, before: "np.typing.NDArray[np.int64]") -> "np.typing.NDArray[np.int64]":
    """The largest error of each run of one sign; of too many runs the neighbours with the largest, else as before."""
    ends = np.flatnonzero(np.diff(np.sign(error)) != 0) + 1
    peaks = [int(run[np.abs(error[run]).argmax()]) for run in np.split(np.arange(len(error)), ends)]
    if len(peaks) < count:
        return before
    while len(peaks) > count:
        peaks.pop(0 if abs(error[peaks[0]]) < abs(error[peaks[-1]]) else -1)
    return np.array(peaks)


@cache
def _powers(degree: int) -> tuple[Floats, Floats]:
    """Legendre polynomials on [0, 1], and those times 1 - (2u - 1)^2, as rows of powers of u."""
    xi, bubble = np.polynomial.Polynomial([-1, 2]), np.polynomial.Polynomial([0, 4, -4])
    rows = [np.polynomial.Legendre.basis(k).convert(kind=np.polynomial.Polynomial)(xi) for k in range(degree + 1)]
    bubbles = [row * bubble for row in rows[: degree - 1]]

    def table(polynomials: "list[np.polynomial.Polynomial]") -> Floats:
        found = np.zeros((len(polynomials), degree + 1))
        for row, polynomial in zip(found, polynomials, strict=True):
            row[: len(polynomial.coef)] = polynomial.coef
        return found

    return table(rows), table(bubbles)
