"""A model as operations on named vectors, before formats are chosen."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from edgesearch.errors import ConfigError
from edgesearch.numerics.format import ChannelFormat, Floats, Format
from edgesearch.numerics.operations import Combine, Operation, Term

INPUT = "input"

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
        unit: by what each channel of a frame is divided (D,), where frames are normalised.
        scaled: the normalised frame, where there is one; `scaling` are the constants that make it.
        by_channel: of the constants that a frame is multiplied by, how its format changes their numbers.
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
    unit: Floats | None = None
    scaled: str | None = None
    scaling: tuple[str, ...] = ()
    by_channel: dict[str, Callable[[Tensor, ChannelFormat], Tensor]] = field(default_factory=dict)

    def value(self, name: str, size: int, role: Role) -> str:
        """Declare a value."""
        self.sizes[name], self.roles[name] = size, role
        return name

    def constant(self, name: str, role: Role, numbers: Callable[[], Tensor]) -> str:
        """Declare a constant."""
        self.parameters[name], self.roles[name] = numbers, role
        return name

    def numbers(self, name: str, given: Format | None = None) -> Tensor:
        """Return a constant's current numbers, differentiably, for a frame in the format `given`, or in floats."""
        found = self.parameters[name]()
        if isinstance(given, ChannelFormat) and name in self.by_channel:
            return self.by_channel[name](found, given)
        return found

    def normalise(self, operations: list[Operation], source: str, size: int, mean: Tensor, std: Tensor) -> str:
        """Append the scaling of `source`, frames of a total `size`, by mean and std (D,); return the result's name.

        Means of every step (T * D) are taken where all steps have the same.

        Raises:
            ConfigError: the steps differ.
        """
        mean, std = (self._of_channels(values.double()) for values in (mean, std))
        self.unit, self.scaled = std.detach().cpu().numpy(), "x"
        self.scaling = ("input_scale", "input_offset")
        scale = self.constant("input_scale", "scalar", lambda: 1.0 / std)
        offset = self.constant("input_offset", "scalar", lambda: -mean / std)
        self.by_channel[scale] = lambda found, given: found * _tensor(given.spans, found)
        self.by_channel[offset] = lambda found, given: (_tensor(given.bases, found) - mean) / std
        x = self.value(self.scaled, size, "activation")
        operations.append(Combine(x, (Term((source, scale)), Term((offset,)))))
        return x

    def _of_channels(self, values: Tensor) -> Tensor:
        channels = self.sizes[INPUT]
        steps = values.reshape(-1, channels) if values.numel() % channels == 0 else values[None]
        if steps.size(1) != channels or not bool((steps == steps[0]).all()):
            raise ConfigError(
                f"an integer program scales the {channels} features of a frame alike at every step, got "
                f"{values.numel()} means that differ by step; normalise the data by feature"
            )
        return steps[0]


def _tensor(numbers: Floats, like: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(numbers)).to(like)
