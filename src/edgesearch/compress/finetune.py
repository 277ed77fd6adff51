"""Training in the numbers of the integer program: the quantised forward pass, called like the float model."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from edgesearch.cells.classifier import AnyClassifier
from edgesearch.compress.build import build_graph
from edgesearch.compress.calibrate import Widths, choose_formats, choose_tables, observe
from edgesearch.compress.executor import Executor
from edgesearch.compress.graph import Graph
from edgesearch.numerics.format import Format

_ROWS = 512  # windows at once


def raw_graph(model: AnyClassifier, steps: int, mean: Tensor, std: Tensor) -> Graph:
    """Return the graph, on raw frames, of a classifier that was trained on frames normalised by mean and std (D,)."""
    model.input_mean, model.input_std = mean, std
    return build_graph(model, steps)


def calibrated(graph: Graph, x: Tensor, widths: Widths) -> dict[str, Format]:
    """Return formats from raw sequences x (T, N, D)."""
    return choose_formats(graph, observe(graph, torch.split(x, _ROWS, dim=1)), widths)


class FakeQuantized(nn.Module):
    """The quantised forward pass of a classifier, on normalised sequences like the classifier's own.

    Gradients go to the classifier's parameters. The frames are brought back to raw units first.
    """

    def __init__(self, graph: Graph, formats: Mapping[str, Format], function_error: float, mean: Tensor, std: Tensor):
        super().__init__()
        self._executor = Executor(graph, formats, choose_tables(graph, formats, function_error))
        self.register_buffer("mean", mean.double(), persistent=False)
        self.register_buffer("std", std.double(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, C) of x (T, B, D)."""
        logits: Tensor = self._executor(x.double() * self.get_buffer("std") + self.get_buffer("mean"))
        return logits.to(x.dtype)
