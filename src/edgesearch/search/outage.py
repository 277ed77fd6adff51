"""A database that goes away for a while: every operation, reading or writing, is tried again until it is back.

A process calls another one silent only if it has watched the storage for as long as silence takes: after an outage
nobody's heartbeat is recent, and whoever lives is given the time to say so.
"""

import contextlib
import functools
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import TrialState
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from edgesearch.config.passwords import without_passwords
from edgesearch.errors import EdgesearchWarning
from edgesearch.search.rows import read
from edgesearch.search.workers import is_worker

T = TypeVar("T")
FAILURES = (SQLAlchemyError, StorageInternalError)
OUTAGE_SECONDS = 150.0  # how long an operation is tried again
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0  # seconds
_FOR_OTHERS = ("locked", "busy")  # what SQLite says while others write; a file does not go away otherwise
_SAID = "the study's storage "


class Outage:
    """Watches whether a storage answers; one for each storage, for all threads.

    Args:
        place: the storage for a reader, without its password.
        clock, pause: as `time.monotonic` and `time.sleep`.
    """

    def __init__(
        self, place: str, clock: Callable[[], float] = time.monotonic, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self.place, self._clock, self._pause = place, clock, pause
        self._lock, self._own = threading.Lock(), threading.local()
        self._began: float | None = None
        self._watched_since = clock()
        self._given_up = False
        warnings.filterwarnings("always", message=_SAID, category=EdgesearchWarning)

    def watched(self, seconds: float) -> bool:
        """Tell whether the storage has answered, as far as this process knows, for so long."""
        with self._lock:
            return self._began is None and self._clock() - self._watched_since >= seconds

    def failed(self, error: Exception) -> None:
        """Note that the storage did not answer."""
        with self._lock:
            first, self._began = self._began is None, self._began or self._clock()
        if first:
            self._say(f"does not answer ({reason(error)}); it is asked again for {OUTAGE_SECONDS:g} s")

    def answered(self) -> None:
        """Note that it did."""
        with self._lock:
            began, self._began = self._began, None
            if began is None:
                return
            self._watched_since, self._given_up = self._clock(), False
        self._say(f"answers again after {self._watched_since - began:.0f} s; the search goes on")

    def ride_out(self, operation: Callable[[bool], T]) -> T:
        """Return what an operation returns, which is told whether it is tried again.

        Where an earlier one was given up nothing waits until the storage answers again.

        Raises:
            StorageInternalError, SQLAlchemyError: it failed for longer than an outage, or for another reason.
        """
        if getattr(self._own, "inside", False):  # an operation that is part of another
            return operation(False)
        self._own.inside = True
        try:
            return self._ride_out(operation)
        finally:
            self._own.inside = False

    def _ride_out(self, operation: Callable[[bool], T]) -> T:
        until, pause, again = self._clock() + OUTAGE_SECONDS, _FIRST_PAUSE, False
        while True:
            try:
                done = operation(again)
            except FAILURES as error:
                if not is_outage(error):
                    raise
                self.failed(error)
                if self._given_up or self._clock() + pause > until:
                    self._given_up = True
                    raise
                self._pause(pause)
                pause, again = min(2 * pause, _LONGEST_PAUSE), True
            else:
                self.answered()
                return done

    @contextlib.contextmanager
    def impatient(self) -> Iterator[None]:
        """Have no operation of the block wait."""
        before, self._given_up = self._given_up, True
        try:
            yield
        finally:
            self._given_up = before

    def _say(self, what: str) -> None:
        if not is_worker():  # (of the processes of one machine one speaks)
            warnings.warn(f"{_SAID}{self.place} {what}", EdgesearchWarning, stacklevel=2)


def reason(error: BaseException) -> str:
    """Return the first line of what a driver says, without passwords."""
    while isinstance(error, StorageInternalError) and error.__cause__ is not None:
        error = error.__cause__
    told = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    lines = str(told).strip().splitlines() or [type(told).__name__]
    return without_passwords(lines[0])


def is_outage(error: BaseException) -> bool:
    """Tell whether a storage may be away for a while, from what it will never do."""
    if isinstance(error, StorageInternalError):
        return error.__cause__ is None or is_outage(error.__cause__)
    if isinstance(error, DBAPIError) and "sqlite" in type(error.orig).__module__:
        return any(word in str(error.orig) for word in _FOR_OTHERS)
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    return isinstance(error, OperationalError | InterfaceError | PoolTimeoutError)


class PatientStorage(RDBStorage):
    """A relational storage whose every operation rides out an outage.

    Args:
        url: as SQLAlchemy takes it.
        outage: watches it.
        options: of `RDBStorage`.
    """

    def __init__(self, url: str, outage: Outage, **options: Any) -> None:
        self.outage = outage
        super().__init__(url.replace("{", "{{").replace("}", "}}"), **options)  # (it is a template to Optuna)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Any = None) -> bool:
        """Set them; the answer to an attempt may have been lost that had done it."""

        def operation(again: bool) -> bool:
            try:
                return super(PatientStorage, self).set_trial_state_values(trial_id, state, values)
            except UpdateFinishedTrialError:
                if again and self.get_trial(trial_id).state == state:
                    return True
                raise

        return self.outage.ride_out(operation)

    def beat(self, trial_id: int) -> None:
        """Say that a trial's owner lives, now or not at all.

        Raises:
            StorageInternalError, SQLAlchemyError: the storage does not answer.
        """
        try:
            RDBStorage.record_heartbeat(self, trial_id)
        except FAILURES as error:
            if is_outage(error):
                self.outage.failed(error)
            raise
        self.outage.answered()

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        """Return the trials whose owners are silent, once they have had the time to be heard."""
        assert self.grace_period is not None
        if not self.outage.watched(self.grace_period):
            return []
        return self.outage.ride_out(lambda again: super(PatientStorage, self)._get_stale_trial_ids(study_id))


def _patient(name: str) -> Callable[..., Any]:
    plain = getattr(RDBStorage, name)

    @functools.wraps(plain)
    def operation(self: PatientStorage, *given: Any, **named: Any) -> Any:
        if name in _READING:
            return self.outage.ride_out(lambda again: read(lambda: plain(self, *given, **named), self.outage.place))
        return self.outage.ride_out(lambda again: plain(self, *given, **named))

    return operation


_OF_THE_CACHE = ("_create_new_trial", "_get_best_trial_id", "_get_trials", "_set_trial_param")  # (Optuna's)
_OF_ALL = tuple(name for name in vars(RDBStorage) if hasattr(BaseStorage, name) and not name.startswith("_"))
_READING = ("_get_trials", "get_trial", *(name for name in _OF_ALL if name.startswith("get_study_")))
OPERATIONS = (*_OF_ALL, *_OF_THE_CACHE, "record_heartbeat")
for _name in OPERATIONS:
    if _name not in vars(PatientStorage):
        setattr(PatientStorage, _name, _patient(_name))
