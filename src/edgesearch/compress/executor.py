"""A graph run by torch: as floats, or in the numbers that the integer program has, with gradients through the rounding.

Everything is float64: sums of products of integers, scaled by powers of two, are exact in it, so that the
fake-quantised forward pass and the program's interpreter give the same numbers.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, max_pool2d

from edgesearch.compress.graph import INPUT, Graph
from edgesearch.numerics.approximation import Table
from edgesearch.numerics.format import ChannelFormat, Format
from edgesearch.numerics.operations import Affine, Apply, Combine, Convolve, Operation, Sum
from edgesearch.numerics.program import bounds

Observer = Callable[[str, Tensor], None]
_EXACT: dict[str, Callable[[Tensor], Tensor]] = {"sigmoid": torch.sigmoid, "tanh": torch.tanh}


class _Round(torch.autograd.Function):
    """floor(x * 2 ** fraction + 0.5), held between two integers; the gradient passes where nothing was held."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, fraction: int, low: int, high: int) -> Tensor:
        integers = torch.floor(x * 2.0**fraction + 0.5)
        held = integers.clamp(low, high)
        ctx.save_for_backward(integers == held)
        return held * 2.0**-fraction

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return gradients[0] * ctx.saved_tensors[0], None, None, None


class _Replace(torch.autograd.Function):
    """Gives y, which was looked up, and the gradient of the exact function."""

    @staticmethod
    def forward(ctx: Any, exact: Tensor, y: Tensor) -> Tensor:
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return gradients[0], None


class Executor(nn.Module):
    """Runs a graph on raw sequences (T, B, D), giving logits (B, C) in float64.

    Args:
        graph: what to compute; its parameters stay those of the model.
        formats: of every value and constant; None computes in floats.
        tables: of each `Apply` result, with `formats`.
    """

    def __init__(
        self, graph: Graph, formats: Mapping[str, Format] | None = None, tables: Mapping[str, Table] | None = None
    ) -> None:
        super().__init__()
        self.graph, self.formats = graph, formats
        for name, table in (tables or {}).items():
            self.register_buffer(f"table_{name}", _lookup(table), persistent=False)

    def forward(self, x: Tensor, observe: Observer | None = None) -> Tensor:
        """Return logits; `observe` is given every value at every step, the frame included."""
        environment = {name: self._constant(name) for name in self.graph.parameters}
        zeros = x.new_zeros(x.size(1), 1, dtype=torch.float64)
        environment |= {state: zeros.expand(-1, self.graph.sizes[state]) for state in self.graph.states}
        if self.graph.step:
            for frame in x.double():
                environment["input"] = self._input(frame)
                self._run(self.graph.step, environment, observe)
                if observe is not None:
                    observe("input", environment["input"])
                environment |= {state: environment[source] for state, source in self.graph.states.items()}
        else:
            frames = self._input(x.double().transpose(0, 1))
            environment["window"] = frames.reshape(x.size(1), -1)
            if observe is not None:
                observe("input", frames)
        self._run(self.graph.head, environment, observe)
        return environment[self.graph.logits]

    def _input(self, frames: Tensor) -> Tensor:
        """Frames (..., D) as the numbers that the program computes with."""
        if self.formats is None:
            return frames
        to = self.formats[INPUT]
        if isinstance(to, ChannelFormat):
            return torch.from_numpy(to.integers(frames.detach().cpu().numpy())).to(frames) * to.step
        return self._store(INPUT, frames, to.fraction, to.low, to.high)

    def _constant(self, name: str) -> Tensor:
        if self.formats is None:
            return self.graph.numbers(name).double()
        to = self.formats[name]
        return self._store(name, self.graph.numbers(name, self.formats[INPUT]).double(), to.fraction, to.low, to.high)

    def _store(self, name: str, x: Tensor, fraction: int, low: int, high: int) -> Tensor:
        """Round to a fraction, held between two integers, with straight-through gradients."""
        return _Round.apply(x, fraction, low, high)  # type: ignore[no-any-return, no-untyped-call]

    def _run(self, operations: list[Operation], environment: dict[str, Tensor], observe: Observer | None) -> None:
        for operation in operations:
            if isinstance(operation, Apply):
                result = self._looked_up(operation, environment[operation.source])
            else:
                result = self._held(operation, _total(operation, environment, self.graph.sizes))
            environment[operation.out] = result
            if observe is not None:
                observe(operation.out, result)

    def _held(self, operation: Sum, total: Tensor) -> Tensor:
        if self.formats is None:
            low, high = getattr(operation, "low", None), getattr(operation, "high", None)
            return total if low is None and high is None else total.clamp(low, high)
        to = self.formats[operation.out]
        return self._store(operation.out, total, to.fraction, *bounds(operation, to))

    def _exact(self, operation: Apply, x: Tensor) -> Tensor:
        return _EXACT[operation.function](x)

    def _looked_up(self, operation: Apply, x: Tensor) -> Tensor:
        y = self._exact(operation, x)
        if self.formats is None:
            return y
        source = self.formats[operation.source]
        entries = (x.detach() * 2.0**source.fraction).long() - source.low
        return _Replace.apply(y, self.get_buffer(f"table_{operation.out}")[entries])  # type: ignore[no-any-return, no-untyped-call]


def _total(operation: Sum, environment: Mapping[str, Tensor], sizes: Mapping[str, int]) -> Tensor:
    if isinstance(operation, Affine):
        return _affine(operation, environment)
    if isinstance(operation, Combine):
        return _sum(operation, environment, sizes[operation.out])
    g = operation.geometry
    maps = environment[operation.source].reshape(-1, g.channels, g.height, g.width)
    if isinstance(operation, Convolve):
        bias = None if operation.bias is None else environment[operation.bias]
        weights = environment[operation.weights]
        return conv2d(maps, weights, bias, g.stride, g.padding, groups=operation.groups).flatten(1)
    if operation.kind == "max":
        return max_pool2d(maps, g.kernel, g.stride).flatten(1)
    return avg_pool2d(maps, g.kernel, g.stride, divisor_override=1).flatten(1)


def _affine(operation: Affine, environment: Mapping[str, Tensor]) -> Tensor:
    total = sum(environment[vector] @ environment[matrix].t() for matrix, vector in operation.products)
    assert isinstance(total, Tensor)
    return total if operation.bias is None else total + environment[operation.bias]


def _sum(operation: Combine, environment: Mapping[str, Tensor], size: int) -> Tensor:
    total: Tensor | float = 0.0
    for term in operation.terms:
        product: Tensor | float = (-1.0 if term.negative else 1.0) * 2.0**term.power
        for name in term.operands:
            values = environment[name]
            rounds = size // values.size(-1) if values.size(-1) > 1 else 1
            product = product * (values if rounds == 1 else values.repeat(rounds))
        total = total + product
    assert isinstance(total, Tensor)
    return total


def _lookup(table: Table) -> Tensor:
    """The table's value for every integer of its source format."""
    every = torch.arange(table.source.low, table.source.high + 1).numpy()
    return torch.from_numpy(table.to.numbers(table(every)))
