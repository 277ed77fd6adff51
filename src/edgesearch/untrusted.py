"""Files that others made: sizes are read from headers, and refused, before anything of that size is allocated.

Paths flow in, arrays, text and JSON come out. What is wrong with a file is a `DamagedError`, a ValueError whose words
are a reason; who reads the file says in its own error which file it is and what to do.
"""

import json
import lzma
import math
import os
import stat
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
SMALL, TEXT = 64 << 20, 16 << 20  # bytes that a file may unpack to, whatever its own size; bytes of a text file
_RATIO = 20  # else times its own size
_ENTRIES = 10_000
# what zipfile and numpy raise for archives and headers that are none
_DAMAGES = (zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, ValueError, RuntimeError, MemoryError, OSError)
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class DamagedError(ValueError):
    """A file is not what it should be; the message is the reason, without the file's name."""


def read_text(path: Path, most: int = TEXT) -> str:
    """Return the text of a UTF-8 file of at most `most` bytes.

    Raises:
        DamagedError: it is longer, no text, or no regular file.
        OSError: it cannot be read.
    """
    with _opened(path, most) as file:
        try:
            return file.read(most + 1).decode()
        except UnicodeDecodeError as error:
            raise DamagedError(f"it is no UTF-8 text (byte {error.start})") from error


def read_json(path: Path, most: int = TEXT) -> Any:
    """Return what a JSON file holds.

    Raises:
        DamagedError: as `read_text` does, or for text that is no JSON or nests too deeply.
        OSError: it cannot be read.
    """
    return parse_json(read_text(path, most))


def parse_json(text: str) -> Any:
    """Return what JSON text holds; NaN and infinity, which JSON has not, are refused.

    Raises:
        DamagedError: the text is no JSON or nests too deeply.
    """
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError as error:
        raise DamagedError("it nests too deeply") from error
    except ValueError as error:
        raise DamagedError(f"it is no JSON ({error})") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


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
    with _opened(path, memory) as file:
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
        raise DamagedError(f"it unpacks to {_mebibytes(unpacked)}, more than {_mebibytes(most)}")


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
        raise DamagedError(f"its header asks for {_mebibytes(claimed)}, more than {_mebibytes(most)}")
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def _opened(path: Path, most: int) -> IO[bytes]:
    """Open a regular file of at most `most` bytes; a pipe or a device would never end."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise DamagedError("it is no regular file")
    if found.st_size > most:
        raise DamagedError(f"it has {_mebibytes(found.st_size)}, more than {_mebibytes(most)}")
    return path.open("rb")


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:.3g} MiB"
