"""Reading .npy and .npz files of numbers without pickle, with errors a user can act on."""

from pathlib import Path

import numpy as np

from edgesearch.errors import DataError
from edgesearch.untrusted.arrays import Array, read_arrays
from edgesearch.untrusted.files import DamagedError

__all__ = ["Array", "load_npy", "load_npz"]


def load_npy(path: Path) -> Array:
    """Return the array of a .npy file.

    Raises:
        DataError: missing, truncated, or holding objects that would need pickle.
    """
    loaded = _load(path)
    if not isinstance(loaded, np.ndarray):
        raise DataError(f"{path} must be a .npy array, got an archive; give its folder or rename it to .npz")
    return loaded


def load_npz(path: Path, required: tuple[str, ...]) -> dict[str, Array]:
    """Return the arrays of a .npz file, among them `required`.

    Raises:
        DataError: missing, truncated, lacking an array, or holding objects that would need pickle.
    """
    loaded = _load(path)
    if isinstance(loaded, np.ndarray):
        raise DataError(f"{path} must be an .npz archive, got a single array; save it with numpy.savez")
    missing = [name for name in required if name not in loaded]
    if missing:
        raise DataError(f"{path} must hold {', '.join(required)}, got no {missing[0]}; save it again with all of them")
    return loaded


def _load(path: Path) -> Array | dict[str, Array]:
    try:
        return read_arrays(path)
    except FileNotFoundError as error:
        raise DataError(f"{path} must exist, got no such file; check data.path") from error
    except DamagedError as error:
        if "pickle" in str(error):
            raise DataError(f"{path} must hold plain numbers, got {error}; save numeric arrays") from error
        raise DataError(f"{path} is truncated or damaged ({error}); save it again") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check data.path") from error
