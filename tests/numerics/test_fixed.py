"""Fixed-point tensors against Python's integers."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesearch.errors import ConfigError
from edgesearch.numerics.fixed import Arithmetic, Fixed, Product, constant, dot, greater
from edgesearch.numerics.format import Format

formats = st.builds(Format, st.integers(2, 32), st.integers(-4, 40))


@st.composite
def tensors(draw: st.DrawFn, shape: tuple[int, ...]) -> Fixed:
    """A tensor with many of its format's extremes."""
    format = draw(formats)
    size = int(np.prod(shape))
    extremes = st.sampled_from([format.low, format.high, 0, -1])
    integers = draw(st.lists(extremes | st.integers(format.low, format.high), min_size=size, max_size=size))
    return Fixed(np.array(integers, np.int64).reshape(shape), format)


def rounded(total: int, fraction: int, to: Format) -> int:
    """The rule in rational numbers."""
    return min(max(floor(Fraction(total) * Fraction(2) ** (to.fraction - fraction) + Fraction(1, 2)), to.low), to.high)


def python(values: Fixed) -> np.ndarray:
    return values.integers.astype(object)


@settings(deadline=None, max_examples=200)
@given(st.data(), st.integers(1, 5), st.integers(0, 40), st.integers(1, 4), formats)
def test_matrix_products_are_exact(data: st.DataObject, n: int, k: int, m: int, to: Format) -> None:
    a, b = data.draw(tensors((n, k))), data.draw(tensors((k, m)))
    exact = python(a) @ python(b) if k else np.zeros((n, m), object)
    assert (dot(a, b).astype(object) == exact).all()
    arithmetic = Arithmetic()
    found = arithmetic.matmul(a, b, to, "place")
    fraction = a.format.fraction + b.format.fraction
    assert found.integers.tolist() == [[rounded(v, fraction, to) for v in row] for row in exact]
    shift = Fraction(2) ** (to.fraction - fraction)
    beyond = [floor(v * shift + Fraction(1, 2)) for v in exact.ravel()]
    assert arithmetic.overflows["place"] == sum(not to.low <= v <= to.high for v in beyond)


@settings(deadline=None, max_examples=200)
@given(st.data(), formats, st.integers(1, 3), st.integers(-3, 3))
def test_chains_of_products_are_rounded_once(data: st.DataObject, to: Format, count: int, power: int) -> None:
    terms, exact = [], [Fraction(0)] * 3
    for index in range(count):
        factors = tuple(data.draw(tensors((3,))) for _ in range(data.draw(st.integers(0, 3))))
        terms.append(Product(factors, negative=index == 1, power=power))
        for unit in range(3):
            value = Fraction(2) ** power * (-1 if index == 1 else 1)
            for factor in factors:
                value *= Fraction(int(factor.integers[unit])) / Fraction(2) ** factor.format.fraction
            exact[unit] += value
    found = Arithmetic().combine(terms, to).integers
    wanted = [floor(value * Fraction(2) ** to.fraction + Fraction(1, 2)) for value in exact]
    assert np.broadcast_to(found, 3).tolist() == [min(max(v, to.low), to.high) for v in wanted]


@settings(deadline=None)
@given(st.data(), formats)
def test_elementwise_operations(data: st.DataObject, to: Format) -> None:
    a, b = data.draw(tensors((4,))), data.draw(tensors((4,)))
    arithmetic = Arithmetic()
    pairs = list(zip(a.integers.tolist(), b.integers.tolist(), strict=True))
    up, other = max(0, b.format.fraction - a.format.fraction), max(0, a.format.fraction - b.format.fraction)
    finest = max(a.format.fraction, b.format.fraction)
    sums = [rounded((x << up) + (y << other), finest, to) for x, y in pairs]
    differences = [rounded((x << up) - (y << other), finest, to) for x, y in pairs]
    products = [rounded(x * y, a.format.fraction + b.format.fraction, to) for x, y in pairs]
    assert arithmetic.add(a, b, to).integers.tolist() == sums
    assert arithmetic.subtract(a, b, to).integers.tolist() == differences
    assert arithmetic.multiply(a, b, to).integers.tolist() == products
    assert arithmetic.sum(a, 0, to).integers == rounded(int(python(a).sum()), a.format.fraction, to)
    assert arithmetic.convert(a, to).integers.tolist() == [rounded(x, a.format.fraction, to) for x, _ in pairs]
    assert greater(a, b).tolist() == [(x << up) > (y << other) for x, y in pairs]


def test_long_sums_of_extremes_do_not_wrap_around() -> None:
    least = Fixed(np.full((2, 4096), -(2**31)), Format(32, 0))
    assert (dot(least, Fixed(least.integers.T, least.format)) == 2**74).all()
    arithmetic = Arithmetic()
    found = arithmetic.matmul(least, Fixed(least.integers.T, least.format), Format(32, 0), "extremes")
    assert (found.integers == 2**31 - 1).all()
    assert arithmetic.overflows == {"extremes": 4}


def test_a_sum_needs_a_term() -> None:
    with pytest.raises(ConfigError, match="a sum needs a term"):
        Arithmetic().combine([], Format(8, 0))


@given(st.floats(1e-12, 1e12))
def test_constants_keep_their_leading_bits(value: float) -> None:
    mantissa, exponent = constant(value)
    assert 2**14 <= mantissa < 2**15
    assert abs(mantissa * 2.0**-exponent - value) <= 2**-15 * value
