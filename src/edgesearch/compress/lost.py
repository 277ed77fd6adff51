"""Where integers lose: the value or constant whose rounding moves the logits most, and whether steps or range do it.

Each is spared in turn, in the numbers of the program otherwise; what brings the logits nearest to those of the float
model is what costs most.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from edgesearch.compress.executor import Executor
from edgesearch.compress.graph import INPUT, Graph
from edgesearch.numerics.approximation import Table
from edgesearch.numerics.format import ChannelFormat, Format
from edgesearch.numerics.operations import Apply


@dataclass(frozen=True)
class Lost:
    """The name of a value or constant, whether `resolution` or `saturation` costs, and what to try."""

    name: str
    kind: str
    remedy: str


class _Sparing(Executor):
    """Computes in the program's numbers, but for one value or constant, which is not rounded, not held, or neither."""

    def __init__(
        self,
        graph: Graph,
        formats: Mapping[str, Format],
        tables: Mapping[str, Table],
        spared: str,
        *,
        rounds: bool = False,
        holds: bool = False,
    ) -> None:
        super().__init__(graph, formats, tables)
        self._spared, self._rounds, self._holds = spared, rounds, holds

    def _input(self, frames: Tensor) -> Tensor:
        assert self.formats is not None
        to = self.formats[INPUT]
        if self._spared != INPUT:
            return super()._input(frames)
        if isinstance(to, ChannelFormat):
            frames = (frames - torch.from_numpy(to.bases).to(frames)) / torch.from_numpy(to.spans).to(frames)
        return self._store(INPUT, frames, to.fraction, to.low, to.high)

    def _store(self, name: str, x: Tensor, fraction: int, low: int, high: int) -> Tensor:
        if name != self._spared:
            return super()._store(name, x, fraction, low, high)
        if self._rounds:
            x = torch.floor(x * 2.0**fraction + 0.5) * 2.0**-fraction
        return x.clamp(low * 2.0**-fraction, high * 2.0**-fraction) if self._holds else x

    def _looked_up(self, operation: Apply, x: Tensor) -> Tensor:
        if self._spared not in (operation.out, operation.source):
            return super()._looked_up(operation, x)
        y = self._exact(operation, x)
        assert self.formats is not None
        to = self.formats[operation.out]
        return y if self._spared == operation.out else super()._store(operation.out, y, to.fraction, to.low, to.high)


@torch.no_grad()
def most_lost(graph: Graph, formats: Mapping[str, Format], tables: Mapping[str, Table], x: Tensor) -> Lost:
    """Return what costs most on raw sequences x (T, N, D)."""
    exact = Executor(graph)(x)

    def distance(executor: Executor) -> float:
        return float((executor(x) - exact).square().mean())

    names = [name for name in (*graph.sizes, *graph.parameters) if name not in graph.states]
    found = {name: distance(_Sparing(graph, formats, tables, name)) for name in names}
    worst = min(found, key=lambda name: found[name])
    unrounded = distance(_Sparing(graph, formats, tables, worst, holds=True))
    unheld = distance(_Sparing(graph, formats, tables, worst, rounds=True))
    kind = "resolution" if unrounded <= unheld else "saturation"
    return Lost(worst, kind, _remedy(graph, worst, formats[worst].bits, kind))


def _remedy(graph: Graph, name: str, bits: int, kind: str) -> str:
    applied = {o.out for o in (*graph.step, *graph.head) if isinstance(o, Apply)}
    if kind == "saturation":
        return "quant.range=max"
    if graph.roles[name] == "matrix" and bits < 16:
        return f"+quant.named.{name}=16, quant.weight_bits={4 if bits < 4 else 8 if bits < 8 else 16} or task=finetune"
    if graph.roles[name] in ("input", "activation") and bits < 16:
        return "quant.activation_bits=16 or task=finetune"
    if name in applied:
        return "quant.function_error=0.0001"
    if name == INPUT or name in graph.scaling:
        return "other units for the channels of widest range"
    return "task=finetune"
