"""What answers are worth against labels: accuracy, balanced accuracy, macro F1, and recall and precision by class."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesearch.config.schema import METRICS
from edgesearch.data.dataset import Ints

Share = float | None


@dataclass(frozen=True)
class Scores:
    """Counts of answers by true class.

    Attributes:
        confusion: (C, C), true classes by answers.
    """

    confusion: Ints

    @classmethod
    def of(cls, answers: npt.NDArray[Any], y: npt.NDArray[Any], classes: int) -> "Scores":
        """Return what answers (N,) are worth against labels y (N,), both in 0..C-1."""
        pairs = np.asarray(y, np.int64) * classes + np.asarray(answers, np.int64)
        return cls(np.bincount(pairs, minlength=classes * classes).reshape(classes, classes))

    @property
    def accuracy(self) -> float:
        """Share of the examples that were answered rightly."""
        return float(np.trace(self.confusion) / self.confusion.sum())

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall of the classes that have examples (scikit-learn's balanced_accuracy_score)."""
        found = [recall for recall in self.recall if recall is not None]
        return math.fsum(found) / len(found)

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the classes that have examples or answers (scikit-learn's f1_score, average="macro")."""
        right, both = np.diag(self.confusion), self.confusion.sum(0) + self.confusion.sum(1)
        return float((2 * right[both > 0] / both[both > 0]).mean())

    @property
    def recall(self) -> list[Share]:
        """Of each class the share of its examples that were found; None without examples."""
        return _shares(np.diag(self.confusion), self.confusion.sum(axis=1))

    @property
    def precision(self) -> list[Share]:
        """Of each class the share of its answers that were right; None without answers."""
        return _shares(np.diag(self.confusion), self.confusion.sum(axis=0))

    def score(self, metric: str) -> float:
        """Return the value of one of `METRICS`."""
        assert metric in METRICS
        return float(getattr(self, metric))

    @property
    def every(self) -> dict[str, float]:
        """The value of each of `METRICS`."""
        return {metric: self.score(metric) for metric in METRICS}


def majority_share(y: Ints) -> float:
    """Return the share of the most common label: the accuracy of answering it always."""
    return float(np.bincount(y).max() / len(y))


def class_weights(kind: str, y: Ints, classes: int) -> npt.NDArray[np.float64] | None:
    """Return weights (C,) of the classes in the loss.

    `balanced`: every class counts as much, and an example once on average. `none`: None.
    """
    if kind == "none":
        return None
    return len(y) / (classes * np.bincount(y, minlength=classes).astype(np.float64))


def _shares(right: Ints, of: Ints) -> list[Share]:
    return [int(hit) / int(total) if total else None for hit, total in zip(right, of, strict=True)]
