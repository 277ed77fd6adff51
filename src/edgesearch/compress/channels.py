"""The input's format: one for all channels where that resolves each of them, else one for each channel.

What was seen of the frames flows in, a `Format` or a `ChannelFormat` comes out. A channel is resolved when its
deviation is many steps of the format, so that pressure in Pa and acceleration in g can share a frame.
"""

import functools
import math

import numpy as np

from edgesearch.compress.fitting import fitted
from edgesearch.data.frames import Frames
from edgesearch.numerics.format import ChannelFormat, Floats, Format

WIDE = 24  # bits of a frame where 16 do not resolve a channel; they take 32
_WIDENED = 16
_FINEST = 126  # fraction bits of a channel, of either sign
_GAIN = 2  # bits that an offset must give
_LARGEST_OFFSET = 2.0**52
_MANTISSA = 51  # bits of a constant channel's offset
_LEAST = 5  # a deviation is so many bits of steps, or the frame is widened
_COARSE, _NARROW = 3, 8  # likewise, or the user is told; of frames of few bits who asked for them is told less
_WHOLE = 8  # deviations from end to end of what is normally distributed
_NEAR = 16  # deviations that a mean may always be from zero


def input_format(plain: Format, frames: Frames, how: str, unit: Floats | None, *, widen: bool) -> Format:
    """Return the format of frames.

    Args:
        plain: the one for all channels, which is kept where it resolves every channel.
        frames: what was seen.
        how: a range is chosen, as for `fitted`.
        unit: deviation (D,) by which the model divides each channel after taking its mean; None where it reads frames
            as they are, and offsets cannot be taken away.
        widen: whether more bits than those of `plain` may be taken.
    """
    deviation = frames.deviation if unit is None else unit
    constant = frames.low == frames.high
    wanted = deviation * 2.0 ** -max(2, plain.bits // 2 - 1)
    if unit is None:
        wanted[constant] = np.inf
    if (plain.step <= wanted).all():
        return plain
    found = _by_channel(plain.bits, frames, how, wanted, offsets=unit is not None)
    if widen and plain.bits == _WIDENED and ((_steps(found) > deviation * 2.0**-_LEAST) & ~constant).any():
        found = _by_channel(WIDE, frames, how, wanted, offsets=unit is not None)
    better = (_steps(found) < plain.step) | (np.array(found.offsets) != 0)
    if not better[plain.step > wanted].any():
        return plain
    if not any(found.offsets) and len(set(found.fractions)) == 1:
        return Format(found.bits, found.fractions[0])
    return found


@functools.lru_cache(maxsize=64)
def frame_bits(frames: Frames, unit: tuple[float, ...], bits: int, how: str) -> int:
    """Return the bits that a frame, divided by `unit`, takes where `bits` are asked for, which may be more."""
    largest = float(max(np.abs(frames.low).max(), np.abs(frames.high).max()))
    plain = fitted(frames.rows.reshape(-1), largest, bits, how)
    return input_format(plain, frames, how, np.array(unit), widen=True).bits


def coarse(given: Format, frames: Frames, unit: Floats | None) -> list[int]:
    """Return the channels of which a format resolves hardly anything, such as an eighth of a deviation in 16 bits."""
    steps = np.array([2.0 ** -given.channel(d)[0] for d in range(len(frames.low))])
    deviation = frames.deviation if unit is None else unit
    least = deviation * 2.0 ** -(_COARSE if given.bits > _NARROW else 1)
    return [int(d) for d in np.flatnonzero((steps > least) & (frames.deviation > 0))]


def distant(frames: Frames, bits: int) -> list[int]:
    """Return the channels that are far from zero for their deviation, where frames are not normalised.

    A weight of so many bits is rounded by up to 2^-bits of the largest, which the mean multiplies: the shift that comes
    of it is more than an eighth of what the deviation gives. A channel of rare values has those for its deviation.
    """
    spread = np.maximum(frames.deviation, (frames.high - frames.low) / _WHOLE)
    reach = spread * max(_NEAR, 2.0 ** (bits - _COARSE))
    return [int(d) for d in np.flatnonzero((np.abs(frames.mean) > reach) & (frames.deviation > 0))]


def _by_channel(bits: int, frames: Frames, how: str, wanted: Floats, *, offsets: bool) -> ChannelFormat:
    pairs = [_channel(bits, frames, d, how, wanted[d] if offsets else None) for d in range(len(wanted))]
    return ChannelFormat(bits, bits - 1, True, tuple(f for f, _ in pairs), tuple(o for _, o in pairs))


def _channel(bits: int, frames: Frames, d: int, how: str, wanted: float | None) -> tuple[int, int]:
    """Fraction and offset of a channel; an offset where resolution asks for it and it gives bits."""
    low, high, sample = float(frames.low[d]), float(frames.high[d]), frames.rows[:, d]
    if low == high and wanted is not None:
        return _exact(low)
    plain = _held(fitted(sample, max(abs(low), abs(high)), bits, how, _FINEST).fraction)
    if wanted is None or 2.0**-plain <= wanted:
        return plain, 0
    middle = (low + high) / 2
    fraction = _held(fitted(sample - middle, (high - low) / 2, bits, how, _FINEST).fraction)
    while abs(middle) * 2.0**fraction >= _LARGEST_OFFSET:
        fraction -= 1
    return (fraction, round(middle * 2.0**fraction)) if fraction >= plain + _GAIN else (plain, 0)


def _exact(value: float) -> tuple[int, int]:
    """Fraction and offset of a channel that is always the same: 0 stands for its value."""
    fraction = _held(_MANTISSA - math.frexp(value)[1]) if value else 0
    return fraction, round(math.ldexp(value, fraction))


def _held(fraction: int) -> int:
    return max(-_FINEST, min(_FINEST, fraction))


def _steps(found: ChannelFormat) -> Floats:
    return np.asarray(2.0 ** -np.array(found.fractions, np.float64))
