"""A model as operations on named vectors, before formats are chosen."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from edgesearch.numerics.operations import Operation

# what a vector is decides its bits: activations are stored, inner values live in a register or are short
Role = Literal["input", "activation", "inner", "logits", "matrix", "bias", "scalar"]


@dataclass
class Graph:
    """Operations on named vectors, and the parameters behind the constants.

    Attributes:
        steps: T.
        sizes: length of each value; `input` is the raw frame.
        roles: of each value and constant.
        parameters: of each constant, what gives its current numbers, differentiably.
        squashed: of the constants that are a sigmoid of a parameter, what gives that parameter.
        states, step, head, logits: as in `IntegerProgram`.
        bounded: values that a sigmoid, tanh or piecewise-linear form gives, which 1 bounds, and whether below zero too.
    """

    steps: int
    sizes: dict[str, int] = field(default_factory=dict)
    roles: dict[str, Role] = field(default_factory=dict)
    parameters: dict[str, Callable[[], Tensor]] = field(default_factory=dict)
    squashed: dict[str, Callable[[], Tensor]] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    step: list[Operation] = field(default_factory=list)
    head: list[Operation] = field(default_factory=list)
    logits: str = "logits"
    bounded: dict[str, bool] = field(default_factory=dict)

    def value(self, name: str, size: int, role: Role) -> str:
        """Declare a value."""
        self.sizes[name], self.roles[name] = size, role
        return name

    def constant(self, name: str, role: Role, numbers: Callable[[], Tensor]) -> str:
        """Declare a constant."""
        self.parameters[name], self.roles[name] = numbers, role
        return name
