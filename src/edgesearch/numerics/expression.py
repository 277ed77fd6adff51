"""Expressions in x, such as x/(1+abs(x)): text in, a function of float64 arrays out. Only the names below are run."""

import ast
import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from edgesearch.errors import ConfigError
from edgesearch.numerics.format import Floats


def _erf(x: Any) -> Any:
    from scipy.special import erf

    return erf(x)


_CALLS: dict[str, Callable[[Any], Any]] = {
    "abs": np.abs, "sqrt": np.sqrt, "exp": np.exp, "log": np.log, "log2": np.log2, "sin": np.sin, "cos": np.cos,
    "tan": np.tan, "tanh": np.tanh, "sinh": np.sinh, "cosh": np.cosh, "atan": np.arctan, "erf": _erf,
}  # fmt: skip
_NUMBERS = {"pi": math.pi, "e": math.e}
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_LONGEST = 500


def parsed(text: str) -> Callable[[Floats], Floats]:
    """Return the function that the expression stands for.

    Raises:
        ConfigError: it is no expression, or has a name or an operation other than those known.
    """
    if len(text) > _LONGEST:
        raise ConfigError(
            f"an expression has at most {_LONGEST} characters, got {len(text)}; pass a callable in Python"
        )
    try:
        body = ast.parse(text.strip().replace("^", "**"), mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"function must be a name or an expression in x, got {text}; write x/(1+abs(x))") from error
    evaluate = _compiled(body, text)
    return lambda x: np.asarray(evaluate(x), np.float64)


def _compiled(node: ast.expr, text: str) -> Callable[[Any], Any]:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        number = np.float64(node.value)
        return lambda x: number
    if isinstance(node, ast.Name) and node.id == "x":
        return lambda x: x
    if isinstance(node, ast.Name) and node.id in _NUMBERS:
        constant = np.float64(_NUMBERS[node.id])
        return lambda x: constant
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        apply = _BINARY[type(node.op)]
        left, right = _compiled(node.left, text), _compiled(node.right, text)
        return lambda x: apply(left(x), right(x))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        inner, sign = _compiled(node.operand, text), -1.0 if isinstance(node.op, ast.USub) else 1.0
        return lambda x: sign * inner(x)
    called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else None
    if isinstance(node, ast.Call) and called in _CALLS and len(node.args) == 1 and not node.keywords:
        call, argument = _CALLS[called], _compiled(node.args[0], text)
        return lambda x: call(argument(x))
    raise ConfigError(
        f"an expression has numbers, x, pi, e, + - * / ** and {' '.join(_CALLS)} of one argument, "
        f"got {ast.unparse(node)} in {text}; rewrite it"
    )
