"""task=approximate: a function in integers, in outputs_dir/approximate/NAME: table.py, table.h, table.json, plot.svg.

`config.function`, `config.error` and `config.approximate` flow in; nothing is written before everything is made.
"""

import json
import math
from pathlib import Path

import numpy as np

from edgesearch.atomic import write_text
from edgesearch.config import Config
from edgesearch.config.rules import shown
from edgesearch.errors import ConfigError, ModelFileError
from edgesearch.export.approximation import c_header, python_module
from edgesearch.numerics.format import ChannelFormat, Floats, Format
from edgesearch.numerics.functions import NAMED, Function, function_of
from edgesearch.numerics.generator import piecewise
from edgesearch.numerics.piecewise import LISTED, Piecewise
from edgesearch.numerics.polynomials import METHODS
from edgesearch.numerics.root import FRACTION, RootTable, approximate_root
from edgesearch.report.approximation import Curve, figures, plot
from edgesearch.report.console import PlainConsole
from edgesearch.report.record import Record

ROOT = "rsqrt"
_POINTS, _EACH = 600, 48  # of the plot, and inputs looked at for one
_SMALLEST = 2.0**-60  # magnitude that a format is found for
_FRACTIONS = 100  # beyond which nothing is computed with
_REACH = 5  # bits of x before the point where no format is given: +-16


def approximate(config: Config) -> Record:
    """Write the table of `config.function` and return its report.

    Raises:
        ConfigError: an unknown name, an interval or a format that does not fit, or no table with so few segments.
    """
    table = make_table(config)
    report = _report(table, config)
    about = (
        f"{report['title']}: {report['segments']} segments of degree {report['degree']} ({report['method']}), "
        f"{report['flash_bytes']} bytes, worst {report['kind']} error {report['error']:.3g}"
    )
    files = {
        "table.py": python_module(table, about),
        "table.h": c_header(table, about),
        "table.json": json.dumps(report, indent=1, allow_nan=False) + "\n",
        "plot.svg": plot(_curve(table, config)),
    }
    label = table.label if isinstance(table, Piecewise) else ROOT
    folder = Path(config.outputs_dir) / "approximate" / f"{label}_{table.source}_{table.to}"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_text(folder / name, content)
    PlainConsole().print(figures(report, str(folder)))
    return report


