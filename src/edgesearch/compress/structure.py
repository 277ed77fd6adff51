"""Structured pruning: kernels of convolutions, neurons of dense layers, hidden units of recurrent cells, removed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from edgesearch.cells.classifier import AnySpec
from edgesearch.cells.conv import ConvSpec, Stage
from edgesearch.cells.spec import ModelSpec
from edgesearch.errors import ConfigError

Weights = dict[str, Tensor]
HIDDEN = "hidden"


@dataclass(frozen=True)
class Structure:
    """Which units of each layer are left, by their numbers in the unpruned model.

    Attributes:
        kept: layer to unit numbers; layers that are not named are whole. A recurrent model's layer is `hidden`.
    """

    kept: Mapping[str, tuple[int, ...]]

    def without(self, layer: str, unit: int) -> "Structure":
        """Return the structure less one unit."""
        return Structure({**self.kept, layer: tuple(u for u in self.kept[layer] if u != unit)})


def whole(spec: AnySpec) -> Structure:
    """Return the structure of a model of which nothing is removed.

    Raises:
        ConfigError: recurrent layers on top of each other or both ways, which have no units of their own to remove.
    """
    if isinstance(spec, ConvSpec):
        return Structure({name: tuple(range(spec.width(name))) for name in spec.prunable})
    if spec.num_layers > 1 or spec.bidirectional:
        raise ConfigError(
            "hidden units are pruned in one recurrent layer that runs forwards, got "
            f"cell.num_layers={spec.num_layers} and cell.bidirectional={spec.bidirectional}; train one layer"
        )
    return Structure({HIDDEN: tuple(range(spec.hidden_size))})


def least(spec: AnySpec) -> dict[str, int]:
    """Return how many units of each layer must stay."""
    if isinstance(spec, ConvSpec):
        return dict.fromkeys(spec.prunable, 1)
    return {HIDDEN: max(spec.wRank or 1, spec.uRank or 1)}


def scores(spec: AnySpec, weights: Weights) -> dict[str, Tensor]:
    """Return a number for each unit: the L2 norm of its weights over the root mean square of its layer's norms."""
    found = {}
    if isinstance(spec, ConvSpec):
        for stage in spec.stages:
            if stage.name in spec.prunable:
                found[stage.name] = _effective(stage, weights).flatten(1).norm(dim=1)
    else:
        found[HIDDEN] = _hidden_norms(spec, weights)
    return {name: norms / norms.square().mean().sqrt().clamp_min(1e-12) for name, norms in found.items()}


def pruned_spec(spec: AnySpec, structure: Structure) -> AnySpec:
    """Return the spec of the smaller model.

    Raises:
        ConfigError: the structure is of another model.
    """
    _check(spec, structure)
    if isinstance(spec, ConvSpec):
        kept = dict(spec.kept) | {name: len(units) for name, units in structure.kept.items()}
        return replace(spec, kept=tuple(sorted(kept.items())))
    return replace(spec, hidden_size=len(structure.kept[HIDDEN]))


def pruned_weights(spec: AnySpec, weights: Weights, structure: Structure) -> Weights:
    """Return the weights of the smaller model, whose outputs are those of `masked_weights`.

    Raises:
        ConfigError: the structure is of another model.
    """
    _check(spec, structure)
    if isinstance(spec, ConvSpec):
        return _pruned_conv(spec, weights, structure)
    return _pruned_hidden(spec, weights, torch.tensor(structure.kept[HIDDEN]))


def masked_weights(spec: AnySpec, weights: Weights, structure: Structure) -> Weights:
    """Return weights of the full size in which what is removed says nothing."""
    _check(spec, structure)
    masked = {name: tensor.clone() for name, tensor in weights.items()}
    if isinstance(spec, ConvSpec):
        for layer, units in structure.kept.items():
            gone = [unit for unit in range(spec.width(layer)) if unit not in set(units)]
            for part in ("scale", "bias"):
                if f"{layer}{part}" in masked:
                    masked[f"{layer}{part}"][gone] = 0
            masked[layer][gone] = 0
            if (follower := _follower(layer)) in masked:  # what it makes of nothing is nothing too
                for part in ("scale", "bias"):
                    masked[f"{follower}{part}"][gone] = 0
        return masked
    gone = [unit for unit in range(spec.hidden_size) if unit not in set(structure.kept[HIDDEN])]
    masked["rnn.cells.0.U" if spec.uRank is None else "rnn.cells.0.U1"][gone] = 0
    masked["FC"][gone] = 0
    return masked


