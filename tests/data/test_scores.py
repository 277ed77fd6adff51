"""Scores against scikit-learn's, and what a majority is worth."""

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
)
from sklearn.utils.class_weight import compute_class_weight

from edgesearch.data.scores import Scores, class_weights, majority_share


@pytest.mark.parametrize("classes", [2, 3, 19])
@pytest.mark.parametrize("rows", [1, 2, 50, 1000])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_scores_are_those_of_scikit_learn(classes: int, rows: int) -> None:
    rng = np.random.default_rng(rows)
    y = rng.integers(0, max(1, classes - 1), rows)  # (the last class has no example)
    answers = np.where(rng.random(rows) < 0.6, y, rng.integers(0, classes, rows))
    found = Scores.of(answers, y, classes)
    assert np.array_equal(found.confusion, confusion_matrix(y, answers, labels=range(classes)))
    assert found.accuracy == pytest.approx(accuracy_score(y, answers), abs=1e-12)
    assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(y, answers), abs=1e-12)
    assert found.macro_f1 == pytest.approx(f1_score(y, answers, average="macro"), abs=1e-12)
    assert found.every.keys() == {"accuracy", "balanced_accuracy", "macro_f1"}
    expected = precision_recall_fscore_support(y, answers, labels=range(classes), zero_division=np.nan)
    for ours, theirs in zip((found.precision, found.recall), expected[:2], strict=True):
        assert [np.nan if share is None else share for share in ours] == pytest.approx(theirs, nan_ok=True)


def test_answering_the_majority_is_worth_nothing_by_class() -> None:
    y = np.repeat([0, 1, 2], [288, 11, 8])
    found = Scores.of(np.zeros_like(y), y, 3)
    assert found.accuracy == majority_share(y) == 288 / 307
    assert found.balanced_accuracy == pytest.approx(1 / 3)


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    y = np.repeat([0, 1, 2], [288, 11, 8])
    weights = class_weights("balanced", y, 3)
    assert weights is not None
    assert class_weights("none", y, 3) is None
    assert weights == pytest.approx(compute_class_weight("balanced", classes=np.arange(3), y=y))
    assert weights[y].mean() == pytest.approx(1)