def make_table(config: Config) -> Piecewise | RootTable:
    """Return the table that the configuration asks for.

    Raises:
        ConfigError: as for `approximate`.
    """
    chosen = config.approximate
    method = next(name for name in METHODS if name == chosen.method)
    if config.function == ROOT:
        if chosen.low is not None:
            raise ConfigError("rsqrt covers every positive x, got an interval; leave approximate.low and high out")
        source = _given("source", chosen.source) or Format(chosen.bits, chosen.bits - _REACH)
        to = _given("to", chosen.to) or Format(32, 30 - (source.fraction + 1) // 2)
        rounding = RootTable.rounding(source, to)
        if rounding >= config.error:
            raise ConfigError(
                f"error must be more than what rounding to {to} takes, {rounding:.2g} of the least value, got "
                f"{config.error:g}; give approximate.to more fraction bits"
            )
        return approximate_root(
            source, to, config.error - rounding, degree=chosen.degree, method=method, segments=chosen.segments
        )
    function = function_of(config.function)
    if function.mirror is None and (chosen.low is None or chosen.high is None):
        raise ConfigError(
            f"an expression needs an interval, got function={config.function} without one; "
            "set approximate.low and approximate.high"
        )
    source, to = _formats(function, config)
    return piecewise(
        config.function,
        source,
        to,
        config.error,
        low=chosen.low,
        high=chosen.high,
        degree=chosen.degree,
        method=method,
        segments=chosen.segments,
    )


def _formats(function: Function, config: Config) -> tuple[Format, Format]:
    """Those given, or the finest of so many bits that hold the interval and the values."""
    chosen = config.approximate
    source, to = _given("source", chosen.source), _given("to", chosen.to)
    if config.function in NAMED:
        return source or Format(chosen.bits, chosen.bits - _REACH), to or Format(chosen.bits, chosen.bits - 2)
    interval = np.array([chosen.low, chosen.high], np.float64)
    source = source or _finest(interval, chosen.bits)
    with np.errstate(all="ignore"):
        values = function(np.linspace(interval[0], interval[1], 4097))
    if not np.isfinite(values).all():
        raise ConfigError(
            f"{config.function} must be finite on its interval, got another value on {chosen.low:g} to "
            f"{chosen.high:g}; leave the place out by approximate.low and approximate.high"
        )
    return source, to or _finest(values, chosen.bits)


def _finest(numbers: Floats, bits: int) -> Format:
    """The signed format with the most fraction bits that holds numbers."""
    largest = float(np.abs(numbers).max(initial=0.0))
    if 0 < largest < _SMALLEST:
        raise ConfigError(
            f"an interval and its values must reach {_SMALLEST:g}, got at most {largest:g}; scale the function"
        )
    fraction = bits - 1 - (math.floor(math.log2(largest)) + 1 if largest > 0 else 0)
    return Format(bits, fraction)


def _given(name: str, text: str | None) -> Format | None:
    if text is None:
        return None
    try:
        found = Format.parse(text)
    except ModelFileError:
        found = None
    if found is None or isinstance(found, ChannelFormat) or found.bits < 2 or abs(found.fraction) > _FRACTIONS:
        raise ConfigError(
            f"approximate.{name} must be a format of at most 32 bits such as s16.11, got {shown(text)} "
            f"(2 bits at least, at most {_FRACTIONS} after the point, the same for all values); "
            f"set approximate.{name}=s16.11"
        )
    return found


def _report(table: Piecewise | RootTable, config: Config) -> Record:
    root = isinstance(table, RootTable)
    pieces = table.mantissa if isinstance(table, RootTable) else table
    x = "1 / sqrt(x)" if root else f"{config.function}(x)" if config.function in NAMED else config.function
    error = table.rounded_error if isinstance(table, RootTable) else table.error
    at_mantissa = _mantissa_ulps(pieces) if root else 0.0
    unit = pieces.to.step
    return {
        "title": x,
        "function": config.function,
        "method": pieces.method,
        "source": str(table.source),
        "to": str(table.to),
        "segments": len(pieces.starts),
        "bisected": pieces.bisected,
        "degree": pieces.coefficients.shape[1] - 1,
        "kind": "relative" if root else "absolute",
        "error": error,
        "allowed": config.error,
        "over": _over(table, config),
        "ulps": at_mantissa if root else error / unit,
        "unit": unit,
        "variable": "m" if root else "x",
        "worst_at": pieces.worst_at,
        "jump": pieces.jump,
        "flash_bytes": pieces.flash_bytes,
        "starts": (pieces.starts * pieces.source.step).tolist(),
        "interval": [end * pieces.source.step for end in pieces.interval],
    }


def _over(table: Piecewise | RootTable, config: Config) -> str:
    """What the stated error covers, and how it is known."""
    if isinstance(table, Piecewise) and table.source.bits <= LISTED:
        return "over every input"
    known = isinstance(table, RootTable) or function_of(config.function).curvature is not None
    return "bound over every input" if known else "estimate from samples"


def _mantissa_ulps(pieces: Piecewise) -> float:
    m = np.arange(pieces.interval[0], pieces.interval[1] + 1)
    return float(np.abs(pieces(m) - np.ldexp(1 / np.sqrt(m * pieces.source.step), FRACTION)).max())


def _curve(table: Piecewise | RootTable, config: Config) -> Curve:
    """The table and its error; of a root those of the reduced argument."""
    pieces = table.mantissa if isinstance(table, RootTable) else table
    function = (
        Function(ROOT, lambda m: 1 / np.sqrt(m)) if isinstance(table, RootTable) else function_of(config.function)
    )
    low, high = pieces.interval
    joints = pieces.starts[1:]
    if pieces.mirror is not None:
        high = min(pieces.source.high, high + high // 4)
        low = max(pieces.source.low, -high)
        positive = [*joints.tolist(), pieces.interval[1]]
        joints = np.array([*(-j for j in reversed(positive)), 0, *positive])
    x = np.unique(np.linspace(low, high, _POINTS * _EACH).round().astype(np.int64))
    found = pieces(x) * pieces.to.step
    true = function(pieces.source.numbers(x))
    error = (found - true) / (np.abs(true) if pieces.relative else 1.0)
    parts = np.array_split(np.arange(len(x)), min(_POINTS, len(x)))
    return Curve(
        title=f"{config.function}, {table.source} to {table.to}: {len(pieces.starts)} segments of degree "
        f"{pieces.coefficients.shape[1] - 1} ({pieces.method})",
        x=[float(x[p[0]] * pieces.source.step) for p in parts],
        value=[float(found[p[0]]) for p in parts],
        low=[float(error[p].min()) for p in parts],
        high=[float(error[p].max()) for p in parts],
        joints=[float(j * pieces.source.step) for j in joints if low < j < high],
        allowed=config.error,
        of="m, the reduced argument" if isinstance(table, RootTable) else "x",
    )
