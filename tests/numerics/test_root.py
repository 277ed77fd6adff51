"""The reciprocal square root over every positive integer of its input format."""

import numpy as np
import pytest

from edgesearch.errors import ConfigError
from edgesearch.numerics.format import Format
from edgesearch.numerics.root import approximate_root


@pytest.mark.parametrize(
    "source", [Format(16, 0), Format(16, 15), Format(16, 20), Format(15, 7), Format(8, 3)], ids=str
)
@pytest.mark.parametrize("error", [1e-2, 1e-3, 3e-4])
def test_the_relative_error_holds_for_every_input(source: Format, error: float) -> None:
    to = Format(32, 18)
    table = approximate_root(source, to, error)
    x = np.arange(1, source.high + 1)
    true = 1 / np.sqrt(x * 2.0**-source.fraction)
    found = table(x) * 2.0**-to.fraction
    assert table.error <= error
    assert (np.abs(found - true) <= table.error * true + 0.5000001 * to.step)[true < 2**13].all()


def test_smaller_errors_cost_more() -> None:
    sizes = [approximate_root(Format(16, 10), Format(16, 8), error).flash_bytes for error in (1e-2, 1e-3, 3e-4)]
    assert sizes == sorted(set(sizes))


def test_what_is_not_positive_or_too_large_gives_the_largest_value() -> None:
    table = approximate_root(Format(16, 15), Format(16, 13), 1e-3)
    assert table(np.array([0, -1, -32768, 1])).tolist() == [32767] * 4


def test_intermediate_results_have_32_bits() -> None:
    for error in (1e-2, 1e-3, 3e-4):
        table = approximate_root(Format(16, 10), Format(16, 8), error)
        top = np.abs(table.coefficients).max(axis=0)
        d = (1 << table.segment_bits) - 1
        value = int(top[-1])
        for n, shift in zip(range(len(top) - 2, -1, -1), table.shifts, strict=True):
            total = value * d + (int(top[n]) << shift) + (1 << shift)
            assert total < 2**31
            value = (total >> shift) + 1


@pytest.mark.parametrize(
    ("source", "error", "words"), [(Format(17, 0), 1e-3, "at most 16 bits"), (Format(16, 0), 1e-9, "cannot be had")]
)
def test_what_cannot_be_had_is_an_error(source: Format, error: float, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        approximate_root(source, Format(16, 8), error)
