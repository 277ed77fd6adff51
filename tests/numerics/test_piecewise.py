"""Tables of unequal segments: over every 16-bit input against long doubles, at their joints, and what is refused."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgesearch.errors import ConfigError
from edgesearch.numerics.format import Floats, Format, Ints
from edgesearch.numerics.functions import NAMED
from edgesearch.numerics.generator import piecewise
from edgesearch.numerics.piecewise import Piecewise
from edgesearch.numerics.polynomials import METHODS, Method, Points

Wide = npt.NDArray[np.longdouble]
TRUE: dict[str, Callable[[Wide], Wide]] = {
    "tanh": lambda x: np.asarray(1 - 2 / (np.exp(2 * x) + 1), np.longdouble),
    "sigmoid": lambda x: np.asarray(1 - 1 / (np.exp(x) + 1), np.longdouble),
    "exp(-x)": lambda x: np.asarray(np.exp(-x), np.longdouble),
    "x/(1+abs(x))": lambda x: np.asarray(x / (1 + abs(x)), np.longdouble),
    "sin(x)": lambda x: np.asarray(np.sin(x), np.longdouble),
}
_FINE = 16  # units from one input to the next; where there are more, slopes differ by more than a unit, too
SHIPPED = [(function, method) for function in ("sigmoid", "tanh") for method in METHODS]
CASES = [
    ("tanh", Format(16, 11), Format(16, 14), 1e-4, None),
    ("tanh", Format(16, 13), Format(16, 15), 1e-4, None),
    ("tanh", Format(12, 8), Format(16, 14), 1e-3, None),
    ("tanh", Format(8, 4), Format(8, 6), 2e-2, None),
    ("sigmoid", Format(16, 11), Format(16, 14), 1e-4, None),
    ("sigmoid", Format(16, 12), Format(16, 15, signed=False), 1e-4, None),
    ("sigmoid", Format(16, 12, signed=False), Format(16, 16, signed=False), 5e-5, None),
    ("exp(-x)", Format(16, 12, signed=False), Format(16, 16, signed=False), 2**-15, (0, 15.9997)),
    ("exp(-x)", Format(16, 11), Format(32, 28), 1e-6, (0, 15.9995)),
    ("x/(1+abs(x))", Format(16, 11), Format(16, 14), 2e-4, (-16, 15.9995)),
    ("sin(x)", Format(16, 12), Format(16, 14), 1e-3, (-6, 7.5)),
]


def made(case: tuple[str, Format, Format, float, tuple[float, float] | None], method: Method, degree: int) -> Piecewise:
    function, source, to, error, interval = case
    low, high = interval or (None, None)
    return piecewise(function, source, to, error, low=low, high=high, method=method, degree=degree, segments=200)


def inputs(table: Piecewise) -> Ints:
    if table.mirror is not None:
        return np.arange(table.source.low, table.source.high + 1)
    return np.arange(table.interval[0], table.interval[1] + 1)


def true(table: Piecewise, x: Ints) -> Wide:
    """The function, in units of the value's last place."""
    real = x.astype(np.longdouble) * np.longdouble(table.source.step)
    with np.errstate(over="ignore"):
        return TRUE[table.function](real) / np.longdouble(table.to.step)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("case", "degree"), [*((c, 2) for c in CASES), (CASES[0], 3), (CASES[9], 1)], ids=str)
