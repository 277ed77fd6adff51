"""Intervals against scipy's, and how shares are written."""

import pytest
from scipy.stats import binomtest

from edgesearch.report.shares import interval, percent, percent_within


@pytest.mark.parametrize(("right", "rows"), [(0, 5), (5, 5), (1, 2), (1910, 2007), (299, 300)])
def test_intervals_are_wilsons(right: int, rows: int) -> None:
    expected = binomtest(right, rows).proportion_ci(0.95, "wilson")
    assert interval(right / rows, rows) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_shares_are_written_with_their_interval() -> None:
    assert percent(None) == "-"
    assert percent(0.5) == "50.00 %"
    assert percent_within(1910 / 2007, 2007) == "95.17 % (94.1 to 96.0)"
