"""The fraction that serves numbers of a known range best."""

import math

import numpy as np

from edgesearch.config.schema import RANGES
from edgesearch.errors import ConfigError
from edgesearch.numerics.format import Floats, Format

_TRIED = 4  # fractions above the one of the largest number
_PERCENTILE = 99.9
FINEST = 24  # fraction bits: what is smaller changes no sum, and would widen every one


def fitted(sample: Floats, largest: float, bits: int, how: str, finest: int = FINEST) -> Format:
    """Return the signed format of `bits` whose fraction suits numbers of which `sample` is a part.

    Args:
        sample: some of the numbers.
        largest: the largest magnitude of all.
        bits: 2 to 24.
        how: `max`: the largest magnitude is held, or one step less; `percentile`: that of 99.9 % of the sample;
            `error`: least mean squared error on the sample.
        finest: most fraction bits.
    """
    if how not in RANGES:
        raise ConfigError(f"quant.range must be one of {', '.join(RANGES)}, got {how}; set quant.range=error")
    reach = float(np.percentile(np.abs(sample), _PERCENTILE)) if how == "percentile" and len(sample) else largest
    fraction = bits - 1 - math.ceil(math.log2(reach)) if reach > 0 else bits - 1
    if how != "error" or not len(sample):
        return Format(bits, min(fraction, finest))
    tried = [Format(bits, min(fraction + k, finest)) for k in range(_TRIED + 1)]
    return min(tried, key=lambda f: float(np.square(f.numbers(f.integers(sample)) - sample).sum()))
