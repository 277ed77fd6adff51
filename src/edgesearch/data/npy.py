"""The user's own arrays, in one of two layouts:

* a folder with train.npy and test.npy, EdgeML's layout: a row is the label, then T * D values, D = `data.input_size`;
* an .npz file with x_train (N, T, D), y_train (N,), x_test, y_test, and optionally x_val, y_val and group_train (N,).
"""

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgesearch.config import DataConfig
from edgesearch.data.arrays import Array, load_npy, load_npz
from edgesearch.data.dataset import Floats, Ints, RawData, Split, Values
from edgesearch.data.sources import sha256
from edgesearch.errors import ConfigError, DataError

_CLASSES = 1000
_WIDEST, _LONGEST = 8, 1024  # bytes of a number, of a group's name


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
        (x_train, y_train), (x_test, y_test) = (_rows(path, config.input_size) for path in files)
        x_train, x_test = _values([x_train, x_test])
        train, test, validation = Split(x_train, y_train), Split(x_test, y_test), None
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
    parts = [part for part in ("train", "test", "val") if f"x_{part}" in arrays]
    if "x_val" in arrays and "y_val" not in arrays:
        raise DataError(f"{path} must hold y_val beside x_val, got none; save it again with both")
    values = _values([_numbers(path, arrays[f"x_{part}"]) for part in parts])
    groups = arrays.get("group_train")
    splits = {part: Split(x, _labels(path, arrays[f"y_{part}"])) for part, x in zip(parts, values, strict=True)}
    train = splits["train"]
    if groups is not None:
        train = Split(train.x, train.y, _names(path, groups))
    return train, splits.get("val"), splits["test"]


def _names(path: Path, groups: Array) -> npt.NDArray[np.str_]:
    """Groups as text."""
    if groups.dtype.kind == "S":
        groups = np.char.decode(groups, "utf-8", "replace")
    if groups.dtype.kind not in "biufU" or groups.dtype.itemsize > _LONGEST:
        raise DataError(f"{path} must name groups by text or numbers, got {groups.dtype}; save them as text")
    return groups.astype(np.str_)


def _rows(path: Path, input_size: int) -> tuple[Array, Ints]:
    """Windows (N, T, D) and labels of EdgeML's layout."""
    table = load_npy(path)
    if table.ndim != 2 or table.shape[1] < 2 or (table.shape[1] - 1) % input_size:
        raise DataError(
            f"{path} must have rows of a label and a multiple of data.input_size={input_size} values, got shape "
            f"{table.shape}; check data.input_size"
        )
    steps = (table.shape[1] - 1) // input_size
    return _numbers(path, table[:, 1:]).reshape(len(table), steps, input_size), _labels(path, table[:, 0])


def _numbers(path: Path, array: Array) -> Array:
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > _WIDEST:
        raise DataError(
            f"{path} must hold real numbers of at most 64 bits, got {array.dtype}; save numeric arrays such as float32"
        )
    return array


def _values(parts: list[Array]) -> list[Values]:
    """The arrays, of training rows first, in 32 bits, or in 64 where 32 lose a thousandth of a channel's deviation.

    Training rows decide; of test rows nothing is learnt.
    """
    narrow = [_narrowed(part) for part in parts]
    return list(narrow) if _kept(parts[0], narrow[0]) else [part.astype(np.float64) for part in parts]


def _narrowed(array: Array) -> Floats:
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _kept(wide: Array, narrow: Floats) -> bool:
    """Whether 32 bits keep every channel, the last axis; a constant one is as good as another."""
    if (
        wide.size == 0
        or wide.dtype.itemsize < 4
        or wide.dtype == np.float32
        or wide.ndim != 3
        or not np.isfinite(wide).all()
    ):
        return True
    exact = wide.reshape(-1, wide.shape[-1]).astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        lost = np.abs(narrow.reshape(exact.shape) - exact).max(axis=0, initial=0.0)
        constant = (exact == exact[:1]).all(axis=0)
        return bool((constant | (np.isfinite(lost) & (lost <= 1e-3 * exact.std(axis=0)))).all())


def _labels(path: Path, array: Array) -> Ints:
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > _WIDEST:
        raise DataError(f"{path} must have whole numbers as labels, got {array.dtype}; number the classes from 0")
    flat = array.reshape(-1).astype(np.float64)
    wrong = np.flatnonzero(~(np.isfinite(flat) & (np.rint(flat) == flat)))
    if len(wrong):
        found = flat[wrong[0]]
        raise DataError(f"{path} must have whole numbers as labels, got {found} in row {wrong[0]}; repair the row")
    wrong = np.flatnonzero((flat >= _CLASSES) | (flat < -(2**31)))
    if len(wrong):
        raise DataError(
            f"{path} must have labels from 0 to C-1, of at most {_CLASSES} classes, got {flat[wrong[0]]:.15g} among "
            f"{len(flat)} rows, in row {wrong[0]}; number the classes from 0"
        )
    return flat.astype(np.int64)
