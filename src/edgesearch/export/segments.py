"""A table of `numerics.approximation` as plain numbers: all that the exports to secure computation know of one."""

from dataclasses import dataclass, replace

import numpy as np

from edgesearch.export import oblivious
from edgesearch.numerics.approximation import Table


@dataclass(frozen=True)
class Segments:
    """A table by its segments of |x|, with one more for what lies beyond the last.

    Attributes:
        starts: the first |x| of each segment.
        coefficients: of each segment, constant term first.
        shifts: of each Horner step, that of the last coefficient first.
        mirror: what the value of -x is subtracted from: 1 for sigmoid, 0 for tanh.
        bounds: where some value of the formula leaves them, else None.
    """

    starts: tuple[int, ...]
    coefficients: tuple[tuple[int, ...], ...]
    shifts: tuple[int, ...]
    mirror: int
    bounds: tuple[int, int] | None


def segments(table: Table) -> Segments:
    """Return the segments of a table; the only reader of how a table stores them."""
    starts = [k << table.segment_bits for k in range(len(table.coefficients))]
    beyond = (table.last, *(0 for _ in table.shifts))
    rows = (*(tuple(map(int, row)) for row in table.coefficients), beyond)
    mirror = 1 << table.to.fraction if table.function == "sigmoid" else 0
    found = Segments((*starts, int(table.limit)), rows, tuple(map(int, table.shifts)), mirror, None)
    every = np.arange(table.source.low, table.source.high + 1)[None]
    free = oblivious.applied(np, every, vars(found))
    low, high = map(int, table.bounds)
    inside = low <= int(free.min()) and int(free.max()) <= high
    return found if inside else replace(found, bounds=(low, high))
