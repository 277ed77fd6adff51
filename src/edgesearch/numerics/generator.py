"""Makes `Piecewise` tables: a function, formats and an error flow in, the table with the fewest segments flows out.

The real polynomials are those of `mesh`; `rounding` makes integers of them.
"""

from collections.abc import Callable
from functools import cache

import numpy as np

from edgesearch.errors import ConfigError
from edgesearch.numerics.fitting import Fitting
from edgesearch.numerics.format import Floats, Format
from edgesearch.numerics.functions import Function, function_of
from edgesearch.numerics.mesh import Mesher
from edgesearch.numerics.piecewise import LISTED, Piecewise
from edgesearch.numerics.polynomials import METHODS, Method

_FINER = 0.96  # by which the error of the real polynomials is lowered, to leave the rounding its share
_ROUNDS = 60  # in which that is done at most
_TAIL = 0.5  # share of the error at which a function that settles counts as constant
_MOST_DEGREE = 5
_LOOKED_AT = 1 << 16


@cache
def piecewise(
    function: str | Callable[[Floats], Floats] | Function,
    source: Format,
    to: Format,
    error: float,
    *,
    low: float | None = None,
    high: float | None = None,
    degree: int = 2,
    method: Method = "gpc",
    segments: int = 64,
) -> Piecewise:
    """Return the table of the fewest segments whose error is at most `error`, the most exact one found of those.

    Args:
        function: `sigmoid`, `tanh`, an expression in x such as x/(1+abs(x)), or a callable on float64 arrays.
        source, to: formats of x and of the value, at most 32 bits each.
        error: largest error wanted, absolute (of the value's size for a relative function).
        low, high: the interval of an expression or a callable, both included; beyond it the last value is kept.
        degree: of the polynomials, 1 to 5.
        method: `gpc`, orthogonal projection; `minimax`, the least worst error.
        segments: the most allowed.

    Raises:
        ConfigError: an unknown name, an interval outside the source format, values that are not finite or do not fit,
            an error below the value's resolution, or more segments than allowed.
    """
    found = function_of(function)
    _check(found, source, to, error, degree, method)
    interval = _interval(found, source, to, low, high)
    _check_values(found, source, to, error, interval)
    best: Piecewise | None = None
    real, needed = error, segments
    for _ in range(_ROUNDS):
        reach, last = _tail(found, source, to, interval, real)
        fitting = Fitting(found, source, to, method)
        mesher = Mesher(found, source, reach, last, degree, method)
        elements = mesher.elements(real, fitting.widest, segments)
        if len(elements) > (segments if best is None else len(best.starts)):
            needed = max(needed, len(elements))
            break
        table = fitting.table(elements, mesher.bisected)
        if table.error <= error and table.jump <= 1 and (best is None or table.error < best.error):
            best = table
        real *= _FINER
    if best is None:
        raise ConfigError(
            f"{found.name} from {source} to {to} within {error:g} takes {needed} or more segments of degree {degree}, "
            f"more than approximate.segments = {segments}; raise approximate.segments, error or approximate.degree"
        )
    return best


def _check(function: Function, source: Format, to: Format, error: float, degree: int, method: str) -> None:
    if method not in METHODS:
        raise ConfigError(f"approximate.method must be one of {', '.join(METHODS)}, got {method}; set it to gpc")
    if not 1 <= degree <= _MOST_DEGREE:
        raise ConfigError(f"approximate.degree must be 1 to {_MOST_DEGREE}, got {degree}; set approximate.degree=2")
    for name, format, most in (("source", source, LISTED if function.relative else 32), ("to", to, 32)):
        if format.bits > most:
            raise ConfigError(f"approximate.{name} must have at most {most} bits, got {format}; lower its bits")
    if not function.relative and not error >= to.step:
        raise ConfigError(
            f"error must be at least one step of {to}, {to.step:.3g}, got {error:g}; raise error or give "
            "approximate.to more fraction bits"
        )


def _interval(function: Function, source: Format, to: Format, low: float | None, high: float | None) -> tuple[int, int]:
    """The first and the last integer, of |x| where there is a mirror."""
    if function.mirror is not None:
        if low is not None or high is not None:
            raise ConfigError(
                f"{function.name} covers all of {source}, got an interval; leave approximate.low and approximate.high "
                f"out, or write function={function.name}(x)"
            )
        return 0, source.largest
    ends = (
        (source.low if low is None else np.ceil(low / source.step)),
        (source.high if high is None else np.floor(high / source.step)),
    )
    if not source.low <= ends[0] < ends[1] <= source.high + (source.bits > 16):
        least, most = source.low * source.step, source.high * source.step
        raise ConfigError(
            f"the interval must lie in {source}, {least:g}..{most:g}, and hold two numbers of it, got {low}..{high}; "
            "set approximate.low and approximate.high, or approximate.source"
        )
    return int(ends[0]), int(ends[1])


def _check_values(function: Function, source: Format, to: Format, error: float, interval: tuple[int, int]) -> None:
    x = np.unique(np.linspace(*interval, _LOOKED_AT).round()) * source.step + 0.0  # (no -0)
    if function.mirror is not None and source.signed:
        x = np.concatenate([-x[::-1], x])
    values = function(x)
    wrong = ~np.isfinite(values)
    if wrong.any():
        raise ConfigError(
            f"{function.name} must be finite on its interval, got {values[wrong][0]} at x = {x[wrong][0]:.6g}; "
            "set approximate.low and approximate.high"
        )
    room = error * np.abs(values) if function.relative else error
    wrong = (values < to.low * to.step - room) | (values > to.high * to.step + room)
    if wrong.any():
        raise ConfigError(
            f"{function.name} must fit into {to}, {to.low * to.step:g}..{to.high * to.step:g}, got "
            f"{values[wrong][0]:.6g} at x = {x[wrong][0]:.6g}; give approximate.to fewer fraction bits"
        )


def _tail(
    function: Function, source: Format, to: Format, interval: tuple[int, int], error: float
) -> tuple[tuple[int, int], float]:
    """The interval up to where the function has settled, and the value that it ends in."""
    low, high = interval
    if function.settles is not None:
        last = float(to.numbers(to.integers(function.settles)))

        def settled(m: int) -> bool:
            return abs(float(function(np.array([m * source.step]))[0]) - last) <= _TAIL * error

        if settled(high):
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if settled(middle) else (middle, high)
            return (interval[0], high), last
    return interval, float(function(np.array([interval[1] * source.step]))[0])
