"""Accuracy, per-class accuracy and confusion matrix of a model on one split."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchmetrics.classification import MulticlassConfusionMatrix

_ROWS = 1024


@dataclass(frozen=True)
class Evaluation:
    """`confusion[true][predicted]` counts examples; accuracies are fractions, None for a class without examples."""

    accuracy: float
    per_class: list[float | None]
    confusion: list[list[int]]


@torch.no_grad()
def evaluate(model: nn.Module, x: Tensor, y: Tensor, classes: int) -> Evaluation:
    """Return what `model` makes of sequences x (T, N, D) with labels y (N,)."""
    model.eval()
    answers = [model(x[:, rows]).argmax(dim=1) for rows in torch.split(torch.arange(len(y)), _ROWS)]
    return confusion_of(torch.cat(answers), y, classes)


def confusion_of(answers: Tensor, y: Tensor, classes: int) -> Evaluation:
    """Return what answers (N,) are worth against labels y (N,)."""
    found = MulticlassConfusionMatrix(classes).to(y.device)(answers, y)
    confusion = [[int(count) for count in row] for row in found.tolist()]
    correct = [row[label] for label, row in enumerate(confusion)]
    totals = [sum(row) for row in confusion]
    per_class = [hit / total if total else None for hit, total in zip(correct, totals, strict=True)]
    return Evaluation(sum(correct) / sum(totals), per_class, confusion)
