"""The most promising programs of a study, trained on in their own numbers, by whoever works on the study."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from edgesearch.atomic import check_no_link
from edgesearch.config import BudgetConfig, Config, FinetuneConfig
from edgesearch.errors import RunInUseError, TrainingError
from edgesearch.pipeline.finetune import tuned_config
from edgesearch.pipeline.folder import RunFolder
from edgesearch.search.configurations import Proposal
from edgesearch.search.ledger import KIND, Ledger, kind
from edgesearch.search.programs import Point, tuned_point
from edgesearch.search.rows import damaged
from edgesearch.search.storage import PROGRAM
from edgesearch.search.study import Study
from edgesearch.search.trained import RESULT, WEIGHTS, Trained, curve, pack, weights_of
from edgesearch.search.trial import Limit, Listener
from edgesearch.training.fit import Fitted, fit

_LOST = 0.1  # of the accuracy that rounding costs, what fine-tuning does not bring back (docs/log.md)
_POLL_SECONDS = 0.5
_WORTH = 0.002  # of accuracy lost, below which there is nothing to bring back


@dataclass(frozen=True)
class Candidate:
    """A program to fine-tune."""

    trained: Trained
    point: Point

    def key(self, settings: FinetuneConfig) -> str:
        """Names its fine-tuning in the storage."""
        bits = f"{self.point.weight_bits} {self.point.activation_bits}"
        return f"{self.trained.number} {bits} {settings.epochs} {settings.lr}"

    @property
    def promise(self) -> float:
        """The accuracy that is to be expected of fine-tuning."""
        accuracy = self.trained.float_accuracy
        return accuracy - _LOST * (accuracy - self.point.score)


@dataclass(frozen=True)
class Tuned:
    """A fine-tuned program: the trial it came from, the trial of the fine-tunings, and how it was tuned."""

    source: int
    number: int
    point: Point
    result: Trained
    settings: FinetuneConfig


def candidates(
    found: Sequence[tuple[Trained, Point]], count: int, budget: BudgetConfig, objective: str
) -> list[Candidate]:
    """Return up to `count` programs that fit and that rounding has cost something, the most promising first.

    For objective=accuracy those of highest promise, one of each training. For the whole trade-off the most promising
    one below each of `count` sizes, spread evenly in powers of two.
    """
    fitting = [Candidate(t, p) for t, p in found if p.fits(budget) and not p.tuned]
    fitting = [c for c in fitting if c.trained.float_accuracy - c.point.score >= _WORTH]
    fitting.sort(key=lambda c: (-c.promise, c.point.flash_bytes, c.trained.number))
    if objective == "accuracy" or not fitting:
        best = {c.trained.identity: c for c in reversed(fitting)}
        return sorted(best.values(), key=lambda c: (-c.promise, c.point.flash_bytes))[:count]
    sizes = [c.point.flash_bytes for c in fitting]
    limits = np.geomspace(max(sizes), min(sizes), 2 * count + 1)[:-1]
    chosen: dict[Point, Candidate] = {}
    for limit in limits:
        best_below = next(c for c in fitting if c.point.flash_bytes <= limit + 0.5)
        chosen.setdefault(best_below.point, best_below)
    return list(chosen.values())[:count]


class Tuning:
    """The fine-tunings of a study, kept in a study beside it.

    Args:
        study: whose programs are tuned.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        storage = study.ledger.storage
        name = _name(study.ledger.study.study_name)
        self.ledger = Ledger(
            optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True), storage
        )

    def results(self) -> list[Tuned]:
        """Return every fine-tuned program."""
        return tunings(self.ledger)

    def work(self, folder: Path, listener: Listener, limit: Limit) -> None:
        """Tune what the study asks for until all of it is done, here or elsewhere.

        Raises:
            Stopped: the limit is reached.
        """
        search = self._study.config.search
        wanted = candidates(
            [(t, p) for t in self._study.trained() for p in t.points],
            search.finetune,
            self._study.config.budget,
            search.objective,
        )
        while not limit.reached():
            self.ledger.reap()
            done, running = self._keys()
            left = [c for c in wanted if self._key(c) not in done]
            if not left:
                return
            free = [c for c in left if self._key(c) not in running]
            if not free:
                time.sleep(_POLL_SECONDS)
                continue
            self._take(free[0], wanted, folder, listener, limit)

    def _key(self, candidate: Candidate) -> str:
        return candidate.key(self._study.config.finetune)

    def _keys(self) -> tuple[set[str], set[str]]:
        """Programs that are done (or cannot be), and that are under way."""
        done, running = set(), set()
        for trial in self.ledger.trials():
            key = trial.user_attrs.get(PROGRAM)
            if trial.state == TrialState.RUNNING:
                running.add(key)
            elif kind(trial) in ("trained", "failed"):
                done.add(key)
        return {str(key) for key in done}, {str(key) for key in running}

    def _take(
        self, candidate: Candidate, wanted: Sequence[Candidate], folder: Path, listener: Listener, limit: Limit
    ) -> None:
        try:
            trial = self.ledger.take()
            found = self._agreed(trial, candidate, wanted)
        except UpdateFinishedTrialError:
            return  # this process was silent for so long that another one took it up
        if found is None:
            self.ledger.drop(trial.number, "surplus")
            return
        try:
            with self.ledger.beating(trial.number):
                self._tune(trial, found, folder, listener, limit)
        except UpdateFinishedTrialError:
            return  # (the same)
        except RunInUseError:
            self.ledger.release(trial.number)
            time.sleep(_POLL_SECONDS)
        except BaseException:
            self.ledger.abandon(trial.number)
            raise

    def _agreed(self, trial: optuna.Trial, candidate: Candidate, wanted: Sequence[Candidate]) -> Candidate | None:
        """Note what a trial tunes, and return it; None if it is not wanted, done, or under way elsewhere."""
        asked = trial.user_attrs.get(PROGRAM)  # one that is done again brings its own
        found = next((c for c in wanted if self._key(c) == asked), None) if asked is not None else candidate
        if found is None:
            return None
        key = self._key(found)
        trial.set_user_attr(PROGRAM, key)
        others = [t for t in self.ledger.trials() if t.user_attrs.get(PROGRAM) == key and t.number < trial.number]
        needed = not any(t.state == TrialState.RUNNING or kind(t) in ("trained", "failed") for t in others)
        return found if needed else None

    def _tune(self, trial: optuna.Trial, candidate: Candidate, folder: Path, listener: Listener, limit: Limit) -> None:
        started = time.monotonic()
        source = next(t for t in self._study.ledger.trials() if t.number == candidate.trained.number)
        proposal = tuned_proposal(self._study, candidate.trained, candidate.point, self._study.config.finetune)
        start = weights_of(source, proposal.spec)
        run = RunFolder(folder / "trials" / f"{candidate.trained.identity}-{self._key(candidate).replace(' ', '-')}")
        check_no_link(folder, run.path)

        def on_epoch(row: dict[str, float | int | str]) -> None:
            listener(row)
            limit(row)

        checkpoint = run.checkpoints / "last.ckpt"
        with run.locked():
            try:
                fitted = fit(proposal.config, proposal.dataset, proposal.spec, checkpoint, on_epoch, start)
            except TrainingError:
                self.ledger.drop(trial.number, "failed")
                return
            self._complete(trial, candidate, proposal, fitted, time.monotonic() - started)
            shutil.rmtree(run.path)

    def _complete(
        self, trial: optuna.Trial, candidate: Candidate, proposal: Proposal, fitted: Fitted, seconds: float
    ) -> None:
        point = tuned_point(proposal, fitted.state_dict, fitted.formats)
        result = replace(
            candidate.trained,
            number=trial.number,
            points=(point,),
            epoch=fitted.epoch,
            curve=curve(fitted.history, proposal.config.train.metric),
            seconds=round(fitted.seconds_before + seconds, 3),
            formats={name: str(chosen) for name, chosen in fitted.formats.items()},
            overflows=fitted.overflows,
            ran=fitted.ran,
        )
        self.ledger.note(trial.number, WEIGHTS, pack(fitted.state_dict))
        attributes = {RESULT: result.to_json(), KIND: "trained", "before": candidate.point.score}
        for key, value in attributes.items():
            trial.set_user_attr(key, value)
        self.ledger.study.tell(trial.number, point.score, skip_if_finished=True)