def test_every_input_of_a_16_bit_format(
    case: tuple[str, Format, Format, float, tuple[float, float] | None], method: Method, degree: int
) -> None:
    if degree == 1:
        case = (*case[:3], 10 * case[3], case[4])
    table = made(case, method, degree)
    x = inputs(table)
    y, f = table(x), true(table, x)
    worst = float(abs(y - f).max()) * table.to.step
    assert worst <= table.error * (1 + 1e-9) + 1e-15
    assert worst >= 0.99 * table.error
    assert table.error <= case[3]
    # from one input to the next the value changes as the function does, and by one unit at most beyond it at a joint
    steps, own = np.abs(np.diff(y)), np.abs(np.diff(f))
    at = np.isin(np.abs(x[1:]) if table.mirror is not None else x[1:], [*table.starts[1:], table.interval[1] + 1, 0])
    if own.max() <= _FINE:
        assert (steps[at] <= 1 + np.ceil(own[at])).all()
    assert table.jump <= 1
    np.testing.assert_array_equal(table.computed(x), y)
    assert y.min() >= table.bounds[0]
    assert y.max() <= table.bounds[1]


@pytest.mark.parametrize(("function", "method"), SHIPPED)
def test_the_shipped_tables_keep_their_promise(function: str, method: Method) -> None:
    for bits in (16, 32):
        table = piecewise(function, Format(bits, bits - 5), Format(bits, bits - 2), 1e-4, method=method, segments=16)
        assert table.error <= 1e-4
        assert len(table.starts) <= 16 < table.bisected + 8
        assert table.coefficients.shape[1] == 3
        x = np.array([table.source.high, table.source.low, 0])
        expected = [1, 0, 0.5] if function == "sigmoid" else [1, -1, 0]
        assert table.to.numbers(table(x)).tolist() == expected


@pytest.mark.parametrize("case", CASES, ids=str)
def test_sums_fit_into_their_words(case: tuple[str, Format, Format, float, tuple[float, float] | None]) -> None:
    table = made(case, "gpc", 2)
    ends = np.append(table.starts[1:], table.interval[1])
    coefficient, word = (32, 64) if table.wide else (16, 32)
    assert np.abs(table.coefficients).max() < 1 << (coefficient - 1)
    for start, end, scale, row in zip(table.starts, ends, table.scales, table.coefficients.tolist(), strict=True):
        for t in (int(d) << int(scale) for d in np.linspace(0, end - start, 50).astype(int)):
            value = row[-1]
            for k, shift in zip(range(len(row) - 2, -1, -1), table.shifts, strict=True):
                terms = (value * t, row[0] << table.rise if k == 0 else 0)
                assert all(abs(s) + (1 << shift) < 1 << (word - 1) for s in (*terms, sum(terms)))
                value = ((sum(terms) + (1 << shift >> 1)) >> shift) + (row[k] if k else 0)


@given(
    st.sampled_from([*TRUE]),
    st.sampled_from(METHODS),
    st.integers(1, 4),
    st.integers(8, 32),
    st.integers(8, 32),
    st.floats(1e-3, 3e-2),
    st.floats(-5, 3),
    st.floats(0.5, 4),
)
@example("x/(1+abs(x))", "gpc", 4, 8, 17, 1 / 64, -3.0, 1.0)
@settings(max_examples=20, deadline=None)
def test_any_function_format_and_method(
    function: str, method: Method, degree: int, bits: int, to_bits: int, error: float, low: float, width: float
) -> None:
    source, to = Format(bits, bits - 4), Format(to_bits, to_bits - 2)
    interval = (None, None) if function in NAMED else (low, low + width)
    if function == "exp(-x)":
        interval = (0, 7.5)
    error = max(error, 2 * to.step)
    table = piecewise(
        function, source, to, error, low=interval[0], high=interval[1], degree=degree, method=method, segments=255
    )
    everything = inputs(table) if bits <= 16 else np.array([0])
    x = everything if bits <= 16 else np.unique(np.linspace(*_reach(table), 20001).astype(np.int64))
    worst = float(abs(table(x) - true(table, x)).max()) * to.step
    assert worst <= table.error * (1 + 1e-9) + 1e-15  # (the table was measured in doubles)
    assert table.error <= error
    number = np.arange(len(table.starts) - 1)
    left, right = (table.polynomial(number + k, table.starts[1:]) for k in (0, 1))
    assert np.abs(left - right).max(initial=0) <= 1


