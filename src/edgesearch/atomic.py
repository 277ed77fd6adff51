"""Files and folders that are complete or not there, and what a disk that refuses them means for the user.

What is written lies beside its place under a name that no other process or thread has, reaches the disk, and then takes
its name: a reader sees the content of before or the new one, after a power cut too.
"""

import contextlib
import errno
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from edgesearch.config.cache import cache_dir
from edgesearch.errors import ModelFileError

_SCRATCH = "edgesearch-scratch-"
_NAME = 50  # characters of the target's that its partial file has too
_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM)
_NO_FILE = (errno.ELOOP, errno.ENXIO, errno.EISDIR)  # what opening a link, a pipe or a folder gives
_OF_DISKS = (*_FULL, *_REFUSED, errno.EIO, errno.EFBIG)


def write_bytes(target: Path, content: bytes) -> None:
    """Replace a file, whose folder exists.

    Raises:
        OSError: it cannot be written; `filename` is the target.
    """
    with atomic_path(target) as partial:
        partial.write_bytes(content)


def write_text(target: Path, text: str) -> None:
    """Replace a text file, as UTF-8.

    Raises:
        OSError: it cannot be written; `filename` is the target.
    """
    write_bytes(target, text.encode("utf-8"))


@contextlib.contextmanager
def atomic_file(target: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of `target` when the block ends well and vanishes otherwise."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(target) as partial, partial.open("wb") as file:
        yield file


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Give a path to write a file to; it takes the place of `target` when the block ends well and vanishes otherwise.

    Raises:
        OSError: it cannot be written; `filename` is the target.
    """
    partial = _beside(target)
    try:
        with _named(target):
            yield partial
            _flush(partial)
            partial.replace(target)
            _flush(target.parent)
    finally:
        with contextlib.suppress(OSError):  # (taken its place, or a disk that refuses this too)
            partial.unlink()


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder that takes the place of the folder `target`, as `atomic_path` does for a file.

    A folder cannot be replaced in one step: for a moment there is none.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial, before = _beside(target), _beside(target)
    try:
        with _named(target):
            partial.mkdir()
            yield partial
            for path in (*partial.rglob("*"), partial):
                _flush(path)
            if target.exists():
                target.replace(before)
            partial.replace(target)
            _flush(target.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(before, ignore_errors=True)


def open_own(path: Path, *, empty: bool = False) -> IO[str]:
    """Open a text file of ours to write in place, made where there is none; links and pipes are never followed.

    Args:
        path: the file.
        empty: begin with nothing in it; otherwise what it holds stays.

    Raises:
        ModelFileError: it is a link, or no regular file.
        OSError: it cannot be opened.
    """
    refused = ModelFileError(f"{path} must be a regular file, got a link or something else; delete it")
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno in _NO_FILE:
            raise refused from error
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise refused
    if empty:
        os.ftruncate(handle, 0)
    return os.fdopen(handle, "w", encoding="utf-8", newline="")


def check_no_link(folder: Path, path: Path) -> None:
    """See that nothing on the way from `folder` down to `path` is a link, which may lead out of the folder.

    Raises:
        ModelFileError: something is.
    """
    place = folder
    for part in path.relative_to(folder).parts:
        place /= part
        if place.is_symlink():
            raise ModelFileError(f"{place} must be a folder or file of its own, got a link; delete it")


def check_writable(folder: Path) -> None:
    """Make a folder, and see that files can be written there.

    Raises:
        OSError: they cannot.
    """
    folder.mkdir(parents=True, exist_ok=True)
    probe = _beside(folder / "probe")
    with _named(folder):
        try:
            probe.write_bytes(b"0")
        finally:
            with contextlib.suppress(OSError):
                probe.unlink()


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Give a temporary folder that vanishes with the block.

    Raises:
        OSError: nothing can be written there; `filename` is the folder.
    """
    with tempfile.TemporaryDirectory(prefix=_SCRATCH) as folder, _named(Path(folder)):
        yield Path(folder)


def told(error: OSError) -> str:
    """Return one line for a user: what cannot be used, why, and what to set."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.filename is None:
        if "usable temporary directory" in reason:
            return f"a temporary folder must be writable and have room, got none: {reason}; free some, or set TMPDIR"
        return f"a file cannot be used: {reason}; check the disk's space"
    place = Path(os.fsdecode(error.filename))
    if error.errno in _FULL:
        return f"the disk of {place} must have room, got: {reason}; free some there, or set {_setting(place)}"
    if error.errno in _REFUSED:
        remedy = f"change its permissions, or set {_setting(place)}"
        return f"{place} must be a place that can be written and read, got: {reason}; {remedy}"
    if _is_cache(place):
        return f"{place} cannot be used: {reason}; set {_setting(place)}"
    return f"{place} cannot be used: {reason}; check the path and the disk's space"


def _setting(place: Path) -> str:
    """What puts files of this kind elsewhere."""
    if _is_cache(place):
        return "XDG_CACHE_HOME to a folder elsewhere"
    if any(part.startswith(_SCRATCH) for part in place.parts):
        return "TMPDIR to a folder elsewhere"
    return "outputs_dir=FOLDER to one elsewhere"


def _is_cache(place: Path) -> bool:
    """Whether it is of the user's cache, or on the way to it."""
    return place.is_relative_to(cache_dir()) or (cache_dir().is_relative_to(place) and not place.is_dir())


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name[:_NAME]}.{os.getpid()}-{secrets.token_hex(6)}.partial")


@contextlib.contextmanager
def _named(target: Path) -> Iterator[None]:
    """Have errors of the disk name the target: those of writing name nothing, others the partial file."""
    try:
        yield
    except OSError as error:
        if not _ours(error):
            raise
        raise OSError(error.errno, error.strerror, str(target)) from error


def _ours(error: OSError) -> bool:
    """Tell whether an error is of what is being written."""
    if error.filename is None:
        return error.errno in _OF_DISKS
    return any(part.endswith(".partial") for part in Path(os.fsdecode(error.filename)).parts)


def _flush(path: Path) -> None:
    """Have a file's content, or a folder's names, reach the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if not path.is_dir() or error.errno not in (errno.EINVAL, errno.ENOTSUP):  # (some cannot flush folders)
            raise
    finally:
        os.close(handle)
