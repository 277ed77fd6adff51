"""The audio front end against sums written out, and its cache."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesearch.config import FeatureConfig
from edgesearch.config.cache import cache_dir
from edgesearch.data.features import FLOOR, FrontEnd, cached, mel_filters
from edgesearch.errors import ConfigError
from tests.conftest import composed

RATE = 8000


def config(**changes: Any) -> FeatureConfig:
    features = composed("data=fsdd").data.features
    assert features is not None
    for name, value in changes.items():
        setattr(features, name, value)
    return features


def test_log_mel_bands_equal_the_written_out_transform() -> None:
    samples = np.random.default_rng(0).normal(size=RATE).astype(np.float32)
    settings = config(window_ms=10.0, hop_ms=5.0, bands=6)
    found = FrontEnd(settings, RATE)(samples)
    length, hop, size = 80, 40, 128
    assert found.shape == ((RATE - length) // hop + 1, 6)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    for frame in (0, 7, found.shape[0] - 1):
        piece = samples[frame * hop : frame * hop + length] * window
        angles = -2j * np.pi * np.outer(np.arange(size // 2 + 1), np.arange(length)) / size
        power = np.abs(np.exp(angles) @ piece) ** 2
        expected = np.log(power @ mel_filters(6, size, RATE) + FLOOR)
        np.testing.assert_allclose(found[frame], expected, rtol=1e-5)


def test_mel_filters_are_triangles_that_sum_to_one_between_the_outer_peaks() -> None:
    filters = mel_filters(20, 1024, RATE)
    peaks = filters.argmax(axis=0)
    assert (np.diff(peaks) > 0).all()
    inner = filters[peaks[0] + 1 : peaks[-1]].sum(axis=1)
    np.testing.assert_allclose(inner, 1, atol=1e-9)


def test_mfccs_are_the_orthonormal_cosine_transform_of_the_bands() -> None:
    samples = np.random.default_rng(1).normal(size=RATE).astype(np.float32)
    bands = FrontEnd(config(), RATE)(samples).astype(np.float64)
    found = FrontEnd(config(kind="mfcc", coefficients=5), RATE)(samples)
    n = bands.shape[1]
    for k in range(5):
        scale = np.sqrt((1 if k == 0 else 2) / n)
        expected = scale * bands @ np.cos(np.pi * k * (2 * np.arange(n) + 1) / (2 * n))
        np.testing.assert_allclose(found[:, k], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("length", [1, 100, 7999, 8000, 8001, 20000])
def test_clips_of_any_length_become_the_same_shape_centred(length: int) -> None:
    front_end = FrontEnd(config(), RATE)
    found = front_end(np.ones(length, dtype=np.float32))
    assert found.shape == (49, 24)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, found[::-1], atol=2.0)


@pytest.mark.parametrize("changes", [{"hop_ms": 0.01}, {"bands": 200}])
def test_settings_the_rate_cannot_serve(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"set data\.features"):
        FrontEnd(config(**changes), RATE)


def test_the_cache_is_used_keyed_by_settings_and_survives_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    calls: list[int] = []

    def build() -> dict[str, Any]:
        calls.append(1)
        return {"x": np.arange(3)}

    for _ in range(2):
        assert cached(config(), ("part",), ("x",), build)["x"].tolist() == [0, 1, 2]
    assert len(calls) == 1
    cached(config(hop_ms=10.0), ("part",), ("x",), build)
    cached(config(), ("other",), ("x",), build)
    assert len(calls) == 3
    for path in (cache_dir() / "features").iterdir():
        path.write_bytes(b"PK damaged")
    assert cached(config(), ("part",), ("x",), build)["x"].tolist() == [0, 1, 2]
    assert len(calls) == 4
