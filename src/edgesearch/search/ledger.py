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
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from edgesearch.search.storage import dead, owner, persist

OWNER, KIND = "owner", "kind"
RETRIED = "edgesearch:retried"
_RETRIES = 1
_UNOWNED_SECONDS = 60.0  # from the creation of a trial to the note of its owner, at most
_LOG = logging.getLogger(__name__)


class Ledger:
    """An Optuna study as a list of work.

    Args:
        study: the study.
        storage: its storage.
    """

    def __init__(self, study: optuna.Study, storage: BaseStorage) -> None:
        self.study, self.storage = study, storage
        self._id = storage.get_study_id_from_name(study.study_name)

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Return the trials in the given states, of all states if none is given."""
        return self.study.get_trials(deepcopy=False, states=states or None)

    def id(self, number: int) -> int:
        """Return the storage's id of a trial."""
        return self.storage.get_trial_id_from_study_id_trial_number(self._id, number)

    def take(self) -> Trial:
        """Return a trial of this process: one that waits to be done again, or a new one."""
        trial = self.study.ask()
        trial.set_user_attr(OWNER, owner())
        return trial

    @contextlib.contextmanager
    def beating(self, number: int) -> Iterator[None]:
        """Tell the storage from a thread that the owner of a trial lives."""
        if not isinstance(self.storage, RDBStorage):
            yield
            return
        storage, trial, interval = self.storage, self.id(number), self.storage.get_heartbeat_interval()
        stop = threading.Event()

        def beat() -> None:
            while True:
                try:
                    storage.record_heartbeat(trial)
                except Exception:  # noqa: BLE001  (the work goes on while the storage is away)
                    _LOG.debug("no heartbeat", exc_info=True)
                if stop.wait(interval):
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
            if self._abandoned(trial):
                self._again(trial, retries=trial.system_attrs.get(RETRIED, 0) + 1)
        for trial in self._silent():
            self._again(trial, retries=trial.system_attrs.get(RETRIED, 0) + 1)

    def release(self, number: int) -> None:
        """Give back a trial that this process does not finish; another one takes it up."""
        trial = next(t for t in self.trials(TrialState.RUNNING) if t.number == number)
        self._again(trial, retries=trial.system_attrs.get(RETRIED, 0))

    def drop(self, number: int, kind: str) -> None:
        """Fail a trial that is not needed, saying why."""
        persist(lambda: self.storage.set_trial_user_attr(self.id(number), KIND, kind))
        persist(lambda: self.storage.set_trial_state_values(self.id(number), TrialState.FAIL))

    def note(self, number: int, key: str, value: object) -> None:
        """Keep a value with a running trial that is not for reading, such as weights."""
        persist(lambda: self.storage.set_trial_system_attr(self.id(number), key, value))  # type: ignore[arg-type]

    def _abandoned(self, trial: FrozenTrial) -> bool:
        name = trial.user_attrs.get(OWNER)
        if name is not None:
            return dead(name) is True
        assert trial.datetime_start is not None
        return (datetime.datetime.now() - trial.datetime_start).total_seconds() > _UNOWNED_SECONDS

    def _silent(self) -> list[FrozenTrial]:
        """Running trials whose heartbeat has stopped."""
        if not isinstance(self.storage, RDBStorage):
            return []
        ids = set(self.storage._get_stale_trial_ids(self._id))
        return [trial for trial in self.trials(TrialState.RUNNING) if ids and self.id(trial.number) in ids]

    def _again(self, trial: FrozenTrial, retries: int) -> None:
        """Fail a trial and queue it again; of several processes that try, one succeeds."""
        try:
            if not self.storage.set_trial_state_values(self.id(trial.number), TrialState.FAIL):
                return
        except UpdateFinishedTrialError:
            return
        if retries > _RETRIES or not (trial.params or trial.user_attrs.keys() - {OWNER}):
            return
        self.study.add_trial(
            optuna.create_trial(
                state=TrialState.WAITING,
                params=trial.params,
                distributions=trial.distributions,
                user_attrs={key: value for key, value in trial.user_attrs.items() if key != OWNER},
                system_attrs={RETRIED: retries},
            )
        )
