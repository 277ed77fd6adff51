"""Gradients of losses in integers, from a program's logits.

Softmax takes exp of what is at most 0, so that nothing can overflow, and divides by a sum between 1 and C through the
reciprocal square root's square. The right class gets minus the sum of the others: a row's gradients sum to zero.
"""

import numpy as np

from edgesearch.errors import ConfigError
from edgesearch.numerics.fixed import Arithmetic, Fixed, constant
from edgesearch.numerics.format import Format, Ints, round_shift
from edgesearch.numerics.generator import piecewise
from edgesearch.numerics.root import bare_root

_EXPONENT, _POWER = Format(16, 12, signed=False), Format(32, 17)  # of x in 0..16 and of exp(-x)
LOSSES = ("cross_entropy", "mse")
_ROOT = 14  # fraction bits of a reciprocal square root's mantissa
_PLACE = "gradients"


def loss_gradient(
    loss: str, logits: Fixed, y: Ints, scale: float, smoothing: float, to: Format, arithmetic: Arithmetic
) -> Fixed:
    """Return scale * d(sum of the rows' losses) / d(logits).

    Args:
        loss: `cross_entropy`, of the softmax; or `mse`, the mean over classes of the squared distance to 0 and 1.
        logits: (B, C).
        y: (B,) classes.
        scale: a positive constant.
        smoothing: share of the target that goes to all classes evenly.
        to: format of the gradient.
        arithmetic: rounds.

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
        share, exponent = constant(2 * scale / classes)
        targets = np.where(right, *logits.format.integers([1 - smoothing + rest, rest]))
        total = (logits.integers - targets) * share
        return arithmetic.store(total, logits.format.fraction + exponent, to, _PLACE)
    powers = _powers(logits.integers.max(axis=1, keepdims=True) - logits.integers, logits.format.fraction)
    y_root, k = bare_root(powers.sum(axis=1, keepdims=True))
    share, exponent = constant(scale)
    total = powers * (y_root * y_root) * share  # probability = power / sum = power y^2 2^-2k 2^-28
    shift = exponent + 2 * _ROOT + 2 * k - to.fraction
    shares = arithmetic.rounding(total, np.maximum(shift, 0)) << np.maximum(-shift, 0)
    if rest:
        shares = shares - int(to.integers(scale * rest))
    shares[right] = 0
    shares[right] = -shares.sum(axis=1)
    return arithmetic.store(shares, to.fraction, to, _PLACE)


def _powers(below: Ints, fraction: int) -> Ints:
    """Return exp(-x) for x >= 0 of a fraction; the polynomials may go below 0 by their error."""
    last = _EXPONENT.high * _EXPONENT.step
    table = piecewise("exp(-x)", _EXPONENT, _POWER, 2.0**-15, low=0.0, high=last)
    return np.maximum(table(round_shift(below, fraction - _EXPONENT.fraction)), 0)
