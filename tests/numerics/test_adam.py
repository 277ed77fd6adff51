"""Adam in integers against torch's in float64."""

import numpy as np
import pytest
import torch

from edgesearch.numerics.adam import Moments, clipped, step
from edgesearch.numerics.fixed import Arithmetic, Fixed
from edgesearch.numerics.format import Format
from edgesearch.numerics.rounding import KINDS, Rounding

WEIGHTS, GRADIENT = Format(32, 28), Format(32, 25)


def gradients(steps: int, size: int) -> np.ndarray:
    """Gradients from 2 ** -20 to 16, each weight with a size of its own."""
    generator = np.random.default_rng(0)
    scales = 2.0 ** np.linspace(-20, 4, size)
    return generator.normal(size=(steps, size)) * scales


@pytest.mark.parametrize("kind", KINDS)
def test_it_follows_torch_over_many_steps(kind: str) -> None:
    size, arithmetic = 50, Arithmetic(Rounding(kind, seed=2))
    weights, moments = Fixed.of(np.linspace(-2, 2, size), WEIGHTS), Moments.zero(size)
    parameter = torch.nn.Parameter(torch.from_numpy(weights.numbers))
    optimizer = torch.optim.Adam([parameter], lr=1e-2, eps=2.0**-35)
    for found in gradients(300, size):
        gradient = Fixed.of(found, GRADIENT)
        weights = step(weights, gradient, moments, 1e-2, arithmetic)
        parameter.grad = torch.from_numpy(gradient.numbers)
        optimizer.step()
    moved = np.abs(parameter.detach().numpy() - np.linspace(-2, 2, size)).max()
    # a root off by 1.5e-4 in every step, and factors of 15 bits
    assert np.abs(weights.numbers - parameter.detach().numpy()).max() < 1e-3 * moved
    assert not arithmetic.overflows


def test_the_second_moment_neither_clips_nor_underflows() -> None:
    least, most = Fixed(np.array([1, -1]), GRADIENT), Fixed(np.array([GRADIENT.high, GRADIENT.low]), GRADIENT)
    for gradient in (least, most):
        moments, weights = Moments.zero(2), Fixed(np.zeros(2, np.int64), WEIGHTS)
        for _ in range(20_000):
            weights = step(weights, gradient, moments, 1e-5, Arithmetic())
        square = gradient.integers.astype(float) ** 2
        assert np.abs((moments.square + moments.rest * 2.0**-24) / square - 1).max() < 1e-3
        # the least gradient's square stays below 1, and does not decay, for a thousand steps
        tolerance = 1e-3 if gradient is most else 2e-2
        assert np.abs(np.abs(weights.numbers) / (20_000 * 1e-5) - 1).max() < tolerance


@pytest.mark.parametrize("norm", [1e-6, 0.5, 0.999, 1.5, 30.0, 300.0])
def test_clipping_scales_to_the_limit(norm: float) -> None:
    direction = np.random.default_rng(1).normal(size=40)
    numbers = direction / np.linalg.norm(direction) * norm
    gradient = Fixed.of(numbers, Format(32, 22))
    found = clipped(gradient, 1.0, Arithmetic())
    if norm < 1:
        assert (found.integers == gradient.integers).all()
    else:
        assert np.abs(found.numbers - numbers / norm).max() < 3e-4


def test_the_largest_gradients_are_clipped_without_wrapping_around() -> None:
    gradient = Fixed(np.full(5000, -(2**31)), Format(32, 25))
    found = clipped(gradient, 0.25, Arithmetic())
    assert abs(np.linalg.norm(found.numbers) / 0.25 - 1) < 1e-3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", [1, -1, 1000, -(10**6)])
def test_weights_rest_where_gradients_stay_away(kind: str, first: int) -> None:
    moments, weights = Moments.zero(1), Fixed(np.zeros(1, np.int64), WEIGHTS)
    parameter = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.Adam([parameter], lr=1e-2, eps=2.0**-35)
    arithmetic = Arithmetic(Rounding(kind))
    for number in range(3000):
        gradient = Fixed(np.array([first if number == 0 else 0]), GRADIENT)
        weights = step(weights, gradient, moments, 1e-2, arithmetic)
        parameter.grad = torch.from_numpy(gradient.numbers)
        optimizer.step()
    assert moments.mean == 0
    assert weights.numbers == pytest.approx(parameter.item(), rel=0.05 if abs(first) == 1 else 2e-3)


@pytest.mark.parametrize("rate", [1e-30, 1e-8, 1.0])
def test_extreme_rates_neither_wrap_around_nor_move_backwards(rate: float) -> None:
    gradient = Fixed(np.array([GRADIENT.low, -5, 5, GRADIENT.high]), GRADIENT)
    moments, weights = Moments.zero(4), Fixed(np.zeros(4, np.int64), WEIGHTS)
    for _ in range(3):
        weights = step(weights, gradient, moments, rate, Arithmetic())
    assert np.abs(weights.numbers - rate * 3 * np.array([1, 1, -1, -1])).max() <= 3e-3 * rate * 3 + WEIGHTS.step


def test_a_limit_that_no_gradient_reaches() -> None:
    gradient = Fixed(np.array([GRADIENT.low, GRADIENT.high]), GRADIENT)
    assert (clipped(gradient, 1e200, Arithmetic()).integers == gradient.integers).all()
