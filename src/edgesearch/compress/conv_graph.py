"""A convolutional classifier as the operations of an integer program: all of them after the last frame."""

from functools import partial

import torch
from torch import Tensor

from edgesearch.cells.conv import ConvClassifier, Stage
from edgesearch.compress.graph import Graph
from edgesearch.numerics.operations import Affine, Convolve, Pool, Term, piecewise_linear


def conv_graph(model: ConvClassifier) -> Graph:
    """Return the graph of a convolutional classifier on windows of raw frames.

    `model.input_mean` and `model.input_std` (D,), where set, become the first operation. Batch normalisation is folded
    into the weights, an average's division into those of the dense layer after it.
    """
    spec = model.spec
    g = Graph(spec.steps)
    g.value("input", spec.input_size, "input")
    source, share = "window", 1.0
    if model.input_mean is not None and model.input_std is not None:
        source = g.normalise(g.head, source, spec.steps * spec.input_size, model.input_mean, model.input_std)
    for stage in spec.stages:
        if stage.kind in ("pool", "average"):
            kind = "max" if stage.kind == "pool" else "sum"
            g.head.append(Pool(g.value(stage.name, stage.size, "activation"), source, stage.geometry, kind))
            high, wide = stage.geometry.kernel
            share = 1.0 / (high * wide) if kind == "sum" else 1.0
            source = stage.name
        else:
            source = _weighed(g, model, stage, source, share)
            share = 1.0
    g.logits = source
    return g


def _weighed(g: Graph, model: ConvClassifier, stage: Stage, source: str, share: float) -> str:
    """Append a convolution or a dense layer; return the name of its result."""
    weights = g.constant(stage.name, "matrix", partial(_weights, model, stage, share))
    bias = g.constant(f"{stage.name}bias", "bias", lambda: model.folded(stage)[1])
    out = f"{stage.name}_out"
    last = stage is model.spec.stages[-1]
    if stage.kind == "conv":
        g.value(out, stage.size, "activation")
        low = 0.0 if stage.relu else None
        g.head.append(Convolve(out, source, weights, stage.geometry, bias, stage.groups, low))
    elif stage.relu:
        g.head.append(Affine(g.value(f"{stage.name}_sum", stage.size, "inner"), ((weights, source),), bias))
        g.value(out, stage.size, "activation")
        g.head.append(piecewise_linear(out, (Term((f"{stage.name}_sum",)),), "relu"))
    else:
        out = "logits" if last else out
        g.head.append(Affine(g.value(out, stage.size, "logits" if last else "activation"), ((weights, source),), bias))
    return out


def _weights(model: ConvClassifier, stage: Stage, share: float) -> Tensor:
    found = model.folded(stage)[0]
    return found if share == 1.0 else torch.mul(found, share)
