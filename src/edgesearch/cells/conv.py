"""Convolutional networks over whole windows: the baselines that a recurrent cell has to prove itself against.

`lenet5`: two convolutions with poolings, two dense layers. `dscnn`: a convolution, depthwise-separable blocks with
batch normalisation, an average over the map, a dense layer (Zhang et al. 2017, arXiv:1711.07128; the keyword-spotting
size class of MLPerf Tiny). A window (T, D) is a map of one channel, T high and D wide.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, batch_norm, conv2d, dropout, linear, max_pool2d

from edgesearch.cells.spec import Counted, TensorSpec
from edgesearch.errors import ConfigError
from edgesearch.numerics.operations import Geometry

CONVOLUTIONAL = ("lenet5", "dscnn")
_MOMENTUM, _EPSILON = 0.05, 1e-5


@dataclass(frozen=True)
class Stage:
    """A layer.

    Attributes:
        name: of its tensors: K or F and a number.
        kind: `conv`, `pool` (the largest), `average` (over the whole map) or `dense`.
        geometry: of the map that it reads; a dense layer reads a map of 1 x 1.
        outputs: channels or units.
        groups: of a convolution.
        relu: whether a ReLU follows.
        normalised: whether batch normalisation comes before it.
        sparsity: the fraction of weights that training makes zero.
    """

    name: str
    kind: Literal["conv", "pool", "average", "dense"]
    geometry: Geometry
    outputs: int
    groups: int = 1
    relu: bool = False
    normalised: bool = False
    sparsity: float = 0.0

    @property
    def places(self) -> tuple[int, int]:
        """Height and width of the result."""
        return (1, 1) if self.kind == "dense" else self.geometry.places

    @property
    def size(self) -> int:
        """Values of the result."""
        high, wide = self.places
        return self.outputs * high * wide

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weights: (outputs, inputs / groups, *kernel), or (outputs, inputs)."""
        if self.kind == "dense":
            return self.outputs, self.geometry.size
        return self.outputs, self.geometry.channels // self.groups, *self.geometry.kernel

    @property
    def weighs(self) -> bool:
        """Whether it has weights."""
        return self.kind in ("conv", "dense")

    def tensors(self) -> Iterator[TensorSpec]:
        """Its parameters by their names in the classifier's state_dict."""
        if self.weighs:
            yield TensorSpec(self.name, self.shape, "matrix", self.sparsity)
            if self.normalised:
                yield TensorSpec(f"{self.name}scale", (self.outputs,), "bias")
            yield TensorSpec(f"{self.name}bias", (self.outputs,), "bias")


@dataclass(frozen=True)
class ConvSpec(Counted):
    """A convolutional classifier of windows.

    Attributes:
        cell: `lenet5` or `dscnn`.
        steps, input_size, classes: T, D, C.
        channels: of every convolution.
        hidden_size: units of lenet5's first dense layer.
        blocks: depthwise-separable blocks of dscnn.
        dropout: before dense layers.
        sparsity: of lenet5's first dense layer, which has most of the weights.
        kept: kernels or units of the layers that pruning has made smaller.
    """

    cell: str
    steps: int
    input_size: int
    classes: int
    channels: int
    hidden_size: int = 64
    blocks: int = 4
    dropout: float = 0.0
    sparsity: float = 0.0
    kept: tuple[tuple[str, int], ...] = ()

    bidirectional = False

    def __post_init__(self) -> None:
        if self.cell not in CONVOLUTIONAL:
            raise ConfigError(f"cell must be one of {', '.join(CONVOLUTIONAL)}, got {self.cell}; set cell=lenet5")
        unknown = dict(self.kept).keys() - set(self.prunable)
        if unknown:
            raise ConfigError(
                f"cell.kept must name layers of {self.cell}, got {min(unknown)}; it has {', '.join(self.prunable)}"
            )
        whole = replace(self, kept=()) if self.kept else self
        for name, units in self.kept:
            if not 1 <= units <= whole.width(name):
                raise ConfigError(
                    f"cell.kept.{name} must be at least 1 and at most {whole.width(name)}, the units of the layer, "
                    f"got {units}; set cell.kept.{name}={whole.width(name)}"
                )

    @property
    def prunable(self) -> tuple[str, ...]:
        """The layers whose kernels or units can be removed; a depthwise layer follows the one before it."""
        if self.cell == "lenet5":
            return ("K1", "K2", "F1")
        return tuple(f"K{number}" for number in range(self.blocks + 1))

    def width(self, name: str) -> int:
        """Return the kernels or units of a layer."""
        return dict(self.kept).get(name, self.hidden_size if name == "F1" else self.channels)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The layers in order."""
        return tuple(_lenet5(self) if self.cell == "lenet5" else _dscnn(self))

    def tensors(self) -> Iterator[TensorSpec]:
        """Every parameter under its name in the classifier's state_dict."""
        for stage in self.stages:
            yield from stage.tensors()