def _check(spec: AnySpec, structure: Structure) -> None:
    full = whole(spec).kept
    if isinstance(spec, ModelSpec) and HIDDEN not in structure.kept:
        raise ConfigError(
            f"the pruning must be one of this model, got layer {min(structure.kept, default='none')} of "
            "another; run task=prune again"
        )
    for layer, units in structure.kept.items():
        if layer not in full or not set(units) <= set(full[layer]) or not units or len(set(units)) != len(units):
            raise ConfigError(
                f"the pruning must be one of this model, got layer {layer} of another; run task=prune again"
            )


def _effective(stage: Stage, weights: Weights) -> Tensor:
    found = weights[stage.name]
    if not stage.normalised:
        return found
    factor = weights[f"{stage.name}scale"] / torch.sqrt(weights[f"{stage.name}var"] + 1e-5)
    return found * factor[:, None, None, None]


def _follower(layer: str) -> str:
    """The depthwise layer that reads a layer of dscnn."""
    return f"D{int(layer[1:]) + 1}" if layer[0] == "K" else ""


def _pruned_conv(spec: ConvSpec, weights: Weights, structure: Structure) -> Weights:
    """Outputs of each layer, then inputs of the next; a depthwise layer passes channels on, a dense one reads maps."""
    found = dict(weights)
    incoming: Tensor | None = None
    channels = 1
    for stage in spec.stages:
        if not stage.weighs:
            continue
        names = [name for name in found if name.startswith(stage.name) and not name[len(stage.name) :][:1].isdigit()]
        outputs = torch.tensor(structure.kept[stage.name]) if stage.name in structure.kept else None
        if stage.groups > 1:
            outputs = incoming
        if outputs is not None:
            found |= {name: found[name][outputs] for name in names}
        if incoming is not None and stage.groups == 1:
            found[stage.name] = _inputs(found[stage.name], incoming, channels)
        incoming, channels = outputs, stage.outputs
    return found


def _inputs(weights: Tensor, kept: Tensor, channels: int) -> Tensor:
    """Weights without the inputs that are gone; a dense layer reads each channel's map as so many columns."""
    if weights.dim() == 4:
        return weights[:, kept]
    outputs = len(weights)
    return weights.reshape(outputs, channels, -1)[:, kept].reshape(outputs, -1)


def _pruned_hidden(spec: ModelSpec, weights: Weights, kept: Tensor) -> Weights:
    blocks = spec.kind.blocks
    columns = torch.cat([kept + block * spec.hidden_size for block in range(blocks)])
    found = dict(weights)
    for letter, rank in (("W", spec.wRank), ("U", spec.uRank)):
        last = f"rnn.cells.0.{letter}" if rank is None else f"rnn.cells.0.{letter}2"
        found[last] = found[last][:, columns]
    first = "rnn.cells.0.U" if spec.uRank is None else "rnn.cells.0.U1"
    found[first] = found[first][kept]
    for name, tensor in weights.items():
        if tensor.dim() == 1 and name.startswith("rnn.") and tensor.numel() == spec.hidden_size:
            found[name] = tensor[kept]
    found["FC"] = found["FC"][kept]
    return found


def _hidden_norms(spec: ModelSpec, weights: Weights) -> Tensor:
    """Norms of everything that goes into a unit and comes out of it."""
    squares = torch.zeros(spec.hidden_size)
    for letter, rank in (("W", spec.wRank), ("U", spec.uRank)):
        last = weights[f"rnn.cells.0.{letter}" if rank is None else f"rnn.cells.0.{letter}2"]
        squares += last.square().sum(0).reshape(spec.kind.blocks, -1).sum(0)
    first = weights["rnn.cells.0.U" if spec.uRank is None else "rnn.cells.0.U1"]
    return torch.sqrt(squares + first.square().sum(1) + weights["FC"].square().sum(1))
