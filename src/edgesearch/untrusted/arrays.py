"""Arrays that others made: sizes are read from headers, and refused, before anything of that size is allocated."""

import lzma
import math
import os
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from edgesearch.untrusted.files import DamagedError, mebibytes, opened

Array = npt.NDArray[Any]
SMALL = 64 << 20  # bytes that a file may unpack to, whatever its own size
_RATIO = 20  # else times its own size
_ENTRIES = 10_000
# what zipfile and numpy raise for archives and headers that are none
_DAMAGES = (zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, ValueError, RuntimeError, MemoryError, OSError)
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_arrays(path: Path, most: int | None = None) -> Array | dict[str, Array]:
    """Return the array of a .npy file, or those of an .npz file by name; no pickle.

    Args:
        path: the file.
        most: bytes that all arrays may have together; by default what fits into memory, of packed ones 64 MiB or
            20 times the file's size.

    Raises:
        DamagedError: damaged, with objects, or larger than that.
        OSError: it cannot be read.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with opened(path, memory) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            if file.read(4) != b"PK\x03\x04":
                file.seek(0)
                return _array(file, size, min(memory, memory if most is None else most))
            with zipfile.ZipFile(file) as archive:
                check_archive(archive, min(memory, max(SMALL, _RATIO * size)) if most is None else most)
                return {entry.filename.removesuffix(".npy"): _entry(archive, entry) for entry in archive.infolist()}
        except DamagedError:
            raise
        except _DAMAGES as error:
            raise DamagedError(f"it ends or breaks ({' '.join(str(error).split())[:200]})") from error


def check_archive(archive: zipfile.ZipFile, most: int) -> None:
    """Raise `DamagedError` if an archive's entries are too many or unpack to more than `most` bytes."""
    entries = archive.infolist()
    if len(entries) > _ENTRIES:
        raise DamagedError(f"it has {len(entries)} entries, more than {_ENTRIES}")
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > most:
        raise DamagedError(f"it unpacks to {mebibytes(unpacked)}, more than {mebibytes(most)}")


def _entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Array:
    with archive.open(entry) as file:
        return _array(file, entry.file_size, entry.file_size)


def _array(file: IO[bytes], size: int, most: int) -> Array:
    """The array that the `size` bytes of a file hold, if its header asks for no other number of bytes."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise DamagedError(f"it has an array of format {version}, which is unknown")
    shape, _, kind = _HEADERS[version](file)
    if kind.hasobject:
        raise DamagedError("objects that need pickle")
    if not all(type(side) is int and 0 <= side < 2**63 for side in shape):
        raise DamagedError(f"its header claims the shape {str(shape)[:80]}")
    claimed, there = math.prod(shape) * kind.itemsize, size - file.tell()
    if claimed > there:
        raise DamagedError(f"its header asks for {claimed} bytes, of which {there} are there")
    if claimed > most:
        raise DamagedError(f"its header asks for {mebibytes(claimed)}, more than {mebibytes(most)}")
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)
