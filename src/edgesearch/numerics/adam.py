"""Adam in integers (Kingma and Ba, arXiv:1412.6980), on all weights of a model as one vector.

The gradient and its mean have 32 bits. The mean of its square has 62, twice the gradient's fraction: it holds the square
of every gradient, so that it neither clips nor underflows, and its square root has the gradient's own resolution, which
takes the place of epsilon. Only what follows from settings and the step's number comes from floats.
"""

import math
from dataclasses import dataclass

import numpy as np

from edgesearch.numerics.fixed import Arithmetic, Fixed, constant, dot
from edgesearch.numerics.format import Format, Ints
from edgesearch.numerics.root import bare_root

_ROOT = 14  # fraction bits of a reciprocal square root's mantissa
_LOW = 30  # bits of the lower part of a 62-bit number
MEAN_SHARE, SQUARE_SHARE = 0.1, 0.001  # 1 - beta of the two means


@dataclass
class Moments:
    """The running means of the gradient and of its square, (n,) each, and the steps taken."""

    mean: Ints
    square: Ints
    steps: int = 0

    @classmethod
    def zero(cls, size: int) -> "Moments":
        """Return those before the first step."""
        return cls(np.zeros(size, np.int64), np.zeros(size, np.int64))


def clipped(gradient: Fixed, limit: float, arithmetic: Arithmetic) -> Fixed:
    """Return the gradient (n,), scaled so that its norm is at most `limit`."""
    row, column = (Fixed(gradient.integers.reshape(shape), gradient.format) for shape in ((1, -1), (-1, 1)))
    square = int(dot(row, column)[0, 0])
    fraction = 2 * gradient.format.fraction
    if square <= math.floor(math.ldexp(limit * limit, fraction)):
        return gradient
    spare = max(0, square.bit_length() - 61) + 1 & ~1
    y, k = bare_root(np.array([square >> spare]))
    mantissa, exponent = constant(limit)
    # limit / norm = mantissa 2^-exponent * y 2^-14 2^-k * 2^(fraction - spare)/2
    share = exponent + _ROOT + int(k[0]) + (spare - fraction) // 2
    scale = mantissa * int(y[0])
    if share < 0:
        scale, share = scale << -share, 0
    return arithmetic.store(gradient.integers * scale, gradient.format.fraction + share, gradient.format, "gradients")


def step(weights: Fixed, gradient: Fixed, moments: Moments, rate: float, arithmetic: Arithmetic) -> Fixed:
    """Return the weights (n,) after a step of Adam; `moments` takes the gradient in.

    Args:
        weights: in at most 32 bits.
        gradient: (n,) in at most 32 bits.
        moments: those of the steps before.
        rate: learning rate of the step.
        arithmetic: rounds the mean and the weights.
    """
    moments.steps += 1
    share, exponent = constant(MEAN_SHARE)
    total = (moments.mean << exponent) + (gradient.integers - moments.mean) * share
    moments.mean = arithmetic.store(total, gradient.format.fraction + exponent, gradient.format, "moments").integers
    moments.square = _toward(moments.square, gradient.integers**2, arithmetic)
    y, k = bare_root(moments.square + 1)
    bias = math.sqrt(1 - (1 - SQUARE_SHARE) ** moments.steps) / (1 - (1 - MEAN_SHARE) ** moments.steps)
    share, exponent = constant(rate * bias)
    shift = _ROOT + exponent + k - weights.format.fraction
    change = arithmetic.rounding(moments.mean * y * share, np.maximum(shift, 0)) << np.maximum(-shift, 0)
    return arithmetic.store(weights.integers - change, weights.format.fraction, weights.format, "weights")


def _toward(square: Ints, target: Ints, arithmetic: Arithmetic) -> Ints:
    """Return square + SQUARE_SHARE * (target - square) of 62-bit numbers, rounded once, in two parts."""
    share, exponent = constant(SQUARE_SHARE)
    difference = target - square
    high, low = difference >> _LOW, difference & ((1 << _LOW) - 1)
    return square + (high * share << (_LOW - exponent)) + arithmetic.rounding(low * share, exponent)
