"""The audio front end: samples to log-mel bands or MFCCs, computed once and cached.

Mel scale and triangular filters as in HTK; MFCCs are the orthonormal type-II cosine transform of the log-mel bands
(Davis & Mermelstein 1980).
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.fft

from edgesearch.atomic import atomic_file
from edgesearch.config import FeatureConfig
from edgesearch.config.cache import cache_dir
from edgesearch.data.arrays import Array, load_npz
from edgesearch.data.dataset import Floats
from edgesearch.errors import ConfigError, DataError

FLOOR = 1e-6
LOWEST = 20.0  # Hz
_VERSION = 1


class FrontEnd:
    """Turns clips into (T, D) features.

    Args:
        config: frame lengths in milliseconds, bands, kind.
        rate: samples a second.

    Raises:
        ConfigError: more bands than the window can resolve, or less than one sample a hop.
    """

    def __init__(self, config: FeatureConfig, rate: int) -> None:
        self._config, self._rate = config, rate
        self._length = round(config.seconds * rate)
        self._window_length = round(config.window_ms * rate / 1000)
        self._hop = round(config.hop_ms * rate / 1000)
        if self._hop < 1 or self._window_length < 2:
            raise ConfigError(
                f"data.features.hop_ms must be at least one sample at {rate} Hz, got {config.hop_ms:g} ms; "
                "set data.features.hop_ms=20"
            )
        self._fft = 1 << (self._window_length - 1).bit_length()
        self._window = np.hanning(self._window_length + 1)[:-1]
        self._filters = mel_filters(config.bands, self._fft, rate)
        if not (self._filters.sum(axis=0) > 0).all():
            raise ConfigError(
                f"data.features.bands={config.bands} is too many for a {config.window_ms:g} ms window at {rate} Hz; "
                f"set data.features.bands={max(1, config.bands // 2)}"
            )

    def __call__(self, samples: Floats) -> Floats:
        """Return features (T, D) of one clip in [-1, 1], centred in `seconds` of silence or cut to it."""
        frames = np.lib.stride_tricks.sliding_window_view(self._fit(samples), self._window_length)[:: self._hop]
        power = np.abs(np.fft.rfft(frames * self._window, self._fft)) ** 2
        bands = np.log(power @ self._filters + FLOOR)
        if self._config.kind == "mfcc":
            bands = scipy.fft.dct(bands, norm="ortho", axis=1)[:, : self._config.coefficients]
        return bands.astype(np.float32)

    def __str__(self) -> str:
        """What firmware has to do to samples, in a sentence."""
        c = self._config
        bands = (
            f"{c.bands} log-mel bands of {self._rate} samples a second in -1..1: every {self._hop} samples "
            f"({c.hop_ms:g} ms) the last {self._window_length} ({c.window_ms:g} ms), times a Hann window, FFT of "
            f"{self._fft}, power, triangles from {LOWEST:g} to {self._rate // 2} Hz evenly on the mel scale, natural "
            f"logarithm of that + {FLOOR:g}; a clip of {c.seconds:g} s, centred"
        )
        if c.kind == "logmel":
            return bands
        return f"{c.coefficients} MFCCs, the first of the orthonormal cosine transform of {bands}"

    def _fit(self, samples: Floats) -> Floats:
        excess = len(samples) - self._length
        if excess >= 0:
            return samples[excess // 2 : excess // 2 + self._length]
        before = -excess // 2
        return np.pad(samples, (before, -excess - before))


def mel_filters(bands: int, fft: int, rate: int) -> npt.NDArray[np.float64]:
    """Return (fft // 2 + 1, bands) triangular filters, evenly spaced on the mel scale from 20 Hz to rate / 2."""

    def mel(hertz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(2595 * np.log10(1 + hertz / 700))

    low, high = mel(np.array([LOWEST, rate / 2]))
    edges = np.linspace(low, high, bands + 2)
    bins = mel(np.arange(fft // 2 + 1) * rate / fft)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.asarray(np.maximum(0.0, np.minimum(rising, falling)))


def cached(
    config: FeatureConfig, parts: tuple[str, ...], names: tuple[str, ...], build: Callable[[], dict[str, Array]]
) -> dict[str, Array]:
    """Return the arrays `names` made by `build`, from the cache if the same were made before.

    `parts` are the digests and choices, besides the front end's settings, that decide the arrays. A damaged cache
    file is made again.
    """
    key = hashlib.sha256(json.dumps([_VERSION, asdict(config), parts]).encode()).hexdigest()[:16]
    path: Path = cache_dir() / "features" / f"{key}.npz"
    if path.is_file():
        try:
            return load_npz(path, names)
        except DataError:
            path.unlink()
    arrays = build()
    with atomic_file(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    return arrays
