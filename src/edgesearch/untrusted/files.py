"""What files that others made are opened with: regular ones only, of a size that is looked at first."""

import stat
from io import BufferedReader
from pathlib import Path


class DamagedError(ValueError):
    """A file is not what it should be; the message is the reason, without the file's name."""


def opened(path: Path, most: int) -> BufferedReader:
    """Open a regular file of at most `most` bytes; a pipe or a device would never end.

    Raises:
        DamagedError: it is larger, or no regular file.
        OSError: it cannot be opened.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise DamagedError("it is no regular file")
    if found.st_size > most:
        raise DamagedError(f"it has {mebibytes(found.st_size)}, more than {mebibytes(most)}")
    return path.open("rb")


def mebibytes(count: int) -> str:
    """Return a number of bytes in words."""
    return f"{count / 2**20:.3g} MiB"
