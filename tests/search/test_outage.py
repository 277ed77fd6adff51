"""A storage that goes away: every operation waits for it, nobody is taken for dead who could not be heard."""

import contextlib
import inspect
import re
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.trial import TrialState
from sqlalchemy.exc import OperationalError, ProgrammingError

from edgesearch.errors import EdgesearchWarning, StorageError
from edgesearch.search import storage as storages
from edgesearch.search.outage import OPERATIONS, OUTAGE_SECONDS, Outage, PatientStorage, is_outage
from edgesearch.search.storage import OWNER
from edgesearch.search.study import Study
from tests.search.helpers import study
from tests.search.test_study import WEIGHTS, claimed, finish, result

AWAY = OperationalError("select 1", {}, Exception("server closed the connection"))


class Clock:
    """Time that passes where it is waited for."""

    def __init__(self) -> None:
        self.now, self.pauses = 1000.0, list[float]()

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def outage(clock: Clock) -> Outage:
    return Outage("db://host/x", clock, clock.pause)


def away_for(clock: Clock, seconds: float) -> Any:
    """An operation of a storage that is back after so many seconds."""
    back = clock.now + seconds

    def operation(again: bool) -> str:
        if clock.now < back:
            raise StorageInternalError from AWAY
        return f"again={again}"

    return operation


def test_two_minutes_are_ridden_out_with_a_line_at_each_end() -> None:
    clock = Clock()
    found = outage(clock)
    with pytest.warns(EdgesearchWarning) as said:
        assert found.ride_out(away_for(clock, 120)) == "again=True"
    first, last = (str(warning.message) for warning in said)
    assert first.startswith("the study's storage db://host/x does not answer (server closed the connection)")
    assert re.search(r"answers again after 12\d s; the search goes on", last)
    assert max(clock.pauses) <= 5
    with pytest.warns(EdgesearchWarning) as said:  # a second outage is told too
        found.ride_out(away_for(clock, 3))
    assert len(said) == 2


def test_an_operation_that_succeeds_says_nothing() -> None:
    clock = Clock()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert outage(clock).ride_out(away_for(clock, 0)) == "again=False"
    assert clock.pauses == []


def test_what_lasts_longer_ends_once_and_not_once_an_operation() -> None:
    clock = Clock()
    found = outage(clock)
    with pytest.warns(EdgesearchWarning), pytest.raises(StorageInternalError):
        found.ride_out(away_for(clock, 1000))
    assert OUTAGE_SECONDS - 5 <= sum(clock.pauses) <= OUTAGE_SECONDS
    before = clock.now
    with pytest.raises(StorageInternalError):
        found.ride_out(away_for(clock, 1000))
    assert clock.now == before
    clock.now += 1000
    with pytest.warns(EdgesearchWarning, match="answers again"):
        found.ride_out(away_for(clock, 0))
    with pytest.warns(EdgesearchWarning):  # (and then it is patient again)
        assert found.ride_out(away_for(clock, 60)) == "again=True"


def test_nothing_waits_on_the_way_out() -> None:
    clock = Clock()
    found = outage(clock)
    with found.impatient(), pytest.warns(EdgesearchWarning), pytest.raises(StorageInternalError):
        found.ride_out(away_for(clock, 60))
    assert clock.pauses == []
    with pytest.warns(EdgesearchWarning):
        assert found.ride_out(away_for(clock, 60)) == "again=True"


def sqlite_error(words: str) -> OperationalError:
    import sqlite3

    return OperationalError("select 1", {}, sqlite3.OperationalError(words))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (AWAY, True),
        (StorageInternalError("no cause"), True),
        (sqlite_error("database is locked"), True),
        (sqlite_error("database or disk is full"), False),
        (sqlite_error("attempt to write a readonly database"), False),
        (ProgrammingError("select 1", {}, Exception("permission denied for table studies")), False),
        (ValueError("a bug"), False),
    ],
)
def test_only_what_may_pass_is_waited_for(error: Exception, expected: bool) -> None:
    assert is_outage(error) is expected
    wrapped = StorageInternalError("wrapped")
    wrapped.__cause__ = error
    assert is_outage(wrapped) is expected


