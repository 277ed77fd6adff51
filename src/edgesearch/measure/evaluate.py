"""What a model answers on one split, and what that is worth."""

import numpy as np
import torch
from torch import Tensor, nn

from edgesearch.data.dataset import Ints
from edgesearch.data.scores import Scores

_ROWS = 1024


@torch.no_grad()
def answers_of(model: nn.Module, x: Tensor) -> Ints:
    """Return the class (N,) that `model` answers on each of the sequences x (T, N, D)."""
    model.eval()
    found = [model(x[:, rows]).argmax(dim=1) for rows in torch.split(torch.arange(x.size(1)), _ROWS)]
    return np.asarray(torch.cat(found).cpu().numpy(), np.int64)


def evaluate(model: nn.Module, x: Tensor, y: Tensor, classes: int) -> Scores:
    """Return what `model` makes of sequences x (T, N, D) with labels y (N,)."""
    return Scores.of(answers_of(model, x), y.cpu().numpy(), classes)
