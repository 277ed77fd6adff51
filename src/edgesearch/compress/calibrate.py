"""Formats from data: the range of every value over batches and time steps, then the fraction that serves it best."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgesearch.compress.executor import Executor
from edgesearch.compress.graph import Graph
from edgesearch.config import QuantConfig
from edgesearch.config.schema import RANGES
from edgesearch.errors import ConfigError, DataError
from edgesearch.numerics.approximation import SOURCE, Table, approximate
from edgesearch.numerics.format import Floats, Format
from edgesearch.numerics.operations import Apply

_SAMPLE = 4096  # numbers kept of each value
_TRIED = 4  # fractions below and above the one of the largest number
_PERCENTILE = 99.9
_FINEST = 24  # fraction bits: what is smaller changes no sum, and would widen every one


@dataclass
class Observed:
    """What was seen of a value: the largest magnitude, and a sample drawn evenly from everything."""

    largest: float = 0.0
    count: int = 0
    sample: Floats = field(default_factory=lambda: np.zeros(0))


class Ranges:
    """Observes every value of an executor."""

    def __init__(self, seed: int = 0) -> None:
        self.observed: dict[str, Observed] = {}
        self._generator = torch.Generator().manual_seed(seed)

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

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Ranges":
        """Read back what `to_json` gave."""
        ranges = cls()
        for name, entry in found.items():
            ranges.observed[name] = Observed(entry["largest"], entry["count"], np.array(entry["sample"], np.float64))
        return ranges


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
    formats = {}
    for name, size in graph.sizes.items():
        if name in graph.states:
            continue
        if name not in ranges.observed:
            raise ConfigError(f"calibration never saw {name} ({size} values); calibrate this model again")
        formats[name] = _value_format(graph, name, ranges.observed[name], widths)
    formats |= {o.source: SOURCE for o in (*graph.step, *graph.head) if isinstance(o, Apply)}
    formats |= {state: formats[source] for state, source in graph.states.items()}
    for name, numbers in graph.parameters.items():
        values = numbers().detach().double().cpu().numpy().reshape(-1)
        formats[name] = fitted(values, float(np.abs(values).max(initial=0)), widths.bits(graph, name), widths.range)
    return formats


def _value_format(graph: Graph, name: str, seen: Observed, widths: Widths) -> Format:
    bits = widths.bits(graph, name)
    if name not in graph.bounded:
        return fitted(seen.sample, seen.largest, bits, widths.range)
    # 1 is reached and must be a number, except where it would cost a bit of few
    return Format(bits, bits - 2 if bits > 8 else bits - 1, signed=graph.bounded[name] or bits > 8)


def fitted(sample: Floats, largest: float, bits: int, how: str) -> Format:
    """Return the signed format of `bits` whose fraction suits numbers of which `sample` is a part.

    Args:
        sample: some of the numbers.
        largest: the largest magnitude of all.
        bits: 2 to 16.
        how: `max`: the largest magnitude is held, or one step less; `percentile`: that of 99.9 % of the sample;
            `error`: least mean squared error on the sample.
    """
    if how not in RANGES:
        raise ConfigError(f"quant.range must be one of {', '.join(RANGES)}, got {how}; set quant.range=error")
    reach = float(np.percentile(np.abs(sample), _PERCENTILE)) if how == "percentile" and len(sample) else largest
    fraction = bits - 1 - math.ceil(math.log2(reach)) if reach > 0 else bits - 1
    if how != "error" or not len(sample):
        return Format(bits, min(fraction, _FINEST))
    tried = [Format(bits, min(fraction + k, _FINEST)) for k in range(_TRIED + 1)]
    return min(tried, key=lambda f: float(np.square(f.numbers(f.integers(sample)) - sample).sum()))


def choose_tables(graph: Graph, formats: Mapping[str, Format], error: float) -> dict[str, Table]:
    """Return the table of every approximated function."""
    return {
        o.out: approximate(o.function, formats[o.source], formats[o.out], error)
        for o in (*graph.step, *graph.head)
        if isinstance(o, Apply)
    }