def test_a_part_of_an_operation_does_not_wait_by_itself() -> None:
    clock = Clock()
    found = outage(clock)
    with pytest.warns(EdgesearchWarning), pytest.raises(StorageInternalError):
        found.ride_out(lambda again: found.ride_out(away_for(clock, 1000)))
    assert sum(clock.pauses) <= OUTAGE_SECONDS


def test_every_operation_that_optuna_knows_waits() -> None:
    by_cache = set(re.findall(r"self\._backend\.(\w+)", inspect.getsource(_CachedStorage)))
    asked = {"get_heartbeat_interval", "get_heartbeat_stale_trial_callback"}  # (of no database)
    assert by_cache - asked <= {*OPERATIONS, "_get_stale_trial_ids"}
    assert set(OPERATIONS) >= set(BaseStorage.__abstractmethods__)
    assert set(OPERATIONS) >= {"get_trial_id_from_study_id_trial_number", "record_heartbeat"}
    for name in (*OPERATIONS, "_get_stale_trial_ids"):
        assert getattr(PatientStorage, name) is not getattr(RDBStorage, name), name


@contextlib.contextmanager
def broken(found: Study, attempts: int) -> Iterator[list[int]]:
    """Have the database refuse the next statements, so many of them; the clock does not wait."""
    left = [attempts]

    def refuse(*given: Any) -> None:
        if left[0] > 0:
            left[0] -= 1
            raise AWAY

    storage = patient(found)
    storage.outage._pause = lambda seconds: None
    sqlalchemy.event.listen(storage.engine, "before_cursor_execute", refuse)
    try:
        yield left
    finally:
        sqlalchemy.event.remove(storage.engine, "before_cursor_execute", refuse)


def patient(found: Study) -> PatientStorage:
    storage = found.ledger.storage
    assert isinstance(storage, PatientStorage)
    return storage


def test_a_search_reads_and_writes_across_outages(tmp_path: Path) -> None:
    found = study(tmp_path, "search.n_trials=2")
    with broken(found, 3) as left:
        patient(found).outage._say = lambda what: None  # type: ignore[method-assign]
        first = claimed(found)
        assert left == [0]
        left[0] = 4
        assert found.complete(first, result(first), WEIGHTS)
        left[0] = 2
        assert found.counts().trained == 1
        left[0] = 3
        second = claimed(found)
        left[0] = 2
        with found.ledger.beating(second.number):
            pass
        left[0] = 3
        found.fail(second, "no reason")
    assert found.counts().done == 2
    assert not found.ledger.trials(TrialState.RUNNING, TrialState.WAITING)


def test_an_answer_that_was_lost_is_not_taken_for_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = study(tmp_path)
    claim = claimed(found)
    storage, plain, lost = patient(found), RDBStorage.set_trial_state_values, [True]

    def answer_lost(*given: Any) -> bool:
        done = plain(*given)
        if lost and lost.pop():
            raise StorageInternalError from AWAY
        return done

    storage.outage._pause = lambda seconds: None
    monkeypatch.setattr(RDBStorage, "set_trial_state_values", answer_lost)
    trial = found.ledger.id(claim.number)
    with pytest.warns(EdgesearchWarning, match="answers again"):
        assert storage.set_trial_state_values(trial, TrialState.FAIL)
    with pytest.raises(UpdateFinishedTrialError):
        storage.set_trial_state_values(trial, TrialState.FAIL)


def test_nobody_is_dead_who_could_not_be_heard(tmp_path: Path) -> None:
    found = study(tmp_path)
    claim = claimed(found)
    storage, clock = patient(found), Clock()
    storage.outage = outage(clock)
    trial = found.ledger.id(claim.number)
    storage.set_trial_user_attr(trial, OWNER, "elsewhere|1|1")
    silence = storage.grace_period
    assert silence is not None
    with storage.engine.begin() as connection:
        connection.execute(sqlalchemy.text("update trial_heartbeats set heartbeat = '2020-01-01 00:00:00'"))

    def running() -> int:
        found.ledger.reap()
        optuna.storages.fail_stale_trials(found.ledger.study)  # as `ask` does
        return found.counts().running

    assert running() == 1  # this process has just begun to listen
    clock.now += silence - 1
    with pytest.warns(EdgesearchWarning):
        storage.outage.ride_out(away_for(clock, 100))
    assert running() == 1
    clock.now += silence - 1
    assert running() == 1
    clock.now += 2
    assert running() == 0
    assert claimed(found).params == claim.params