def _reach(table: Piecewise) -> tuple[int, int]:
    return (table.source.low, table.source.high) if table.mirror is not None else table.interval


def test_a_callable_and_what_lies_beyond_its_interval() -> None:
    def squared(x: Floats) -> Floats:
        return x * x

    table = piecewise(squared, Format(16, 12), Format(16, 12), 5e-4, low=-1.5, high=2.0)
    assert (table.function, table.label, len(table.starts)) == ("squared", "squared", 1)
    ends = table(np.array([-32768, -6144, 8192, 32767])) * table.to.step
    np.testing.assert_allclose(ends, [2.25, 2.25, 4, 4], atol=5e-4)


def test_a_kink_becomes_a_joint() -> None:
    table = piecewise("abs(x-1)", Format(16, 12), Format(16, 12), 3e-4, low=-3, high=4)
    assert len(table.starts) == 2
    assert abs(table.starts[1] - 4096) <= 2


def test_minimax_is_level_and_a_projection_is_orthogonal() -> None:
    for method, degree in ((m, d) for m in METHODS for d in (2, 3, 4)):
        points = Points(method, degree)
        values = np.exp(points.u)
        coefficients = points.joined(values, np.ones_like(values), 1.0, float(np.e))
        error = np.polynomial.polynomial.polyval(points.u, coefficients) - values
        assert abs(np.polynomial.polynomial.polyval([0, 1], coefficients) - [1, np.e]).max() < 1e-12
        if method == "gpc":
            bubble = points.u * (1 - points.u)
            moments = [float((points.weights * bubble * points.u**k * error).sum()) for k in range(degree - 1)]
            assert np.abs(moments).max() < 1e-12
        else:
            runs = np.split(np.abs(error), np.flatnonzero(np.diff(np.sign(error[1:-1])) != 0) + 2)
            peaks = sorted(float(run.max()) for run in runs)[-degree:]
            assert peaks[0] > 0.99 * peaks[-1]


@pytest.mark.parametrize(
    ("function", "settings", "words"),
    [
        ("tanhh", {}, "an expression has numbers, x, pi, e"),
        ("log(x)", {"low": -1.0, "high": 2.0}, "log(x) must be finite on its interval, got nan at x = -1; set approx"),
        ("1/x", {"low": -1.0, "high": 2.0}, "must be finite on its interval, got inf at x = 0"),
        ("exp(x)", {"low": 0.0, "high": 2.0}, "exp(x) must fit into s16.14, -2..1.99994, got"),
        ("sin(x)", {"low": 0.0, "high": 17.0}, "the interval must lie in s16.11, -16..15.9995"),
        ("sin(x)", {"low": 1.0, "high": 1.0}, "hold two numbers of it"),
        ("tanh", {"low": 0.0, "high": 2.0}, "write function=tanh(x)"),
        ("tanh", {"error": 1e-5}, "error must be at least one step of s16.14, 6.1e-05, got 1e-05"),
        ("tanh", {"segments": 5}, "more than approximate.segments = 5"),
        ("sin(50*x)", {"low": -16.0, "high": 15.0, "segments": 16}, "more than"),
        ("tanh", {"degree": 6}, "approximate.degree must be 1 to 5, got 6"),
        ("tanh", {"method": "spline"}, "approximate.method must be one of gpc, minimax, got spline"),
        ("tanh", {"source": Format(33, 3)}, "approximate.source must have at most 32 bits, got s33.3"),
        ("tanh", {"to": Format(16, 15, signed=False)}, "tanh must fit into u16.15"),
    ],
)
def test_what_cannot_be_had_is_one_line(function: str, settings: dict[str, object], words: str) -> None:
    given = {"source": Format(16, 11), "to": Format(16, 14), "error": 1e-4} | settings
    with pytest.raises(ConfigError) as caught:
        piecewise(function, **given)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
