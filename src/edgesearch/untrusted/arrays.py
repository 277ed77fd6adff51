"""Arrays that others made: sizes are read from headers, and refused, before anything of that size is allocated."""

import math
import os
import re
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
_DAMAGES = (zipfile.BadZipFile, EOFError, zlib.error, ValueError, TypeError, RuntimeError, MemoryError, OSError)
_HEADER = 10_000  # bytes
_EMPTY = 1 << 20  # of an array of no numbers, the product of the sides that are not 0
_ARRAY = re.compile(
    r"\{\s*'descr':\s*'([<>|=]?(?:[biufcSU]\d{1,9}|\?))',\s*'fortran_order':\s*(True|False),"
    r"\s*'shape':\s*\(((?:\d{1,30},\s*){0,32}(?:\d{1,30})?)\),?\s*\}\s*"
)


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
    if any(entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in entries):
        raise DamagedError("it is packed by another method than deflate")
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
    shape, kind, fortran = _header(file)
    claimed, there = math.prod(shape) * kind.itemsize, size - file.tell()
    if claimed > there:
        raise DamagedError(f"its header asks for {claimed} bytes, of which {there} are there")
    if claimed > most:
        raise DamagedError(f"its header asks for {mebibytes(claimed)}, more than {mebibytes(most)}")
    if claimed == 0 and math.prod(side for side in shape if side) > _EMPTY:
        raise DamagedError(f"its header asks for nothing in the shape {str(shape)[:80]}")
    content = bytearray(claimed)
    at = 0
    with memoryview(content) as view:
        while at < claimed and (read := file.readinto(view[at:])):  # type: ignore[attr-defined]
            at += read
    if at < claimed:
        raise DamagedError(f"it ends after {at} of {claimed} bytes")
    return np.frombuffer(content, kind).reshape(shape, order="F" if fortran else "C")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    """Shape, kind of number and order of a .npy file; nothing in it is evaluated."""
    start = file.read(10)
    if start[:6] != b"\x93NUMPY" or start[6:8] not in (b"\x01\x00", b"\x02\x00"):
        raise DamagedError("it is no array of a version that is known")
    more = b"" if start[6] == 1 else file.read(2)
    length = int.from_bytes(start[8:10] + more, "little")
    text = file.read(length) if length <= _HEADER else b""
    if b"'|O'" in text:
        raise DamagedError("objects that need pickle")
    found = _ARRAY.fullmatch(text.decode("latin-1"))
    if found is None:
        raise DamagedError("its header is not that of an array of numbers or text")
    shape = tuple(int(side) for side in found[3].split(",") if side.strip())
    kind = np.dtype(found[1])
    if kind.itemsize == 0 or max(shape, default=0) >= 2**63:
        raise DamagedError(f"its header claims {found[1]!r} in the shape {str(shape)[:80]}")
    return shape, kind, found[2] == "True"
