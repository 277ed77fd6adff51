"""Evaluation against counts made by hand."""

import torch
from torch import Tensor, nn

from edgesearch.measure import evaluate


class Echo(nn.Module):
    """Predicts the class that the first feature of the last frame names."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.one_hot(x[-1, :, 0].long(), 3).float()


def test_counts_by_hand() -> None:
    predictions = torch.tensor([0, 0, 1, 2, 2, 0])
    labels = torch.tensor([0, 0, 0, 2, 0, 2])
    x = torch.stack((torch.zeros(6), predictions.float())).unsqueeze(2)
    found = evaluate(Echo(), x, labels, 3)
    assert found.confusion.tolist() == [[2, 1, 1], [0, 0, 0], [1, 0, 1]]
    assert found.accuracy == 3 / 6
    assert found.recall == [0.5, None, 0.5]
    assert found.precision == [2 / 3, 0.0, 0.5]


def test_more_rows_than_one_portion() -> None:
    labels = torch.arange(5000) % 3
    x = labels.float().view(1, -1, 1)
    assert evaluate(Echo(), x, labels, 3).accuracy == 1.0
