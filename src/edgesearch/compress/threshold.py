"""Hard thresholding: keep the largest entries of a matrix, exactly as many as its spec says."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from edgesearch.cells.classifier import AnySpec
from edgesearch.cells.spec import TensorSpec


def keep_largest(weights: Tensor, kept: int) -> Tensor:
    """Return a mask of the shape of `weights`, 1 at exactly `kept` entries of largest magnitude and 0 elsewhere."""
    mask = torch.zeros_like(weights, memory_format=torch.contiguous_format)
    mask.view(-1)[weights.abs().reshape(-1).topk(kept).indices] = 1.0
    return mask


def sparse_tensors(spec: AnySpec) -> tuple[TensorSpec, ...]:
    """Return the tensors of the model that training makes sparse."""
    return tuple(t for t in spec.tensors() if t.sparsity > 0)


def nonzeros(model: nn.Module) -> int:
    """Count the parameters that are not exactly zero."""
    return sum(int(torch.count_nonzero(p)) for p in model.parameters())


def meets(model: nn.Module, tensors: tuple[TensorSpec, ...]) -> bool:
    """Tell whether every listed tensor of `model` has at most the non-zeros that its spec allows."""
    parameters: Mapping[str, Tensor] = dict(model.named_parameters())
    return all(int(torch.count_nonzero(parameters[t.name])) <= t.nonzeros for t in tensors)
