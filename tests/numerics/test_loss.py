"""Loss gradients in integers against torch's."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgesearch.errors import ConfigError
from edgesearch.numerics.fixed import Arithmetic, Fixed
from edgesearch.numerics.format import Format
from edgesearch.numerics.loss import loss_gradient
from edgesearch.training.module import loss_of

LOGITS, GRADIENT = Format(16, 9), Format(32, 24)


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("spread", [0.1, 3.0, 30.0])
@pytest.mark.parametrize("weights", [None, np.array([0.2, 3.0, 1.0, 0.7, 1.0, 5.0, 0.5])], ids=["alike", "weighted"])
def test_gradients_are_torchs(loss: str, smoothing: float, spread: float, weights: Any) -> None:
    generator = np.random.default_rng(2)
    logits = Fixed.of(spread * generator.normal(size=(50, 7)), LOGITS)
    y = generator.integers(0, 7, 50)
    exact = torch.from_numpy(logits.numbers).requires_grad_()
    by_class = None if weights is None else torch.from_numpy(weights)
    (loss_of(loss, exact, torch.from_numpy(y), smoothing, by_class) * 0.75 * 50).backward()
    arithmetic = Arithmetic()
    found = loss_gradient(loss, logits, y, 0.75, smoothing, GRADIENT, arithmetic, weights)
    assert exact.grad is not None
    # exp within 2 ** -14 of a sum of at least 1, its root within 1.5e-4; mse only rounds its targets
    tolerance = (1e-3 if loss == "cross_entropy" else 2.0**-9) * (1 if weights is None else weights.max())
    assert np.abs(found.numbers - exact.grad.numpy()).max() < tolerance
    assert not arithmetic.overflows


@given(st.lists(st.integers(LOGITS.low, LOGITS.high), min_size=2, max_size=30), st.data())
def test_no_logits_overflow_and_gradients_sum_to_zero(row: list[int], data: st.DataObject) -> None:
    arithmetic = Arithmetic()
    y = np.array([data.draw(st.integers(0, len(row) - 1))])
    found = loss_gradient("cross_entropy", Fixed(np.array([row]), LOGITS), y, 1.0, 0.0, GRADIENT, arithmetic)
    assert found.integers.sum() == 0
    assert found.integers[0, y] <= 0
    assert (np.delete(found.integers, y) >= 0).all()
    assert not arithmetic.overflows


def test_an_unknown_loss_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"train\.loss must be one of cross_entropy, mse, got hinge"):
        loss_gradient("hinge", Fixed.of([[0.0]], LOGITS), np.array([0]), 1.0, 0.0, GRADIENT, Arithmetic())


def test_what_is_known_is_hardly_taught() -> None:
    """Relative errors of small probabilities: the others' gradients fall with exp(-margin), to the last place."""
    margins = np.arange(1.0, 18.0, 0.5)
    logits = Fixed.of(np.stack((margins, np.zeros_like(margins), np.full_like(margins, -2.0)), axis=1), LOGITS)
    y = np.zeros(len(margins), np.int64)
    found = loss_gradient("cross_entropy", logits, y, 1.0, 0.0, GRADIENT, Arithmetic()).numbers
    exact = np.exp(logits.numbers) / np.exp(logits.numbers).sum(axis=1, keepdims=True)
    assert (np.abs(found - exact)[:, 1:] < 6e-4 * exact[:, 1:] + GRADIENT.step).all()
