"""USPS handwritten digits: 16 rows of 16 grey values in [-1, 1] as 16 steps of 16 features.

`variant=esl` is the copy of "The Elements of Statistical Learning". `variant=libsvm` is the blurred copy that EdgeML's
scripts download: the same images under a separable 7-tap Gaussian of sigma 0.75 pixel on a background of -1.
"""

import gzip
import zlib
from pathlib import Path

import numpy as np

from edgesearch.config import DataConfig
from edgesearch.data.dataset import Floats, Ints, RawData, Split
from edgesearch.data.sources import Source, locate, reading
from edgesearch.errors import DataError

_BASE = "https://hastie.su.domains/ElemStatLearn/datasets/"
TRAIN = Source(
    "usps10/zip.train.gz", "66ebf231ab51f2cf6ac1a892d0f98ccffee1079d7a5db638c1f11f366046ca16", _BASE + "zip.train.gz"
)
TEST = Source(
    "usps10/zip.test.gz", "8dacc3c6e136af6c3488de9e5113a7daf140c8c2f1f0b61c54ee02f03f1a962f", _BASE + "zip.test.gz"
)
BACKGROUND = -1.0


def load_usps10(config: DataConfig) -> RawData:
    """Return 7291 training and 2007 test images of the chosen variant."""
    splits = []
    for source in (TRAIN, TEST):
        x, y = read_zip(locate(source, config.path))
        splits.append(Split(blur(x) if config.variant == "libsvm" else x, y))
    return RawData(splits[0], splits[1], tuple(str(digit) for digit in range(10)), background=BACKGROUND)


def read_zip(path: Path) -> tuple[Floats, Ints]:
    """Read rows of a label and 256 grey values; returns x (N, 16, 16) and y (N,)."""
    try:
        with gzip.open(path, "rt", encoding="ascii") as file:
            table = np.loadtxt(file, dtype=np.float64, ndmin=2)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise reading(path)(error) from error
    if table.shape[1] != 257:
        raise DataError(f"{path} must have 257 columns, got {table.shape[1]}; delete it and fetch it again")
    return table[:, 1:].reshape(-1, 16, 16).astype(np.float32), table[:, 0].astype(np.int64)


def blur(x: Floats) -> Floats:
    """Convolve images (N, 16, 16) with the 7 x 7 Gaussian of sigma 0.75 pixel, background -1 outside the image."""
    offsets = np.arange(-3, 4)
    taps = np.exp(-(offsets**2) / (2 * 0.75**2))
    taps /= taps.sum()
    padded = np.pad(x.astype(np.float64), ((0, 0), (3, 3), (3, 3)), constant_values=BACKGROUND)
    rows = sum(tap * padded[:, k : k + 16, :] for k, tap in enumerate(taps))
    return np.asarray(sum(tap * rows[:, :, k : k + 16] for k, tap in enumerate(taps)), dtype=np.float32)
