"""The reciprocal square root over every positive integer of its input format, and over integers up to 2^62."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesearch.errors import ConfigError
from edgesearch.numerics.format import Format
from edgesearch.numerics.polynomials import METHODS, Method
from edgesearch.numerics.root import approximate_root

WIDE = approximate_root(Format(63, 0), Format(32, 30), 2e-4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "source",
    [Format(16, 0), Format(16, 15), Format(16, 20), Format(15, 7), Format(8, 3), Format(16, 5, signed=False)],
    ids=str,
)
@pytest.mark.parametrize("error", [1e-2, 1e-3, 2e-4])
def test_the_relative_error_holds_for_every_input(source: Format, error: float, method: Method) -> None:
    to = Format(32, 18)
    table = approximate_root(source, to, error, method=method)
    x = np.arange(1, source.high + 1)
    true = 1 / np.sqrt(x * 2.0**-source.fraction)
    found = table(x) * 2.0**-to.fraction
    assert table.error <= error
    assert (np.abs(found - true) <= table.error * true + 0.5000001 * to.step)[true < 2**13].all()


@pytest.mark.parametrize("fraction", [-3, 0, 11, 16, 31, 40])
def test_32_bit_inputs(fraction: int) -> None:
    source, to = Format(32, fraction), Format(32, 30 - (fraction + 1) // 2)
    table = approximate_root(source, to, 1.7e-4)
    assert table.rounded_error <= 2e-4
    dense = np.unique(np.geomspace(1, source.high, 300_000).astype(np.int64))
    near = np.concatenate([(1 << np.arange(31)) + off for off in (-2, -1, 0, 1)])
    x = np.clip(np.concatenate([dense, near]), 1, source.high)
    worst = np.abs(to.numbers(table(x)) * np.sqrt(source.numbers(x)) - 1).max()
    assert worst <= table.rounded_error


@given(st.integers(1, 2**62), st.integers(0, 62), st.integers(-20, 60))
@settings(max_examples=500, deadline=None)
def test_integers_of_any_size(x: int, cut: int, fraction: int) -> None:
    for value in {max(x >> cut, 1), 1 << cut, (1 << cut) + 1, max(1, (1 << cut) - 1)}:
        y, k = WIDE.reduced(np.array([value]), fraction)
        found = float(y[0]) * 2.0**-14 * 2.0 ** -int(k[0])
        assert abs(found * math.sqrt(value) * 2.0 ** (-fraction / 2) - 1) <= 2e-4
        assert 1 << 13 <= y[0] <= 1 << 14


def test_neighbours_do_not_jump_where_the_exponent_changes() -> None:
    x = np.concatenate([(1 << np.arange(20, 62))[:, None] + np.arange(-1, 2)])
    y, k = WIDE.reduced(x)
    value = y * 2.0 ** (40 - k)
    assert np.abs(np.diff(value, axis=1) / value[:, :1]).max() <= 2.0**-13


def test_smaller_errors_cost_more() -> None:
    sizes = [approximate_root(Format(16, 10), Format(16, 8), error).flash_bytes for error in (1e-2, 1e-3, 2e-4)]
    assert sizes == sorted(set(sizes))


def test_what_is_not_positive_or_too_large_gives_the_largest_value() -> None:
    table = approximate_root(Format(16, 15), Format(16, 13), 1e-3)
    assert table(np.array([0, -1, -32768, 1])).tolist() == [32767] * 4


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        (Format(64, 0), 1e-3, "at most 63 bits"),
        (Format(16, 0), 1e-9, "cannot be had"),
        (Format(32, 0), 1e-5, "cannot be had"),
    ],
)
def test_what_cannot_be_had_is_an_error(source: Format, error: float, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        approximate_root(source, Format(16, 8), error)
