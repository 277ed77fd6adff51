"""Shares for people: with a 95 % interval, as one accuracy on a finite test set is an estimate."""

import math

NORMAL = 1.959964  # of a normal distribution 95 % lie within so many deviations


def interval(share: float, rows: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of `rows` examples (Wilson 1927)."""
    z = NORMAL**2 / rows
    middle = (share + z / 2) / (1 + z)
    half = math.sqrt(share * (1 - share) * z + z * z / 4) / (1 + z)
    return max(0.0, middle - half), min(1.0, middle + half)


def percent(share: float | None) -> str:
    """Return a share as text."""
    return "-" if share is None else f"{100 * share:.2f} %"


def within(share: float, rows: int) -> str:
    """Return the interval of a share of `rows` examples as text."""
    low, high = interval(share, rows)
    return f"{100 * low:.1f} to {100 * high:.1f}"


def percent_within(share: float, rows: int) -> str:
    """Return a share of `rows` examples as text, with its interval."""
    return f"{percent(share)} ({within(share, rows)})"