def _lenet5(spec: ConvSpec) -> Iterator[Stage]:
    channels, extents = 1, (spec.steps, spec.input_size)
    for number in (1, 2):
        geometry = Geometry(channels, *extents, kernel=(3, 3), padding=(1, 1))
        channels = spec.width(f"K{number}")
        yield Stage(f"K{number}", "conv", geometry, channels, relu=True)
        kernel = (min(2, extents[0]), min(2, extents[1]))
        pooled = Geometry(channels, *extents, kernel=kernel, stride=kernel)
        yield Stage(f"P{number}", "pool", pooled, channels)
        extents = pooled.places
    size = channels * extents[0] * extents[1]
    yield Stage("F1", "dense", _flat(size), spec.width("F1"), relu=True, sparsity=spec.sparsity)
    yield Stage("F2", "dense", _flat(spec.width("F1")), spec.classes)


def _dscnn(spec: ConvSpec) -> Iterator[Stage]:
    """The first convolution halves the map, both ways where it is large enough, with a kernel long in time."""
    kernel = (min(10, spec.steps), min(4, spec.input_size))
    stride = (2 if spec.steps > 8 else 1, 2 if spec.input_size > 8 else 1)
    first = Geometry(1, spec.steps, spec.input_size, kernel, stride, ((kernel[0] - 1) // 2, (kernel[1] - 1) // 2))
    channels = spec.width("K0")
    yield Stage("K0", "conv", first, channels, relu=True, normalised=True)
    extents = first.places
    for number in range(1, spec.blocks + 1):
        deep = Geometry(channels, *extents, kernel=(3, 3), padding=(1, 1))
        yield Stage(f"D{number}", "conv", deep, channels, groups=channels, relu=True, normalised=True)
        point = Geometry(channels, *extents, kernel=(1, 1))
        channels = spec.width(f"K{number}")
        yield Stage(f"K{number}", "conv", point, channels, relu=True, normalised=True)
    yield Stage("P", "average", Geometry(channels, *extents, kernel=extents), channels)
    yield Stage("F", "dense", _flat(channels), spec.classes)


def _flat(size: int) -> Geometry:
    return Geometry(size, 1, 1, (1, 1))


class ConvClassifier(nn.Module):
    """logits of whole windows.

    Args:
        spec: the layers.

    `input_mean` and `input_std` (D,) are set for the integer program; `forward` expects normalised input.
    """

    def __init__(self, spec: ConvSpec) -> None:
        super().__init__()
        self.spec = spec
        self.input_mean: Tensor | None = None
        self.input_std: Tensor | None = None
        for stage in spec.stages:
            if not stage.weighs:
                continue
            weights = torch.empty(stage.shape)
            nn.init.kaiming_uniform_(weights, nonlinearity="relu" if stage.relu else "linear")
            self.register_parameter(stage.name, nn.Parameter(weights))
            if stage.normalised:
                self.register_parameter(f"{stage.name}scale", nn.Parameter(torch.ones(stage.outputs)))
                self.register_buffer(f"{stage.name}mean", torch.zeros(stage.outputs))
                self.register_buffer(f"{stage.name}var", torch.ones(stage.outputs))
            self.register_parameter(f"{stage.name}bias", nn.Parameter(torch.zeros(stage.outputs)))

    @property
    def classes(self) -> int:
        """C, the number of classes."""
        return self.spec.classes

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, C) of sequences (T, B, D)."""
        maps = x.transpose(0, 1).unsqueeze(1)
        for stage in self.spec.stages:
            maps = self._stage(stage, maps)
        return maps

    def _stage(self, stage: Stage, maps: Tensor) -> Tensor:
        g = stage.geometry
        if stage.kind == "pool":
            return max_pool2d(maps, g.kernel, g.stride)
        if stage.kind == "average":
            return avg_pool2d(maps, g.kernel)
        weights, bias = self.get_parameter(stage.name), self.get_parameter(f"{stage.name}bias")
        if stage.kind == "dense":
            maps = linear(dropout(maps.flatten(1), self.spec.dropout, self.training), weights, bias)
        elif stage.normalised:
            raw = conv2d(maps, weights, None, g.stride, g.padding, groups=stage.groups)
            mean, var = self.get_buffer(f"{stage.name}mean"), self.get_buffer(f"{stage.name}var")
            scale = self.get_parameter(f"{stage.name}scale")
            maps = batch_norm(raw, mean, var, scale, bias, self.training, _MOMENTUM, _EPSILON)
        else:
            maps = conv2d(maps, weights, bias, g.stride, g.padding, groups=stage.groups)
        return maps.relu() if stage.relu else maps

    def folded(self, stage: Stage) -> tuple[Tensor, Tensor]:
        """Return a stage's weights and bias with the normalisation, as it is in evaluation, folded into them."""
        weights, bias = self.get_parameter(stage.name), self.get_parameter(f"{stage.name}bias")
        if not stage.normalised:
            return weights, bias
        mean, var = self.get_buffer(f"{stage.name}mean"), self.get_buffer(f"{stage.name}var")
        factor = self.get_parameter(f"{stage.name}scale") / torch.sqrt(var + _EPSILON)
        return weights * factor[:, None, None, None], bias - mean * factor
