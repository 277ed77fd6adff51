"""Fixed-point tensors: sums of products in wide integers, one rounding, saturation that is counted.

Matrix products are exact: float64 products of pieces short enough for its 53 bits, which is many times faster than
int64. Where a sum could leave 62 bits, it is formed of Python's integers.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesearch.errors import ConfigError
from edgesearch.numerics.format import Floats, Format, Ints
from edgesearch.numerics.rounding import Rounding

_EXACT = 53  # bits of float64
_CONSTANT = 15  # bits of a positive constant
_LEAST, _MOST = np.minimum.reduce, np.maximum.reduce  # (half the time of the arrays' own methods)
_WIDE = 62  # bits of a sum in int64, its rounding included


@dataclass(frozen=True)
class Fixed:
    """Integers of any shape in a format of at most 32 bits."""

    integers: Ints
    format: Format

    @classmethod
    def of(cls, numbers: npt.ArrayLike, format: Format) -> "Fixed":
        """Return the numbers, rounded to the nearest integers of the format and saturated."""
        return cls(format.integers(numbers), format)

    @property
    def numbers(self) -> Floats:
        """What the integers stand for."""
        return self.format.numbers(self.integers)

    @property
    def room(self) -> int:
        """Bits of the largest magnitude that the format has, sign left out."""
        return self.format.bits - self.format.signed

    @cached_property
    def bits(self) -> int:
        """Bits of the largest magnitude that is there, sign left out."""
        return magnitude_bits(self.integers)


@dataclass(frozen=True)
class Product:
    """+-2 ** power times the product of `factors`, which broadcast; without factors that number itself."""

    factors: tuple[Fixed, ...]
    negative: bool = False
    power: int = 0

    @property
    def fraction(self) -> int:
        """Fraction bits of the exact product."""
        return sum(factor.format.fraction for factor in self.factors) - self.power


class Arithmetic:
    """Operations on fixed-point tensors. `overflows` counts, by place, the results that had to be saturated.

    Args:
        rounding: how results are rounded; None is the rule.
    """

    def __init__(self, rounding: Rounding | None = None) -> None:
        self.rounding = rounding or Rounding()
        self.overflows: Counter[str] = Counter()

    def store(self, total: npt.NDArray[Any], fraction: int, to: Format, place: str) -> Fixed:
        """Round exact sums with `fraction` fraction bits to a format: the one place where anything is lost."""
        up = to.fraction - fraction
        if -up >= _WIDE or (up > 0 and magnitude_bits(total) + up > _WIDE):
            total = total.astype(object)
        rounded = np.asarray(self.rounding(total, -up))
        if rounded.size and (_LEAST(rounded, axis=None) < to.low or _MOST(rounded, axis=None) > to.high):
            self.overflows[place] += int(((rounded < to.low) | (rounded > to.high)).sum())
            rounded = np.clip(rounded, to.low, to.high)
        return Fixed(np.asarray(rounded, np.int64), to)

    def matmul(self, a: Fixed, b: Fixed, to: Format, place: str = "matmul") -> Fixed:
        """Return a @ b for a (..., n, k) and b (..., k, m), rounded once."""
        return self.store(dot(a, b), a.format.fraction + b.format.fraction, to, place)

    def combine(self, terms: Sequence[Product], to: Format, place: str = "combine") -> Fixed:
        """Return the sum of products, rounded once: a chain of multiply-adds.

        Raises:
            ConfigError: no term.
        """
        if not terms:
            raise ConfigError("a sum needs a term, got none; give it one")
        fraction = max(term.fraction for term in terms)
        spare = len(terms).bit_length() + 1
        bits = max(sum(f.room for f in term.factors) + fraction - term.fraction for term in terms) + spare
        if bits > _WIDE:
            bits = max(sum(f.bits for f in term.factors) + fraction - term.fraction for term in terms) + spare
        exact = _integers(bits)
        total: npt.NDArray[Any] = np.zeros((), exact)
        for term in terms:
            product: npt.NDArray[Any] = np.ones((), exact)
            for factor in term.factors:
                product = product * factor.integers.astype(exact, copy=False)
            product = product << (fraction - term.fraction)
            total = total - product if term.negative else total + product
        return self.store(total, fraction, to, place)

    def add(self, a: Fixed, b: Fixed, to: Format, place: str = "add") -> Fixed:
        """Return a + b."""
        return self.combine([Product((a,)), Product((b,))], to, place)

    def subtract(self, a: Fixed, b: Fixed, to: Format, place: str = "subtract") -> Fixed:
        """Return a - b."""
        return self.combine([Product((a,)), Product((b,), negative=True)], to, place)

    def multiply(self, a: Fixed, b: Fixed, to: Format, place: str = "multiply") -> Fixed:
        """Return a * b."""
        return self.combine([Product((a, b))], to, place)

    def sum(self, a: Fixed, axis: int | tuple[int, ...], to: Format, place: str = "sum") -> Fixed:
        """Return the sum of a over axes."""
        return self.store(a.integers.sum(axis=axis), a.format.fraction, to, place)

    def convert(self, a: Fixed, to: Format, place: str = "convert") -> Fixed:
        """Return a in another format."""
        return self.store(a.integers, a.format.fraction, to, place)


def greater(a: Fixed, b: Fixed) -> npt.NDArray[np.bool_]:
    """Tell where a > b, exactly, whatever their formats."""
    fraction = max(a.format.fraction, b.format.fraction)
    up = [fraction - x.format.fraction for x in (a, b)]
    kind = _integers(max(x.bits + shift for x, shift in zip((a, b), up, strict=True)) + 1)
    left, right = (x.integers.astype(kind, copy=False) << shift for x, shift in zip((a, b), up, strict=True))
    return np.asarray(left > right, np.bool_)


def dot(a: Fixed, b: Fixed) -> npt.NDArray[Any]:
    """Return a @ b exactly, with the sum of both fractions: int64, or Python's integers where 62 bits could not do."""
    sums = a.integers.shape[-1].bit_length()
    fits = a.room + b.room + sums < _EXACT
    a_bits, b_bits = (a.room, b.room) if fits else (a.bits, b.bits)
    return _dot(a.integers, b.integers, a_bits, b_bits, _integers(a_bits + b_bits + sums + 1))


