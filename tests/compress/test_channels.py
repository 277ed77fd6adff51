"""The input's format: when one is enough, what each channel gets where it is not, and what stays coarse."""

import numpy as np
import pytest

from edgesearch.compress.channels import WIDE, coarse, input_format
from edgesearch.compress.fitting import fitted
from edgesearch.data.frames import Frames
from edgesearch.numerics.format import ChannelFormat, Format


def chosen(x: np.ndarray, bits: int = 16, unit: bool = True, widen: bool = True) -> tuple[Format, Frames]:
    plain = fitted(x.reshape(-1)[:4096], float(np.abs(x).max()), bits, "error")
    frames = Frames.of(x)
    return input_format(plain, frames, "error", frames.deviation if unit else None, widen=widen), frames


def frames(offsets: list[float], scales: list[float], rows: int = 3000) -> np.ndarray:
    return np.array(offsets) + np.array(scales) * np.random.default_rng(0).normal(size=(rows, len(offsets)))


def test_channels_that_one_format_resolves_share_it() -> None:
    found, _ = chosen(frames([0.0, 1.0, -2.0], [1.0, 3.0, 0.5]))
    assert type(found) is Format


@pytest.mark.parametrize("bits", [16, 8])
def test_every_channel_is_resolved_and_held(bits: int) -> None:
    x = frames([0.0, 101325.0, 1.7e12, 4e-5], [1.0, 30.0, 5e4, 6e-6])
    found, seen = chosen(x, bits)
    assert isinstance(found, ChannelFormat)
    steps = np.array([2.0**-f for f in found.fractions])
    assert (steps <= seen.deviation / (64 if bits == 16 else 4)).all()
    error = np.abs(found.numbers(found.integers(x)) - x)
    assert (np.quantile(error, 0.999, axis=0) <= steps / 2 * (1 + 1e-9)).all()
    assert [bool(o) for o in found.offsets] == [False, True, True, False]
    # (what the program computes with is the value less the base, in spans)
    nominal = found.integers(x) * found.step
    np.testing.assert_allclose(nominal * found.spans + found.bases, found.numbers(found.integers(x)), rtol=1e-12)


def test_all_channels_in_one_extreme_unit_share_a_format() -> None:
    for factor in (1e-30, 1e-9, 1e8, 1e36):
        found, seen = chosen(frames([0.0, 0.0], [factor, factor]))
        assert type(found) is Format
        assert found.step <= seen.deviation.min() / 64


def test_a_frame_is_widened_where_16_bits_do_not_resolve_a_channel() -> None:
    x = frames([0.0, 0.0], [1.0, 1.0])
    x[7, 1] = 1e5
    x[:, 1] /= x[:, 1].std()
    x[7, 1] = 3e3
    frames_seen = Frames.of(x)
    frames_seen.deviation[:] = 1.0
    plain = Format(16, 3)
    found = input_format(plain, frames_seen, "max", frames_seen.deviation, widen=True)
    assert found.bits == WIDE
    assert input_format(plain, frames_seen, "max", frames_seen.deviation, widen=False).bits == 16


def test_a_channel_that_stays_coarse_is_named() -> None:
    x = frames([0.0, 0.0], [1.0, 1.0])
    seen = Frames.of(x)
    assert coarse(Format(16, 12), seen, None) == []
    assert coarse(Format(8, 0), seen, None) == [0, 1]
    assert coarse(ChannelFormat(8, 7, True, (5, 0), (0, 0)), seen, None) == [1]


def test_without_a_mean_taken_there_are_no_offsets() -> None:
    found, _ = chosen(frames([1e6, 0.0], [1.0, 1.0]), unit=False)
    assert isinstance(found, Format)
    assert not any(found.channel(d)[1] for d in range(2))


def test_frames_joined_are_those_of_all() -> None:
    x = frames([5.0, 1.7e9], [2.0, 30.0])
    joined = Frames.of(x[:10])
    for start in range(10, len(x), 700):
        joined = joined.joined(Frames.of(x[start : start + 700]), np.random.default_rng(1))
    whole = Frames.of(x)
    assert joined.count == len(x)
    np.testing.assert_array_equal((joined.low, joined.high), (whole.low, whole.high))
    np.testing.assert_allclose(joined.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(joined.deviation, x.std(axis=0), rtol=1e-6)
    assert len(joined.rows) == 1024
    again = Frames.from_json(joined.to_json())
    np.testing.assert_array_equal(again.rows, joined.rows)


@pytest.mark.parametrize("text", ["s16.15[13,-2-405]", "s8.7[0]", "s24.23[-126+4503599627370496,120]"])
def test_a_channel_format_is_read_back(text: str) -> None:
    found = Format.parse(text)
    assert isinstance(found, ChannelFormat)
    assert str(found) == text


@pytest.mark.parametrize("value", [0.0, 9.81, 101325.3, -4e-5, 1e12])
def test_a_constant_channel_is_exactly_nothing(value: float) -> None:
    x = frames([0.0, 1e5], [1.0, 30.0])
    x = np.concatenate((x, np.full_like(x[:, :1], value)), axis=1)
    seen = Frames.of(x)
    unit = np.array([*seen.deviation[:2], 1.0])
    found = input_format(Format(16, -2), seen, "error", unit, widen=True)
    assert isinstance(found, ChannelFormat)
    assert found.bits == 16
    assert abs(found.bases[2] - value) <= abs(value) * 2.0**-50
    assert (found.integers(x)[:, 2] == 0).all()
