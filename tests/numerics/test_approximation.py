"""Approximated functions over every input, against long doubles and a step-by-step evaluation in exact integers."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from edgesearch.errors import ConfigError
from edgesearch.numerics.approximation import Table, approximate
from edgesearch.numerics.format import Format, Ints

Wide = npt.NDArray[np.longdouble]
TRUE: dict[str, Callable[[Wide], Wide]] = {
    "tanh": lambda x: np.asarray(1 - 2 / (np.exp(2 * x) + 1), np.longdouble),
    "sigmoid": lambda x: np.asarray(1 - 1 / (np.exp(x) + 1), np.longdouble),
}
SOURCES = [Format(16, 12), Format(16, 9), Format(16, 5), Format(16, 14), Format(16, 18), Format(16, -2)]
SOURCES += [Format(8, 4), Format(8, 7), Format(8, 0), Format(12, 9), Format(4, 1)]
TARGETS = [Format(16, 14), Format(8, 7), Format(12, 10), Format(16, 13)]
UNSIGNED = [Format(8, 7, signed=False), Format(16, 15, signed=False)]
PAIRS = [(function, to) for function in TRUE for to in TARGETS] + [("sigmoid", to) for to in UNSIGNED]
QUIET = pytest.mark.filterwarnings("ignore:overflow encountered in exp")


def every(source: Format) -> Ints:
    return np.arange(source.low, source.high + 1)


def stepwise(table: Table) -> tuple[Ints, int]:
    """The table's rule written out over every input, and the largest magnitude on the way."""
    x, largest, rows = every(table.source), 0, np.asarray(table.coefficients)
    m = abs(x)
    segment = np.minimum(m // 2**table.segment_bits, len(rows) - 1)
    d = m % 2**table.segment_bits
    y = rows[segment, -1]
    for k, shift in zip(reversed(range(rows.shape[1] - 1)), table.shifts, strict=True):
        inside = m < table.limit
        product = y * d
        offset = rows[segment, k] * 2**shift if k == 0 else 0
        half = 2**shift // 2
        seen = (abs(product), abs(np.asarray(offset)), abs(product + offset), abs(product + offset + half))
        largest = max(largest, *(int(np.where(inside, s, 0).max()) for s in seen))
        y = (product + offset + half) // 2**shift + (0 if k == 0 else rows[segment, k])
    y = np.where(m < table.limit, y, table.last)
    y = np.where(x < 0, (2**table.to.fraction if table.function == "sigmoid" else 0) - y, y)
    one = 2**table.to.fraction
    least = -one if table.function == "tanh" else 0
    return np.clip(y, max(least, table.to.low), min(one, table.to.high)), largest


def error_of(table: Table) -> float:
    x = every(table.source).astype(np.longdouble) * np.longdouble(2) ** -table.source.fraction
    with np.errstate(over="ignore"):
        true = TRUE[table.function](x)
    y = table(every(table.source)).astype(np.longdouble) * np.longdouble(2) ** -table.to.fraction
    return float(abs(y - true).max())


@pytest.mark.parametrize(("function", "to"), PAIRS, ids=str)
@pytest.mark.parametrize("source", SOURCES, ids=str)
@pytest.mark.parametrize("asked", [1e-2, 1e-3])
@QUIET
def test_the_worst_error_is_what_the_table_says(function: str, source: Format, to: Format, asked: float) -> None:
    table = approximate(function, source, to, asked)
    worst = error_of(table)
    assert worst <= table.error * (1 + 1e-9) + 1e-15
    assert worst <= max(asked, 1.25 * to.step) * (1 + 1e-9)
    assert worst >= 0.9 * table.error


@pytest.mark.parametrize(("function", "to"), PAIRS, ids=str)
@pytest.mark.parametrize("source", SOURCES, ids=str)
@pytest.mark.parametrize("asked", [1e-1, 1e-4])
@QUIET
def test_32_bits_hold_every_intermediate(function: str, source: Format, to: Format, asked: float) -> None:
    table = approximate(function, source, to, asked)
    expected, largest = stepwise(table)
    assert largest < 2**31
    assert abs(table.coefficients).max() <= 2**15
    np.testing.assert_array_equal(table(every(source)), expected)


@pytest.mark.parametrize(("function", "to"), PAIRS, ids=str)
@pytest.mark.parametrize("source", [Format(16, 12), Format(16, 3), Format(8, 3)], ids=str)
@QUIET
def test_negative_inputs_mirror_positive_ones(function: str, source: Format, to: Format) -> None:
    table = approximate(function, source, to, 1e-3)
    x = np.arange(1, source.high + 1)
    sums = table(x) + table(-x)
    one = 1 << to.fraction
    unsaturated = (table(x) < to.high) & (table(-x) > to.low)
    assert unsaturated.sum() >= 10
    assert set(sums[unsaturated].tolist()) == {one if function == "sigmoid" else 0}


@pytest.mark.parametrize("function", TRUE)
@pytest.mark.parametrize("source", [Format(16, 12), Format(16, 3), Format(16, 5), Format(8, 3)], ids=str)
@pytest.mark.parametrize("asked", [1e-1, 1e-2, 1e-3])
@QUIET
def test_values_stay_within_one_as_the_widths_of_sums_assume(function: str, source: Format, asked: float) -> None:
    to = Format(16, 14)
    assert int(abs(approximate(function, source, to, asked)(every(source))).max()) <= 1 << to.fraction


@pytest.mark.parametrize("function", TRUE)
@pytest.mark.filterwarnings("error")
def test_coarse_inputs_make_no_warning(function: str) -> None:
    assert approximate(function, Format(15, 2), Format(16, 14), 1e-3).error <= 1e-3


def test_tables_shrink_when_more_error_is_allowed() -> None:
    sizes = [approximate("tanh", Format(16, 12), Format(16, 14), e).flash_bytes for e in (1e-4, 1e-3, 1e-2)]
    assert sizes == sorted(set(sizes), reverse=True)
    table = approximate("tanh", Format(16, 12), Format(16, 14), 1e-3)
    assert table.flash_bytes == table.coefficients.astype(np.int16).nbytes


@pytest.mark.parametrize(
    ("function", "source", "to", "words"),
    [
        ("relu", Format(16, 12), Format(16, 14), "sigmoid, tanh, got relu"),
        ("tanh", Format(17, 12), Format(16, 14), "at most 16 bits, got s17.12"),
        ("tanh", Format(16, 12), Format(8, 7, signed=False), "cannot be had within 0.001"),
        ("sigmoid", Format(16, 12), Format(16, 16), "cannot be had within 0.001"),
    ],
)
def test_what_cannot_be_approximated_is_refused(function: str, source: Format, to: Format, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        approximate(function, source, to, 1e-3)
    assert "\n" not in str(caught.value)
