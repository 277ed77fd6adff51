"""Adam in integers (Kingma and Ba, arXiv:1412.6980), on all weights of a model as one vector.

The gradient has at most 32 bits, its mean 12 more fraction bits. The mean of its square holds the square of every
gradient in 62 bits. Both carry what their decay leaves over, 18 and 24 bits more, so that they neither clip nor
underflow, and fall to nothing where gradients stay away. 2 ** -20 of a squared unit of the gradient takes the place of
epsilon. Only what follows from settings and the step's number comes from floats.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from edgesearch.numerics.fixed import Arithmetic, Fixed, constant, dot
from edgesearch.numerics.format import Ints
from edgesearch.numerics.root import bare_root

_ROOT = 14  # fraction bits of a reciprocal square root's mantissa
_FINER = 12  # fraction bits of the mean beyond those of the gradient
_FINE, _FINE_ROOT = 20, 40  # bits of the rest that a small square's root takes, and where it is small
_LARGEST = 62  # bits to shift by, beyond which nothing is left
_LOW = 30  # bits of the lower part of a 62-bit number
MEAN_SHARE, SQUARE_SHARE = 0.1, 0.001  # 1 - beta of the two means
_FOLLOW, _CARRY = constant(MEAN_SHARE)
_DECAY, _REST = constant(SQUARE_SHARE)


@dataclass
class Moments:
    """The running means of the gradient, with 12 bits more, and of its square, (n,) each, and the steps taken.

    Their parts below 1 are `carry`, in units of 2 ** -18, and `rest`, in units of 2 ** -24.
    """

    mean: Ints
    carry: Ints
    square: Ints
    rest: Ints
    steps: int = 0

    @classmethod
    def zero(cls, size: int) -> "Moments":
        """Return those before the first step."""
        return cls.of(np.zeros((4, size), np.int64), 0)

    @classmethod
    def of(cls, stacked: Ints, steps: int) -> "Moments":
        """Return moments from what `stacked` gave."""
        return cls(stacked[0], stacked[1], stacked[2], stacked[3], steps)

    @property
    def stacked(self) -> Ints:
        """All four (4, n)."""
        return np.stack((self.mean, self.carry, self.square, self.rest))


def clipped(gradient: Fixed, limit: float, arithmetic: Arithmetic) -> Fixed:
    """Return the gradient (n,), scaled so that its norm is at most `limit`."""
    row, column = (Fixed(gradient.integers.reshape(shape), gradient.format) for shape in ((1, -1), (-1, 1)))
    square = int(dot(row, column)[0, 0])
    fraction = 2 * gradient.format.fraction
    if square <= Fraction(limit) ** 2 * Fraction(2) ** fraction:
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
        rate: learning rate of the step, at most 1.
        arithmetic: rounds the weights.
    """
    moments.steps += 1
    _follow(moments, gradient.integers)
    _decay(moments, gradient.integers**2)
    small = moments.square < 1 << _FINE_ROOT
    fine = (moments.square << _FINE) + (moments.rest >> (_REST - _FINE)) + 1
    y, k = bare_root(np.where(small, fine, moments.square))
    k = k - np.where(small, _FINE // 2, 0)
    bias = math.sqrt(1 - (1 - SQUARE_SHARE) ** moments.steps) / (1 - (1 - MEAN_SHARE) ** moments.steps)
    share, exponent = constant(rate * bias)
    factor = arithmetic.rounding(y * share, _ROOT)
    shift = exponent + k + _FINER - weights.format.fraction
    change = arithmetic.rounding(moments.mean * factor, np.clip(shift, 0, _LARGEST)) << np.maximum(-shift, 0)
    return arithmetic.store(weights.integers - change, weights.format.fraction, weights.format, "weights")


def _follow(moments: Moments, gradient: Ints) -> None:
    """Move the mean by MEAN_SHARE toward the gradient; what is below its last place is carried."""
    total = ((gradient << _FINER) - moments.mean) * _FOLLOW + moments.carry
    moments.mean = moments.mean + (total >> _CARRY)
    moments.carry = total & ((1 << _CARRY) - 1)


def _decay(moments: Moments, target: Ints) -> None:
    """Move the square by SQUARE_SHARE toward a target of up to 62 bits; what is below its last place is carried."""
    difference = target - moments.square
    high, low = difference >> _LOW, difference & ((1 << _LOW) - 1)
    total = low * _DECAY + moments.rest - (moments.rest * _DECAY >> _REST)
    moments.square = moments.square + (high * _DECAY << (_LOW - _REST)) + (total >> _REST)
    moments.rest = total & ((1 << _REST) - 1)