def load_tunings(name: str, storage: BaseStorage) -> list[Tuned]:
    """Return the fine-tuned programs of a study, none where none was tuned yet."""
    try:
        study = optuna.load_study(study_name=_name(name), storage=storage)
    except KeyError:
        return []
    return tunings(Ledger(study, storage))


def _name(study: str) -> str:
    return f"{study} fine-tuning"


def tunings(ledger: Ledger) -> list[Tuned]:
    """Return every fine-tuned program of the fine-tunings of a study."""
    return [_tuned(t) for t in ledger.trials(TrialState.COMPLETE) if kind(t) == "trained"]


def _tuned(trial: FrozenTrial) -> Tuned:
    result = Trained.of(trial)
    if PROGRAM not in trial.user_attrs:
        raise damaged(f"trial {trial.number} of the fine-tunings", f"{PROGRAM} is missing")
    source, _, _, epochs, rate = trial.user_attrs[PROGRAM].split()
    return Tuned(int(source), trial.number, result.points[0], result, FinetuneConfig(int(epochs), float(rate)))


def tuned_proposal(study: Study, found: Trained, point: Point, settings: FinetuneConfig) -> Proposal:
    """Return the proposal of a program's fine-tuning."""
    proposal = at_widths(study.configurations.propose(found.params), point)
    return replace(proposal, config=tuned_config(proposal.config, settings))


def at_widths(proposal: Proposal, point: Point) -> Proposal:
    """Return a proposal at the bit widths of one of its programs."""
    config: Config = proposal.config
    quant = replace(config.quant, weight_bits=point.weight_bits, activation_bits=point.activation_bits)
    return replace(proposal, config=replace(config, quant=quant))
