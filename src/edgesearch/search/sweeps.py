"""How many values a sweep of Hydra's has, counted without making them."""

import math

from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep


def sweep_length(override: Override) -> int:
    """Return the number of values that an override stands for: 1 unless it is a choice or a range."""
    value = override.value()
    if isinstance(value, ChoiceSweep):
        return len(value.list)
    if not isinstance(value, RangeSweep) or not value.step:
        return 1
    assert value.start is not None
    assert value.stop is not None
    return max(0, math.ceil((float(value.stop) - float(value.start)) / float(value.step)))
