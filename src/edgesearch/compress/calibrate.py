"""Formats from data: the range of every value over batches and time steps, then the fraction that serves it best."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgesearch.compress.channels import input_format
from edgesearch.compress.executor import Executor
from edgesearch.compress.fitting import FINEST, fitted
from edgesearch.compress.graph import INPUT, Graph
from edgesearch.config import QuantConfig
from edgesearch.data.frames import Frames
from edgesearch.errors import ConfigError, DataError
from edgesearch.numerics.approximation import SOURCE, Table, approximate
from edgesearch.numerics.format import Floats, Format
from edgesearch.numerics.operations import Apply

_SAMPLE = 4096  # numbers kept of each value
SCALING_FINEST = 140  # fraction bits of what frames are scaled by: the inverse of any deviation


@dataclass
class Observed:
    """What was seen of a value: the largest magnitude, and a sample drawn evenly from everything."""

    largest: float = 0.0
    count: int = 0
    sample: Floats = field(default_factory=lambda: np.zeros(0))


class Ranges:
    """Observes every value of an executor; of the input also channel by channel (`frames`)."""

    def __init__(self, seed: int = 0) -> None:
        self.observed: dict[str, Observed] = {}
        self.frames: Frames | None = None
        self._generator = torch.Generator().manual_seed(seed)
        self._drawn = np.random.default_rng(seed)

    def __call__(self, name: str, value: Tensor) -> None:
        """Take in a value.

        Raises:
            DataError: it is not finite.
        """
        found = self.observed.setdefault(name, Observed())
        flat = value.detach().reshape(-1)
        if not len(flat):
            raise DataError("calibration needs sequences, got an empty batch; give it training data")
        largest = float(flat.abs().max())
        if not math.isfinite(largest):
            raise DataError(f"calibration data must be finite, got {largest} at {name}; clean the data or train again")
        if name == INPUT:
            seen = Frames.of(value.detach().reshape(-1, value.size(-1)).cpu().double().numpy())
            self.frames = seen if self.frames is None else self.frames.joined(seen, self._drawn)
        found.largest = max(found.largest, largest)
        found.count += len(flat)
        share = max(1, _SAMPLE * len(flat) // found.count)
        drawn = flat[torch.randint(len(flat), (share,), generator=self._generator).to(flat.device)].cpu().numpy()
        kept = found.sample
        if len(kept) + len(drawn) > _SAMPLE:
            stay = torch.randperm(len(kept), generator=self._generator)[: _SAMPLE - len(drawn)].numpy()
            kept = kept[stay]
        found.sample = np.concatenate((kept, drawn))

    def to_json(self) -> dict[str, Any]:
        """Ranges and samples for a file."""
        return {
            name: {"largest": o.largest, "count": o.count, "sample": o.sample.tolist()}
            for name, o in self.observed.items()
        }


def observe(graph: Graph, batches: Iterable[Tensor]) -> Ranges:
    """Return the ranges of every value of the float model over raw sequences (T, B, D).

    Raises:
        DataError: no batch, or numbers that are not finite.
    """
    ranges, executor = Ranges(), Executor(graph)
    with torch.no_grad():
        for x in batches:
            executor(x, ranges)
    if not ranges.observed:
        raise DataError("calibration needs at least one batch, got none; give it training data")
    return ranges


@dataclass(frozen=True)
class Widths:
    """Bits of weights and of activations (input, gates, states), exceptions by name, and how ranges are chosen.

    Inner values, which C keeps in a register or in a short vector, and biases and scalars have 16 bits.
    """

    weights: int = 8
    activations: int = 16
    range: str = "error"
    function_error: float = 1e-3
    named: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, quant: QuantConfig) -> "Widths":
        """Return the widths that a configuration asks for."""
        return cls(quant.weight_bits, quant.activation_bits, quant.range, quant.function_error, dict(quant.named))

    def check(self, graph: Graph) -> None:
        """Raise `ConfigError` where an exception names no tensor of the graph, or has not 2 to 16 bits."""
        for name, bits in self.named.items():
            if not 2 <= bits <= 16:
                raise ConfigError(f"{name} must have 2 to 16 bits, got {bits}; give it 8")
        tensors = graph.roles.keys() - graph.states.keys()  # a state has the format of the value it takes
        unknown = set(self.named) - tensors
        if unknown:
            raise ConfigError(
                f"{min(unknown)} is no tensor of the model with bits of its own; it has {', '.join(sorted(tensors))}"
            )

    def bits(self, graph: Graph, name: str) -> int:
        """Return the bits of a value or constant."""
        by_role = {"matrix": self.weights, "input": self.activations, "activation": self.activations}
        return self.named.get(name, by_role.get(graph.roles[name], 16))


def choose_formats(graph: Graph, ranges: Ranges, widths: Widths) -> dict[str, Format]:
    """Return a format for every value and constant of the graph.

    Raises:
        ConfigError: a name in `widths` that the graph has not, or a value that was never observed.
    """
    widths.check(graph)
    formats: dict[str, Format] = {}
    for name, size in graph.sizes.items():
        if name in graph.states:
            continue
        if name not in ranges.observed:
            raise ConfigError(f"calibration never saw {name} ({size} values); calibrate this model again")
        bits = widths.bits(graph, name)
        if name == graph.scaled:
            bits = max(bits, formats[INPUT].bits)
        formats[name] = _value_format(graph, name, ranges.observed[name], bits, widths.range)
        if name == INPUT and ranges.frames is not None and graph.by_channel:
            free = name not in widths.named
            formats[name] = input_format(formats[name], ranges.frames, widths.range, graph.unit, widen=free)
    formats |= {o.source: SOURCE for o in (*graph.step, *graph.head) if isinstance(o, Apply)}
    formats |= {state: formats[source] for state, source in graph.states.items()}
    for name in graph.parameters:
        values = graph.numbers(name, formats[INPUT]).detach().double().cpu().numpy().reshape(-1)
        bits, finest = widths.bits(graph, name), FINEST
        if name in graph.scaling:
            bits, finest = max(bits, formats[INPUT].bits), SCALING_FINEST
        formats[name] = fitted(values, float(np.abs(values).max(initial=0)), bits, widths.range, finest)
    return formats


def _value_format(graph: Graph, name: str, seen: Observed, bits: int, how: str) -> Format:
    if name not in graph.bounded:
        return fitted(seen.sample, seen.largest, bits, how)
    # 1 is reached and must be a number, except where it would cost a bit of few
    return Format(bits, bits - 2 if bits > 8 else bits - 1, signed=graph.bounded[name] or bits > 8)


def choose_tables(graph: Graph, formats: Mapping[str, Format], error: float) -> dict[str, Table]:
    """Return the table of every approximated function."""
    return {
        o.out: approximate(o.function, formats[o.source], formats[o.out], error)
        for o in (*graph.step, *graph.head)
        if isinstance(o, Apply)
    }