def test_a_heartbeat_that_fails_is_an_outage_too(tmp_path: Path) -> None:
    found = study(tmp_path)
    claim = claimed(found)
    storage, clock = patient(found), Clock()
    storage.outage = outage(clock)
    clock.now += 1000
    assert storage.outage.watched(60)
    trial = found.ledger.id(claim.number)
    with broken(found, 1):
        with pytest.warns(EdgesearchWarning, match="does not answer"), pytest.raises(StorageInternalError):
            storage.beat(trial)
        assert not storage.outage.watched(60)
        with pytest.warns(EdgesearchWarning, match="answers again"):
            storage.beat(trial)
    assert not storage.outage.watched(60)
    clock.now += 60
    assert storage.outage.watched(60)


def test_a_search_that_ends_in_an_outage_gives_its_error_and_not_another(tmp_path: Path) -> None:
    found = study(tmp_path)
    claim = claimed(found)
    with broken(found, 1000), pytest.warns(EdgesearchWarning, match="does not answer"):
        found.ledger.abandon(claim.number)
    assert found.counts().running == 1


def test_a_server_that_stays_away_is_one_line_and_loses_nothing(tmp_path: Path) -> None:
    found = study(tmp_path)
    finish(found)
    patient(found).outage = outage(clock := Clock())
    gone = pytest.raises(StorageError, match=r"server closed the connection.*what was finished is kept")
    with broken(found, 100_000):
        patient(found).outage._pause = clock.pause
        with pytest.warns(EdgesearchWarning, match="does not answer"), gone, storages.storage_errors("db:x"):
            found.counts()
    assert study(tmp_path).counts().trained == 1


@pytest.mark.parametrize("password", ["{secret}", "{0}", "se{cr{et", "100%"])
def test_a_password_is_no_template(tmp_path: Path, password: str) -> None:
    url = f"sqlite:///{tmp_path}/{password}.db"
    storage = storages.open_storage(url, 20)
    assert isinstance(storage, RDBStorage)
    assert (tmp_path / f"{password}.db").exists()
    assert storage.url == url


@pytest.mark.parametrize("worker", [False, True])
def test_a_worker_that_starts_in_an_outage_waits_and_a_first_start_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worker: bool
) -> None:
    clock, opened = Clock(), PatientStorage.__init__

    def away(self: PatientStorage, *given: Any, **named: Any) -> None:
        if clock.now < 1120:
            raise AWAY
        opened(self, *given, **named)

    monkeypatch.setattr(PatientStorage, "__init__", away)
    monkeypatch.setattr(storages, "is_worker", lambda: worker)
    monkeypatch.setattr(time, "monotonic", clock)
    monkeypatch.setattr(time, "sleep", clock.pause)
    url = f"sqlite:///{tmp_path}/study.db"
    if worker:
        assert isinstance(storages.open_storage(url, 20), PatientStorage)
    else:
        with pytest.raises(StorageError, match="server closed the connection"):
            storages.open_storage(url, 20)
        assert clock.now < 1020


def test_a_trial_without_its_owner_s_note_is_left_to_it_after_an_outage(tmp_path: Path) -> None:
    found = study(tmp_path)
    storage, clock = patient(found), Clock()
    storage.outage = outage(clock)
    found.ledger.study.ask()
    with storage.engine.begin() as connection:
        connection.execute(sqlalchemy.text("update trials set datetime_start = '2020-01-01 00:00:00.000000'"))
    found.ledger.reap()
    assert found.counts().running == 1
    clock.now += 59
    with pytest.warns(EdgesearchWarning):
        storage.outage.ride_out(away_for(clock, 100))
    clock.now += 59
    found.ledger.reap()
    assert found.counts().running == 1
    clock.now += 2
    found.ledger.reap()
    assert found.counts().running == 0


def test_a_trial_that_was_given_away_while_it_was_drawn_is_drawn_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = study(tmp_path)
    take, given_away = found.ledger.take, list[int]()

    def lose_the_first() -> optuna.Trial:
        trial = take()
        if not given_away:
            given_away.append(trial.number)
            found.ledger.storage.set_trial_state_values(found.ledger.id(trial.number), TrialState.FAIL)
        return trial

    monkeypatch.setattr(found.ledger, "take", lose_the_first)
    assert claimed(found).number == given_away[0] + 1
    assert found.counts().running == 1
