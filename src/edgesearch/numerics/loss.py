"""Gradients of losses in integers, from a program's logits.

Softmax takes exp of what is at most 0, so that nothing can overflow, and divides by a sum between 1 and C through the
reciprocal square root's square; both have bounded relative errors. The right class gets minus the sum of the others: a
row's gradients sum to zero.
"""

import math
from typing import Any

import numpy as np

from edgesearch.errors import ConfigError
from edgesearch.numerics.fixed import Arithmetic, Fixed, constant
from edgesearch.numerics.format import Floats, Format, Ints, round_shift
from edgesearch.numerics.generator import piecewise
from edgesearch.numerics.root import bare_root

_PART, _POWER = Format(16, 16, signed=False), Format(32, 16)  # of x in 0..1 and of 2 ** -x
_GUARD = 12  # more bits of the sum than of a power
_LARGEST = 60  # bits to shift by, beyond which nothing is left
LOSSES = ("cross_entropy", "mse")
_ROOT = 14  # fraction bits of a reciprocal square root's mantissa
_PLACE = "gradients"


def loss_gradient(
    loss: str,
    logits: Fixed,
    y: Ints,
    scale: float,
    smoothing: float,
    to: Format,
    arithmetic: Arithmetic,
    weights: Floats | None = None,
) -> Fixed:
    """Return scale * d(sum of the rows' losses) / d(logits), each row times the weight of its class.

    Args:
        loss: `cross_entropy`, of the softmax; or `mse`, the mean over classes of the squared distance to 0 and 1.
        logits: (B, C).
        y: (B,) classes.
        scale: a positive constant.
        smoothing: share of the target that goes to all classes evenly.
        to: format of the gradient.
        arithmetic: rounds.
        weights: positive constants (C,) of the classes; None: all 1.

    Raises:
        ConfigError: the loss is unknown.
    """
    if loss not in LOSSES:
        raise ConfigError(f"train.loss must be one of {', '.join(LOSSES)}, got {loss}; set train.loss=cross_entropy")
    classes = logits.integers.shape[1]
    rest = smoothing / classes
    right = np.zeros(logits.integers.shape, bool)
    right[np.arange(len(y)), y] = True
    if loss == "mse":
        share, exponent = _shares(2 * scale / classes, y, weights)
        targets = np.where(right, *logits.format.integers([1 - smoothing + rest, rest]))
        total = (logits.integers - targets) * share
        return arithmetic.store(total, logits.format.fraction + exponent, to, _PLACE)
    powers, halvings = _powers(logits.integers.max(axis=1, keepdims=True) - logits.integers, logits.format.fraction)
    root, k = bare_root(((powers << _GUARD) >> halvings).sum(axis=1, keepdims=True))
    share, exponent = _shares(scale, y, weights)
    # power / sum = power 2^-halvings * root^2 2^-28 2^-2k * 2^guard
    shift = exponent + 2 * _ROOT + 2 * k + halvings - _GUARD - to.fraction
    total = powers * (root * root) * share
    shares = arithmetic.rounding(total, np.clip(shift, 0, _LARGEST)) << np.maximum(-shift, 0)
    if rest:
        own = np.ones(1) if weights is None else weights[y]
        shares = shares - to.integers(scale * rest * own)[:, None]
    shares[right] = 0
    shares[right] = -shares.sum(axis=1)
    return arithmetic.store(shares, to.fraction, to, _PLACE)


def _shares(scale: float, y: Ints, weights: Floats | None) -> tuple[Any, int]:
    """Return m and e of scale = m 2 ** -e, or m (B, 1) of scale times the weight of each row's class."""
    if weights is None:
        return constant(scale)
    exponent = constant(scale * float(weights.max()))[1]
    return np.floor(np.ldexp(scale * weights, exponent) + 0.5).astype(np.int64)[y][:, None], exponent


def _powers(below: Ints, fraction: int) -> tuple[Ints, Ints]:
    """Return m and n of exp(-x) = m 2 ** -16 2 ** -n for x >= 0 of a fraction: 1/2 <= m <= 1, n up to 60.

    The relative error is bounded: an absolute one would go on teaching what is known.
    """
    share, exponent = constant(math.log2(math.e))
    x = np.minimum(below, _LARGEST << fraction if fraction >= 0 else _LARGEST >> -fraction)
    binary = round_shift(x * share, fraction + exponent - _PART.fraction)
    halvings = np.minimum(binary >> _PART.fraction, _LARGEST)
    table = piecewise("2**(-x)", _PART, _POWER, 2.0**-15, low=0.0, high=_PART.high * _PART.step)
    return table(binary & _PART.high), halvings
