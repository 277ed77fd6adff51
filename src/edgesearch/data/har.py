"""UCI Human Activity Recognition Using Smartphones: windows of accelerometer and gyroscope, 30 subjects.

`variant=full` is the public archive, 128 steps x 9 signals. `9ch_subset` has 2400 of its 7352 training windows and
`totalacc` all windows, but only the second half (64 steps) of the 3 total-acceleration signals.
"""

import io
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from edgesearch.config import DataConfig
from edgesearch.data.arrays import load_npz
from edgesearch.data.dataset import Floats, RawData, Split
from edgesearch.data.sources import Source, locate, reading
from edgesearch.untrusted.arrays import check_archive

_PUBLIC = Source(
    "har2/human+activity+recognition+using+smartphones.zip",
    None,
    "https://archive.ics.uci.edu/static/public/240/human+activity+recognition+using+smartphones.zip",
)
_REDUCED = {
    "9ch_subset": Source(
        "har2/har_9ch_train2400_test2947.npz", "282c6e942d3b6e07df37f71401494eb702d276e3896fc594a05dce8e4e67b4af"
    ),
    "totalacc": Source(
        "har2/har_totalacc_64x3_full.npz", "245a1f542281a795228dcd8b42bc536a0103288fe8432fb960f053f9d8ca8140"
    ),
}
_SUBSET_OF = {
    "9ch_subset": "UCI HAR (2400 of 7352 training windows)",
    "totalacc": "UCI HAR (3 of 9 signals, steps 64 to 127 of 128)",
}
_SIGNALS = tuple(f"{kind}_{axis}" for kind in ("body_acc", "body_gyro", "total_acc") for axis in "xyz")
_UNPACKED = 1 << 30  # bytes
_ACTIVITIES = ("walking", "walking_upstairs", "walking_downstairs", "sitting", "standing", "laying")
_SECOND_OF_TWO = ("standing", "walking", "walking_downstairs")


def load_har6(config: DataConfig) -> RawData:
    """Return the six activities of the chosen variant; the test subjects are never in the training rows."""
    if config.variant == "full":
        parts = _read_archive(locate(_PUBLIC, config.path))
        subset_of = None
    else:
        parts = _read_reduced(locate(_REDUCED[str(config.variant)], config.path))
        subset_of = _SUBSET_OF[str(config.variant)]
    return RawData(parts["train"], parts["test"], _ACTIVITIES, subset_of=subset_of)


def load_har2(config: DataConfig) -> RawData:
    """Return the two classes of the FastGRNN paper: sitting, laying, walking upstairs against the other three."""
    six = load_har6(config)
    merged = np.array([int(name in _SECOND_OF_TWO) for name in _ACTIVITIES], dtype=np.int64)
    train, test = (Split(part.x, merged[part.y], part.groups) for part in (six.train, six.test))
    names = ("sitting_laying_upstairs", "standing_walking_downstairs")
    return RawData(train, test, names, subset_of=six.subset_of)


def _read_reduced(path: Path) -> dict[str, Split]:
    arrays = load_npz(path, tuple(f"{name}_{part}" for part in ("train", "test") for name in ("x", "y", "subject")))
    return {
        part: Split(
            arrays[f"x_{part}"].astype(np.float32),
            arrays[f"y_{part}"].astype(np.int64) - 1,
            arrays[f"subject_{part}"].astype(np.str_),
        )
        for part in ("train", "test")
    }


def _read_archive(path: Path) -> dict[str, Split]:
    try:
        with zipfile.ZipFile(path) as outer:
            check_archive(outer, _UNPACKED)
            nested = next((name for name in outer.namelist() if name.endswith("HAR Dataset.zip")), None)
            if nested is None:
                return {part: _read_part(outer, part) for part in ("train", "test")}
            with zipfile.ZipFile(io.BytesIO(outer.read(nested))) as inner:
                check_archive(inner, _UNPACKED)
                return {part: _read_part(inner, part) for part in ("train", "test")}
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError, OSError) as error:
        raise reading(path)(error) from error


def _read_part(archive: zipfile.ZipFile, part: str) -> Split:
    def table(name: str) -> Floats:
        with archive.open(f"UCI HAR Dataset/{part}/{name}_{part}.txt") as file:
            return _numbers(file)

    x = np.stack([table(f"Inertial Signals/{signal}") for signal in _SIGNALS], axis=2)
    return Split(
        x, table("y").astype(np.int64).reshape(-1) - 1, table("subject").astype(np.int64).reshape(-1).astype(np.str_)
    )


def _numbers(file: IO[bytes]) -> Floats:
    return np.loadtxt(file, dtype=np.float32, ndmin=2)
