"""Finding a data file: configured path, EDGESEARCH_DATA, the user's cache, then the public URL."""

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import DownloadColumn, Progress

from edgesearch.atomic import atomic_file
from edgesearch.config.cache import cache_dir
from edgesearch.errors import DataError

TIMEOUT_SECONDS = 15
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Source:
    """A file of a public data set: where it lies under a data folder, its digest and where it can be fetched.

    `url` is None where only the conversion in a data folder exists; `sha256` is None where the archive's publisher
    states none and the content is checked by its reader instead.
    """

    path: str
    sha256: str | None
    url: str | None = None


def locate(source: Source, configured: str | None) -> Path:
    """Return the path of a file whose checksum is right, fetching it if that is the only way.

    `configured` is `data.path`: a folder holding `source.path` or its last component, or the file itself.

    Raises:
        DataError: not found and not fetched, or found with another checksum.
    """
    found = next((path for path in _places(source, configured) if path.is_file()), None)
    if found is None and configured is not None:
        raise DataError(
            f"data.path must hold {source.path}, got no such file under {configured}; correct it, or leave it out to "
            "look in EDGESEARCH_DATA and the cache"
        )
    found = found or _fetch(source)
    if source.sha256 is not None and digest(found) != source.sha256:
        raise DataError(f"{found} must have sha256 {source.sha256}, got {sha256(found)}; delete it and fetch it again")
    return found


def sha256(path: Path) -> str:
    """Return the hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _places(source: Source, configured: str | None) -> Iterator[Path]:
    if configured is not None:
        root = Path(configured).expanduser()
        yield from (root / source.path, root / Path(source.path).name, root)
        return
    if os.environ.get("EDGESEARCH_DATA"):
        yield Path(os.environ["EDGESEARCH_DATA"]) / source.path
    yield cache_dir() / source.path


_digests: dict[tuple[str, int, int], str] = {}


def digest(path: Path) -> str:
    """Return the hex digest of a file's bytes, computed once a process for an unchanged file."""
    stat = path.stat()
    key = (str(path), stat.st_size, stat.st_mtime_ns)
    if key not in _digests:
        _digests[key] = sha256(path)
    return _digests[key]


def _remedy(source: Source) -> str:
    checksum = f" (sha256 {source.sha256})" if source.sha256 else ""
    origin = f" from {source.url}" if source.url else ""
    return (
        f"put {Path(source.path).name}{checksum}{origin} at {cache_dir() / source.path} or under EDGESEARCH_DATA, "
        "or use data=digits, which needs no file"
    )


def _fetch(source: Source) -> Path:
    if source.url is None:
        raise DataError(f"{source.path} was not found and has no public address; {_remedy(source)}")
    target = cache_dir() / source.path
    try:
        with (
            urllib.request.urlopen(source.url, timeout=TIMEOUT_SECONDS) as answer,  # noqa: S310  (constant https URLs)
            atomic_file(target) as file,
            Progress(*Progress.get_default_columns(), DownloadColumn(), console=Console(stderr=True)) as progress,
        ):
            size = answer.headers.get("Content-Length")
            bar = progress.add_task(Path(source.path).name, total=int(size) if size else None)
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                progress.advance(bar, len(chunk))
            if size and file.tell() != int(size):
                raise DataError(f"{source.url} broke off after {file.tell()} of {size} bytes; run the command again")
    except OSError as error:
        raise DataError(f"{source.path} was not found and could not be fetched ({error}); {_remedy(source)}") from error
    return target


def reading(path: Path) -> Callable[[BaseException], DataError]:
    """Return a maker of the error for a file that its reader cannot decode."""
    return lambda error: DataError(f"{path} is truncated or damaged ({error}); delete it and fetch it again")
