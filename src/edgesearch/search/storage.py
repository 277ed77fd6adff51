"""Where studies are kept: SQLite beside the runs, or any URL that Optuna takes. And who works on a trial."""

import contextlib
import functools
import itertools
import os
import random
import re
import socket
import sqlite3
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from edgesearch.config import Config
from edgesearch.config.passwords import shown, without_passwords
from edgesearch.errors import ConfigError, ModelFileError, StorageError
from edgesearch.search.outage import FAILURES, OUTAGE_SECONDS, Outage, PatientStorage, is_outage, reason
from edgesearch.search.rows import damaged, read
from edgesearch.search.workers import is_worker

OWNER = "owner"
PROGRAM = "program"  # that a trial of fine-tuning is about
RETRIED = "edgesearch:retried"
_RETRIES = 1
_FIRST_STARTS = 10  # attempts, while others create the same tables
_LOCK_SECONDS = 60
_SQLITE = b"SQLite format 3\0"
_OBJECTS = 1000  # tables and indices of an SQLite file
_PLAIN = re.compile(r"CREATE (TABLE|INDEX|UNIQUE INDEX) ")
_SILENCE = {
    "connect_timeout": 10, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}  # fmt: skip


def default_url(folder: Path) -> str:
    """Return the URL of the SQLite file of a study's folder."""
    return URL.create("sqlite", database=str(folder / "study.db")).render_as_string()


def storage_of(config: Config, folder: Path) -> str:
    """Return the URL where the trials of a study with this folder are.

    Raises:
        ModelFileError: there is no such file.
    """
    if config.search.storage is not None:
        return config.search.storage
    database = folder / "study.db"
    if not database.exists() or (database.is_file() and database.stat().st_size == 0):
        raise ModelFileError(
            f"study must name a study in {folder.parent}, got {folder.name}; set outputs_dir, or search.storage where "
            "it is kept elsewhere"
        )
    return default_url(folder)


def open_storage(url: str, heartbeat_seconds: int) -> BaseStorage:
    """Open a storage, creating its tables where there are none.

    Takes what SQLAlchemy takes, and `journal:FILE` for processes of one machine: such a file has no heartbeats.

    Raises:
        ConfigError: a URL that names no storage, or whose driver is not installed.
        StorageError: nothing answers there.
        ModelFileError: an SQLite file that is none, or has more than tables.
    """
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    warnings.filterwarnings("ignore", message="Heartbeat of storage is supposed")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        if url.startswith("journal:"):
            return _Journal(url)
        return _relational(url, heartbeat_seconds)
    except (ArgumentError, ImportError, ValueError, OSError) as error:
        reason = type(error).__name__ if not isinstance(error, OSError) else error.strerror
        raise ConfigError(
            f"search.storage must be a URL such as sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE with its "
            f"driver installed, got {shown(url)} ({reason}); run pip install 'edgesearch[postgresql]' for PostgreSQL"
        ) from error


class _Journal(JournalStorage):
    """A journal in a file, which is JSON: it is replayed without trust."""

    def __init__(self, url: str) -> None:
        self._place = shown(url)
        super().__init__(JournalFileBackend(url.removeprefix("journal:")))

    def _sync_with_backend(self) -> None:
        read(super()._sync_with_backend, self._place)


def _relational(url: str, heartbeat_seconds: int) -> RDBStorage:
    options = _options(make_url(url))
    outage = Outage(shown(url))
    until = time.monotonic() + (OUTAGE_SECONDS if is_worker() else 0)  # (its search has found the storage in order)
    for attempt in itertools.count(1):
        try:
            storage = PatientStorage(
                url,
                outage,
                engine_kwargs=options,
                heartbeat_interval=heartbeat_seconds,
                grace_period=3 * heartbeat_seconds,
                heartbeat_stale_trial_callback=try_again,
            )
            if storage.engine.name == "sqlite":
                event.listen(storage.engine, "connect", _no_wait_for_the_disk)
                storage.engine.dispose()
            return storage
        except FAILURES as error:
            if isinstance(error, ArgumentError):
                raise
            if attempt >= _FIRST_STARTS and (time.monotonic() >= until or not is_outage(error)):
                raise _unreachable(url, error) from error
            time.sleep(0.1 * attempt * (1 + random.random()))  # noqa: S311  (no secret)
        except (ArgumentError, ImportError, ValueError, OSError):
            raise
        except Exception as error:  # (Optuna and Alembic have many for tables that are not of their version)
            raise damaged(shown(url), type(error).__name__) from error
    raise AssertionError("unreachable")


def _options(url: URL) -> dict[str, Any]:
    """What the engine of a database is made with; a server that is gone without a word is noticed in seconds."""
    if url.get_backend_name() == "sqlite":
        _write_ahead(url.database)
        return {"connect_args": {"timeout": _LOCK_SECONDS}}
    options: dict[str, Any] = {"pool_pre_ping": True}
    if url.get_backend_name() == "postgresql" and url.get_driver_name() in ("psycopg", "psycopg2"):
        options["connect_args"] = {key: value for key, value in _SILENCE.items() if key not in url.query}
    return options


