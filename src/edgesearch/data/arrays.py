"""Reading .npy and .npz files of numbers without pickle, with errors a user can act on."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesearch.errors import DataError

Array = npt.NDArray[Any]


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
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except FileNotFoundError as error:
        raise DataError(f"{path} must exist, got no such file; check data.path") from error
    except ValueError as error:
        if "pickle" in str(error):
            raise DataError(
                f"{path} must hold plain numbers, got objects that need pickle; save numeric arrays"
            ) from error
        raise DataError(f"{path} is truncated or damaged ({error}); save it again") from error
    except MemoryError as error:
        raise DataError(f"{path} must fit into memory, got a header that asks for more; check the file") from error
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is truncated or damaged ({error}); save it again") from error
