"""Ways of rounding: what they add up to, and what they do to exact fractions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesearch.errors import ConfigError
from edgesearch.numerics.format import round_shift
from edgesearch.numerics.rounding import KINDS, Rounding

RANDOM = ("stochastic", "pseudo")


@given(st.lists(st.integers(-(2**61), 2**61), min_size=1, max_size=5), st.integers(-1, 61), st.sampled_from(KINDS))
def test_the_result_is_one_of_the_two_neighbours(values: list[int], shift: int, kind: str) -> None:
    if shift < 0:
        values = [value >> 2 for value in values]
    exact = np.array(values, np.int64)
    found = Rounding(kind)(exact, shift)
    if shift <= 0 or kind == "nearest":
        assert (found == round_shift(exact, shift)).all()
    else:
        assert ((found == exact >> shift) | (found == (exact >> shift) + 1)).all()
        assert (found[exact % 2**shift == 0] == exact[exact % 2**shift == 0] >> shift).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_shift_for_each_value_is_that_shift(kind: str) -> None:
    values, shifts = np.arange(-500, 500) * 977, np.arange(1000) % 20
    found = Rounding(kind)(values, shifts)
    if kind == "nearest":
        assert found.tolist() == [int(round_shift(values, int(s))[i]) for i, s in enumerate(shifts)]
    assert (np.abs(found - values / 2.0**shifts) < 1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_python_integers_are_rounded_like_int64(kind: str) -> None:
    values = np.arange(-500, 500) * 977_777
    small = Rounding(kind, seed=3)(values, 9)
    assert (Rounding(kind, seed=3)(values.astype(object), 9) == small).all()
    huge = Rounding(kind)(values.astype(object) << 60, 70)
    assert (np.abs(huge - values / 1024.0) < 1).all()


@pytest.mark.parametrize("kind", RANDOM)
@pytest.mark.parametrize(("part", "bits"), [(1, 1), (1, 2), (3, 2), (1, 3), (5, 3)])
def test_fractions_are_right_on_average(kind: str, part: int, bits: int) -> None:
    """A half, a quarter, ... with zeros behind it: what is cut off has no random bits of its own."""
    shift, n = 12, 40_000
    whole = np.arange(-n // 2, n // 2)
    values = (whole << shift) + (part << (shift - bits))
    up = Rounding(kind, seed=1)(values, shift) - whole
    assert set(np.unique(up)) == {0, 1}
    share = part / 2**bits
    assert abs(up.mean() - share) < 4 * np.sqrt(share * (1 - share) / n)


def test_halves_go_upwards_by_the_rule() -> None:
    assert Rounding()(np.array([-3, -1, 1, 3]), 1).tolist() == [-1, 0, 1, 2]


def test_a_step_draws_the_same_numbers_again() -> None:
    rounding, values = Rounding("stochastic", seed=7), np.arange(1000) * 13
    first = [rounding(values, 6) for _ in range(2)]
    assert (first[0] != first[1]).any()
    rounding.restart(0)
    assert (rounding(values, 6) == Rounding("stochastic", seed=7)(values, 6)).all()
    rounding.restart(5)
    at_five = rounding(values, 6)
    rounding.restart(5)
    assert (rounding(values, 6) == at_five).all()


@pytest.mark.parametrize("kind", RANDOM)
def test_any_seed_step_and_kind_of_integers(kind: str) -> None:
    rounding = Rounding(kind, seed=2**31 - 1)
    rounding.restart(10**9)
    found = rounding(np.arange(1000) * 13, 6)
    assert (np.abs(found - np.arange(1000) * 13 / 64) < 1).all()
    assert rounding(np.array(100, np.int32), 3) in (12, 13)


def test_an_unknown_kind_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"train\.rounding must be one of nearest, stochastic, pseudo, got up"):
        Rounding("up")