def _write_ahead(database: str | None) -> None:
    """Readers do not wait for writers then; the mode stays with the file."""
    if database is None or database in ("", ":memory:"):
        raise ConfigError("search.storage must be a file, got an SQLite database in memory; leave search.storage out")
    path = Path(database)
    path.parent.mkdir(parents=True, exist_ok=True)
    _check_files(path)
    try:
        with contextlib.closing(sqlite3.connect(database, timeout=_LOCK_SECONDS)) as connection:
            _check_tables(path, connection)
            connection.execute("pragma journal_mode=wal")
    except sqlite3.OperationalError as error:
        raise StorageError(
            f"{database} must be a file that can be written, got: {error}; set outputs_dir or search.storage to a "
            "place where it can"
        ) from error
    except sqlite3.DatabaseError as error:
        raise _no_database(path, str(error)) from error


def _check_files(path: Path) -> None:
    """A pipe or a device would never end, for SQLite's own files beside the database too."""
    for own in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal"))):
        if own.exists() and not own.is_file():
            raise _no_database(own, "no regular file")
    if path.exists() and path.stat().st_size:
        with path.open("rb") as file:
            if file.read(len(_SQLITE)) != _SQLITE:
                raise _no_database(path, "another one")


def _check_tables(path: Path, connection: sqlite3.Connection) -> None:
    """What Optuna reads must be plain tables: a view may have no end, and a trigger acts. SQLite goes by the text."""
    connection.execute("pragma trusted_schema=off")
    rows = connection.execute("select type, rootpage, substr(sql, 1, 40) from sqlite_master limit ?", (_OBJECTS + 1,))
    found = rows.fetchall()
    for kind, page, text in found:
        if kind not in ("table", "index") or not page or not (text is None or _PLAIN.match(str(text))):
            raise _no_database(path, f"one with {str(kind)[:20]!r} that is no plain table")
    if len(found) > _OBJECTS:
        raise _no_database(path, f"one of more than {_OBJECTS} tables")


def _no_database(path: Path, got: str) -> ModelFileError:
    return ModelFileError(f"{path} must be an SQLite file of a study, got {got}; delete it or set search.storage")


def _no_wait_for_the_disk(connection: Any, record: Any) -> None:
    """A killed process loses nothing; with the power the last writes may go, and the file stays whole."""
    connection.execute("pragma synchronous=normal")
    connection.execute("pragma trusted_schema=off")  # (a file may come from a stranger)


def _unreachable(url: str, error: Exception) -> StorageError:
    said = without_passwords(reason(error), [url])
    return StorageError(f"the study's storage {shown(url)} cannot be used: {said}; start it, or set search.storage")


@contextlib.contextmanager
def storage_errors(url: str) -> Iterator[None]:
    """Turn a storage that fails into one line.

    Raises:
        StorageError: it failed.
    """
    try:
        yield
    except FAILURES as error:
        raise StorageError(
            f"{_unreachable(url, error)}; what was finished is kept, and the same command goes on"
        ) from error


def try_again(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue the trial of a dead process again, if that was not done before."""
    retries = trial.system_attrs.get(RETRIED, 0) + 1
    if retries <= _RETRIES:
        requeue(study, trial, retries)


def requeue(study: optuna.Study, trial: FrozenTrial, retries: int | None = None) -> None:
    """Queue a failed trial again as a new one, if it got so far as to say what it was to do."""
    if not trial.params and PROGRAM not in trial.user_attrs:
        return
    study.add_trial(
        optuna.create_trial(
            state=TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={key: trial.user_attrs[key] for key in (PROGRAM,) if key in trial.user_attrs},
            system_attrs={RETRIED: trial.system_attrs.get(RETRIED, 0) if retries is None else retries},
        )
    )


@functools.cache
def owner() -> str:
    """Return what names this process on its machine, and tells it from a later one of the same number."""
    return f"{_place()}|{os.getpid()}|{_started(os.getpid())}"


def dead(name: str) -> bool | None:
    """Tell whether the process that `owner` named is gone; None for one on another machine."""
    place, pid, started = ([*name.rsplit("|", 2), "", ""])[:3]
    if place != _place() or not re.fullmatch(r"\d{1,10}", pid, re.ASCII):
        return None
    return _started(int(pid)) != started


@functools.cache
def _place() -> str:
    """Host, boot and process namespace: where process numbers mean the same."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return "/".join(parts)


def _started(pid: int) -> str | None:
    """Return when a process started, in clock ticks since boot; None if there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            return "running"
        return "running"
    return None if fields[0] == "Z" else fields[19]