def constant(value: float, bits: int = _CONSTANT) -> tuple[int, int]:
    """Return m and e, m of `bits` bits, so that m * 2 ** -e is closest to a positive value."""
    exponent = bits - math.frexp(value)[1]
    mantissa = math.floor(math.ldexp(value, exponent) + 0.5)
    return (mantissa >> 1, exponent - 1) if mantissa.bit_length() > bits else (mantissa, exponent)


def magnitude_bits(integers: npt.NDArray[Any]) -> int:
    """Return the bits of the largest magnitude, sign left out."""
    return max(int(integers.max()), ~int(integers.min())).bit_length() if integers.size else 0


def _integers(bits: int) -> npt.DTypeLike:
    return np.int64 if bits <= _WIDE else object


def _dot(a: Ints, b: Ints, a_bits: int, b_bits: int, kind: npt.DTypeLike) -> npt.NDArray[Any]:
    """a @ b by float64 where the sums fit into it, else by pieces of the longer operand."""
    if a_bits + b_bits + a.shape[-1].bit_length() < _EXACT:
        return (a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64).astype(kind, copy=False)
    if a_bits < b_bits:
        low = b_bits // 2
        parts = _dot(a, b >> low, a_bits, b_bits - low, kind), _dot(a, b & ((1 << low) - 1), a_bits, low, kind)
    else:
        low = a_bits // 2
        parts = _dot(a >> low, b, a_bits - low, b_bits, kind), _dot(a & ((1 << low) - 1), b, low, b_bits, kind)
    return np.asarray((parts[0] << low) + parts[1])
