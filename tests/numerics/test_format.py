"""Formats and the rounding rule against Python's exact fractions."""

import math
from fractions import Fraction

import numpy as np
import pytest

from edgesearch.errors import ModelFileError
from edgesearch.numerics.format import Format, round_shift

FORMATS = [Format(8, 7), Format(8, 7, signed=False), Format(16, 12), Format(4, -3), Format(2, 9), Format(32, 20)]


def half_up(number: Fraction) -> int:
    return math.floor(number + Fraction(1, 2))


@pytest.mark.parametrize("shift", [-20, -3, -1, 0, 1, 2, 3, 7, 31, 40])
def test_shifts_round_halves_upwards(shift: int) -> None:
    rng = np.random.default_rng(0)
    halves = [k * (1 << shift >> 1) for k in range(-9, 10)] if shift > 0 else []
    near = [h + d for h in halves for d in (-1, 1)]
    values = [*range(-40, 41), *halves, *near, *map(int, rng.integers(-(1 << 40), 1 << 40, 500))]
    found = round_shift(np.array(values, np.int64), shift)
    assert found.tolist() == [half_up(Fraction(v) / Fraction(2) ** shift) for v in values]


def test_halves_of_either_sign_by_hand() -> None:
    assert round_shift(np.array([-6, -5, -3, -2, -1, 1, 2, 3, 6]), 2).tolist() == [-1, -1, -1, 0, 0, 0, 1, 1, 2]
    assert round_shift(np.array([-3, -1, 1, 3]), 1).tolist() == [-1, 0, 1, 2]


@pytest.mark.parametrize("format", FORMATS, ids=str)
def test_limits_are_those_of_twos_complement(format: Format) -> None:
    every = 2**format.bits
    assert format.high - format.low + 1 == every
    assert format.low == (-every // 2 if format.signed else 0)
    assert format.largest == max(abs(format.low), format.high)
    assert Fraction(format.step) == Fraction(2) ** -format.fraction


@pytest.mark.parametrize("format", FORMATS, ids=str)
def test_numbers_become_the_nearest_integers_and_saturate(format: Format) -> None:
    rng = np.random.default_rng(1)
    numbers = rng.normal(size=2000) * format.step * format.high
    numbers = np.concatenate((numbers, (np.arange(-50, 50) + 0.5) * format.step, [0.0, 1e30, -1e30]))
    expected = [
        min(max(half_up(Fraction(float(x)) * Fraction(2) ** format.fraction), format.low), format.high) for x in numbers
    ]
    assert format.integers(numbers).tolist() == expected
    assert min(expected) == format.low
    assert max(expected) == format.high


@pytest.mark.parametrize("format", FORMATS, ids=str)
def test_integers_come_back_from_their_numbers(format: Format) -> None:
    integers = np.unique(np.linspace(format.low, format.high, 5000).astype(np.int64))
    numbers = format.numbers(integers)
    assert [Fraction(x) for x in numbers[:50]] == [Fraction(int(i)) * Fraction(format.step) for i in integers[:50]]
    np.testing.assert_array_equal(format.integers(numbers), integers)


@pytest.mark.parametrize("format", [*FORMATS, Format(1, 0), Format(16, 30)], ids=str)
def test_text_names_a_format(format: Format) -> None:
    assert Format.parse(str(format)) == format


def test_text_by_hand() -> None:
    assert str(Format(16, 12)) == "s16.12"
    assert str(Format(8, -3, signed=False)) == "u8.-3"
    assert Format.parse("u4.6") == Format(4, 6, signed=False)


@pytest.mark.parametrize(
    "text", ["", "16.12", "s16", "s16.", "s33.1", "s0.1", "x8.7", "s8.7 ", "s-8.7", "S8.7", "s8.+7"]
)
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ModelFileError, match=r"such|like s16\.12") as caught:
        Format.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_numbers_must_be_finite(number: float) -> None:
    with pytest.raises(ModelFileError, match="finite"):
        Format(8, 4).integers([0.0, number])
