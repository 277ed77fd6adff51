"""What can be approximated: named functions with what is known of them, any other by a callable or an expression."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgesearch.numerics.expression import parsed
from edgesearch.numerics.format import Floats


@dataclass(frozen=True)
class Function:
    """A function of one real variable.

    Attributes:
        name: how it is written.
        evaluate: float64 arrays to float64 arrays.
        mirror: the c of f(-x) = c - f(x), or None without such a symmetry; a table then covers |x| alone.
        settles: what it tends to as x grows; a table is constant from where that is as good as the polynomial.
        curvature: a bound on |f''|; without one it is estimated from samples.
        relative: whether errors are relative to the value.
    """

    name: str
    evaluate: Callable[[Floats], Floats]
    mirror: int | None = None
    settles: float | None = None
    curvature: float | None = None
    relative: bool = False

    def __call__(self, x: Floats) -> Floats:
        """Return the function at x."""
        with np.errstate(all="ignore"):
            found = np.asarray(self.evaluate(np.asarray(x, np.float64)), np.float64)
        return np.broadcast_to(found, np.shape(x)).copy()

    @property
    def label(self) -> str:
        """A name for files and C: letters, digits and underscores; an expression gets digits of its own."""
        if re.fullmatch(r"[A-Za-z]\w*", self.name):
            return self.name
        words = re.sub(r"\W+", "_", self.name).strip("_")[:40]
        digest = hashlib.sha256(self.name.encode()).hexdigest()[:6]
        return f"{words if words[:1].isalpha() else f'f_{words}'}_{digest}"


# sup |f''|: of tanh 4 / 3 sqrt(3) at tanh(x)^2 = 1/3, of the sigmoid an eighth of it
NAMED = {
    "sigmoid": Function("sigmoid", lambda x: 0.5 + 0.5 * np.tanh(0.5 * x), 1, 1.0, 0.0963),
    "tanh": Function("tanh", np.tanh, 0, 1.0, 0.7699),
}


def function_of(given: "str | Callable[[Floats], Floats] | Function") -> Function:
    """Return the function that a name, an expression in x or a callable stands for.

    Raises:
        ConfigError: the text is neither a name nor an expression.
    """
    if isinstance(given, Function):
        return given
    if not isinstance(given, str):
        return Function(getattr(given, "__name__", "function").strip("<>"), given)
    return NAMED[given] if given in NAMED else Function(given, parsed(given))
