"""Work shared by processes through an Optuna study: a trial belongs to one live process, none is lost or done twice.

A trial is RUNNING while its owner lives. A dead owner is noticed at once on its own machine and by its heartbeat on
others; the trial then fails and waits again, once.
"""

import contextlib
import datetime
import logging
import threading
from collections.abc import Iterator

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from edgesearch.search.outage import FAILURES, PatientStorage
from edgesearch.search.rows import check_trial
from edgesearch.search.storage import OWNER, dead, owner, requeue, try_again

KIND = "kind"
DROPPED = "dropped"
_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_UNOWNED_SECONDS = 60.0  # from the creation of a trial to the note of its owner, at most
_SOON_SECONDS = 2.0  # to the next heartbeat, after one that was not heard
_LOG = logging.getLogger(__name__)


def kind(trial: FrozenTrial) -> str:
    """Return how a trial ended; what a process noted of one that it did not finish does not count.

    A trial that failed on purpose (see `drop`) says so too.
    """
    noted = str(trial.user_attrs.get(KIND, ""))
    if trial.state == TrialState.FAIL:
        return noted if trial.user_attrs.get(DROPPED) else ""
    return noted if trial.state in _FINISHED else ""


class Ledger:
    """An Optuna study as a list of work.

    Args:
        study: the study.
        storage: its storage.
    """

    def __init__(self, study: optuna.Study, storage: BaseStorage) -> None:
        self.study, self.storage = study, storage
        self._checked = set[int]()
        self._id = storage.get_study_id_from_name(study.study_name)

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Return the trials in the given states, of all states if none is given.

        Raises:
            ModelFileError: one of them is none of ours.
        """
        trials = self.study.get_trials(deepcopy=False)
        for trial in trials:
            if trial.number not in self._checked:
                check_trial(trial, len(self.study.directions))
                if trial.state.is_finished():
                    self._checked.add(trial.number)
        return [trial for trial in trials if not states or trial.state in states]

    def id(self, number: int) -> int:
        """Return the storage's id of a trial."""
        return self.storage.get_trial_id_from_study_id_trial_number(self._id, number)

    def take(self) -> Trial:
        """Return a trial of this process: one that waits to be done again, or a new one."""
        trial = self.study.ask()
        trial.set_user_attr(OWNER, owner())
        if isinstance(self.storage, PatientStorage):
            self.storage.record_heartbeat(self.id(trial.number))
        return trial

    @contextlib.contextmanager
    def beating(self, number: int) -> Iterator[None]:
        """Tell the storage from a thread that the owner of a trial lives."""
        if not isinstance(self.storage, PatientStorage):
            yield
            return
        storage, trial, interval = self.storage, self.id(number), self.storage.get_heartbeat_interval()
        assert interval is not None
        stop = threading.Event()

        def beat() -> None:
            while True:
                pause: float = interval
                try:
                    storage.beat(trial)
                except FAILURES:  # (the work goes on while the storage is away)
                    _LOG.debug("no heartbeat", exc_info=True)
                    pause = min(interval, _SOON_SECONDS)
                if stop.wait(pause):
                    return

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def reap(self) -> None:
        """Fail the trials whose owners are dead, and let them wait to be done again."""
        for trial in self.trials(TrialState.RUNNING):
            if self._abandoned(trial) and self._failed(trial):
                try_again(self.study, trial)
        self._note_the_living()
        optuna.storages.fail_stale_trials(self.study)  # which calls try_again

    def release(self, number: int) -> None:
        """Give back a trial that this process does not finish; another one takes it up."""
        trial = next((t for t in self.trials(TrialState.RUNNING) if t.number == number), None)
        if trial is not None and self._failed(trial):  # (else it was given away already)
            requeue(self.study, trial)

    def abandon(self, number: int) -> None:
        """Give back a trial on the way out, if the storage answers; if not, others see that its owner is no more."""
        patient = isinstance(self.storage, PatientStorage)
        with self.storage.outage.impatient() if patient else contextlib.nullcontext():  # type: ignore[attr-defined]
            try:
                self.release(number)
            except FAILURES:
                _LOG.debug("trial %d was not given back", number, exc_info=True)

    def drop(self, number: int, kind: str) -> None:
        """Fail a trial that is not needed, saying why."""
        for key, value in ((KIND, kind), (DROPPED, True)):
            self.storage.set_trial_user_attr(self.id(number), key, value)
        self.storage.set_trial_state_values(self.id(number), TrialState.FAIL)

    def note(self, number: int, key: str, value: object) -> None:
        """Keep a value with a running trial that is not for reading, such as weights."""
        self.storage.set_trial_system_attr(self.id(number), key, value)  # type: ignore[arg-type]

    def _note_the_living(self) -> None:
        """A process of this machine that was suspended is no dead one: its heartbeat is given for it."""
        if isinstance(self.storage, PatientStorage):
            for trial in self.trials(TrialState.RUNNING):
                if dead(str(trial.user_attrs.get(OWNER, "||"))) is False:
                    self.storage.record_heartbeat(self.id(trial.number))

    def _abandoned(self, trial: FrozenTrial) -> bool:
        name = trial.user_attrs.get(OWNER)
        if name is not None:
            return dead(name) is True
        assert trial.datetime_start is not None
        if isinstance(self.storage, PatientStorage) and not self.storage.outage.watched(_UNOWNED_SECONDS):
            return False  # its owner may be waiting for the storage with the note in hand
        return (datetime.datetime.now() - trial.datetime_start).total_seconds() > _UNOWNED_SECONDS

    def _failed(self, trial: FrozenTrial) -> bool:
        """Fail a trial; of several processes that try, one is told that it did."""
        try:
            return self.storage.set_trial_state_values(self.id(trial.number), TrialState.FAIL)
        except UpdateFinishedTrialError:
            return False
