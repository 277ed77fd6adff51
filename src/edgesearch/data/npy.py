"""The user's own arrays, in one of two layouts:

* a folder with train.npy and test.npy, EdgeML's layout: a row is the label, then T * D values, D = `data.input_size`;
* an .npz file with x_train (N, T, D), y_train (N,), x_test, y_test, and optionally x_val, y_val and group_train (N,).
"""

import hashlib
from pathlib import Path

import numpy as np

from edgesearch.config import DataConfig
from edgesearch.data.arrays import Array, load_npy, load_npz
from edgesearch.data.dataset import Floats, Ints, RawData, Split
from edgesearch.data.sources import sha256
from edgesearch.errors import ConfigError, DataError


def load_npy_data(config: DataConfig) -> RawData:
    """Return the splits that `data.path` holds; labels must be 0..C-1.

    Raises:
        ConfigError: no path, or no input_size for EdgeML's layout.
        DataError: a file is missing, damaged or not of its layout.
    """
    files = _files(config)
    if len(files) == 1:
        train, validation, test = _from_npz(files[0])
    else:
        if config.input_size is None:
            raise ConfigError(
                "train.npy holds rows of T * D values and needs D, got data.input_size=null; set data.input_size=D"
            )
        train, test = (_rows(path, config.input_size) for path in files)
        validation = None
    classes = int(train.y.max()) + 1 if len(train) else 0
    return RawData(train, test, tuple(str(label) for label in range(classes)), validation=validation)


def digest(config: DataConfig) -> str:
    """Return a digest of the files' content, so that changed files are another run."""
    files = _files(config)
    for path in files:
        if not path.is_file():
            raise DataError(f"{path} must exist, got no such file; check data.path")
    return hashlib.sha256("".join(sha256(path) for path in files).encode()).hexdigest()


def _files(config: DataConfig) -> list[Path]:
    if config.path is None:
        raise ConfigError(
            "data=npy needs a folder of train.npy and test.npy, or an .npz file, got none; set data.path=FOLDER"
        )
    path = Path(config.path).expanduser()
    return [path] if path.suffix == ".npz" else [path / "train.npy", path / "test.npy"]


def _from_npz(path: Path) -> tuple[Split, Split | None, Split]:
    arrays = load_npz(path, ("x_train", "y_train", "x_test", "y_test"))
    groups = arrays.get("group_train")
    train = Split(
        _values(path, arrays["x_train"]),
        _labels(path, arrays["y_train"]),
        None if groups is None else groups.astype(np.str_),
    )
    test = Split(_values(path, arrays["x_test"]), _labels(path, arrays["y_test"]))
    if "x_val" not in arrays:
        return train, None, test
    if "y_val" not in arrays:
        raise DataError(f"{path} must hold y_val beside x_val, got none; save it again with both")
    return train, Split(_values(path, arrays["x_val"]), _labels(path, arrays["y_val"])), test


def _rows(path: Path, input_size: int) -> Split:
    table = load_npy(path)
    if table.ndim != 2 or table.shape[1] < 2 or (table.shape[1] - 1) % input_size:
        raise DataError(
            f"{path} must have rows of a label and a multiple of data.input_size={input_size} values, got shape "
            f"{table.shape}; check data.input_size"
        )
    values = _values(path, table[:, 1:])
    return Split(values.reshape(len(table), -1, input_size), _labels(path, table[:, 0]))


def _values(path: Path, array: Array) -> Floats:
    if array.dtype.kind not in "fiub":
        raise DataError(f"{path} must hold real numbers, got {array.dtype}; save numeric arrays")
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    if array.dtype.itemsize > 4 and np.isfinite(array).all():
        spread, lost = float(np.std(array, dtype=np.float64)), float(np.abs(values - array).max())
        if lost > 1e-3 * spread:
            raise DataError(
                f"{path} must keep its values in 32-bit floats, got errors of {lost:.2g} at a spread of {spread:.2g}; "
                "subtract the offset or rescale"
            )
    return values


def _labels(path: Path, array: Array) -> Ints:
    if array.dtype.kind not in "fiub":
        raise DataError(f"{path} must have whole numbers as labels, got {array.dtype}; number the classes from 0")
    flat = array.reshape(-1).astype(np.float64)
    wrong = np.flatnonzero(~((np.rint(flat) == flat) & (np.abs(flat) < 2**31)))
    if len(wrong):
        found = flat[wrong[0]]
        raise DataError(f"{path} must have whole numbers as labels, got {found} in row {wrong[0]}; repair the row")
    labels = flat.astype(np.int64)
    if len(labels) and labels.max() > len(labels):
        raise DataError(
            f"{path} must have labels from 0 without gaps, got {labels.max()} among {len(labels)} rows; renumber them"
        )
    return labels
