"""Expressions in x: what they compute, and that nothing else is ever run."""

import math

import numpy as np
import pytest

from edgesearch.errors import ConfigError
from edgesearch.numerics.expression import parsed
from edgesearch.numerics.functions import function_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x", 0.5),
        ("2", 2.0),
        ("-x**2 + 3*x - 1/4", -0.25 + 1.5 - 0.25),
        ("x^2", 0.25),
        ("exp(-x)*cos(pi*x)", math.exp(-0.5) * math.cos(math.pi / 2)),
        ("log(e)+sqrt(abs(-x))", 1 + math.sqrt(0.5)),
        ("0.5*x*(1+erf(x/sqrt(2)))", 0.25 * (1 + math.erf(0.5 / math.sqrt(2)))),
        ("tanh(sinh(x))/cosh(x)-tan(x)+atan(x)+log2(x)", None),
    ],
)
def test_values(text: str, expected: float | None) -> None:
    if expected is None:
        expected = math.tanh(math.sinh(0.5)) / math.cosh(0.5) - math.tan(0.5) + math.atan(0.5) + math.log2(0.5)
    found = function_of(text)(np.array([0.5, 0.5]))
    np.testing.assert_allclose(found, expected, rtol=1e-13)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')", "x.real", "x[0]", "lambda: 1", "(x, x)", "y", "exp", "exp(x, x)", "exp(x=1)", "open(x)",
        "x if x else 1",
        "'text'", "True", "x +", "", "x < 1", "1j*x", "f\"{x}\"", "exp(exp)", "x//2", "(y := 1)", "x" * 501,
    ],
)  # fmt: skip
def test_everything_else_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parsed(text)
    assert "\n" not in str(caught.value)


def test_different_expressions_have_different_names_for_files() -> None:
    labels = [function_of(text).label for text in ("x+1", "x-1", "1/x", "tanh", "sigmoid", "x" + "+x" * 60)]
    assert len(set(labels)) == len(labels)
    assert all(label.isidentifier() and len(label) < 60 for label in labels)
