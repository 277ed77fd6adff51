"""The embedded data set: scikit-learn's 8 x 8 digits, 8 rows as 8 steps of 8 features. Needs no file."""

import numpy as np
from sklearn.datasets import load_digits as sklearn_digits

from edgesearch.config import DataConfig
from edgesearch.data.dataset import RawData, Split

TEST_SHARE = 0.25


def load_digits(config: DataConfig) -> RawData:
    """Return 1797 digits in [0, 16]; a fixed quarter of each class, drawn with seed 0, is the test set."""
    bunch = sklearn_digits()
    x = bunch.data.reshape(-1, 8, 8).astype(np.float32)
    y = bunch.target.astype(np.int64)
    rng = np.random.default_rng(0)
    test = np.zeros(len(y), dtype=bool)
    for label in range(10):
        rows = rng.permutation(np.flatnonzero(y == label))
        test[rows[: round(TEST_SHARE * len(rows))]] = True
    names = tuple(str(digit) for digit in range(10))
    return RawData(Split(x[~test], y[~test]), Split(x[test], y[test]), names, background=0.0)
