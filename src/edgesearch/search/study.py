"""A study: what was tried, what is next, and when it is enough."""

import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState
from torch import Tensor

from edgesearch.budget import excess
from edgesearch.config import Config
from edgesearch.config.identity import flat_identity
from edgesearch.errors import ConfigError, StorageError
from edgesearch.report.study import front
from edgesearch.search.configurations import Configurations, Proposal, narrowest, size_at
from edgesearch.search.ledger import KIND, Ledger, kind
from edgesearch.search.programs import Point, chance, most_accurate, representative
from edgesearch.search.rows import check_definition, damaged
from edgesearch.search.sampling import pruner, sampler
from edgesearch.search.space import Params, Space
from edgesearch.search.storage import open_storage
from edgesearch.search.trained import RESULT, WEIGHTS, Trained, pack

DEFINITION = "edgesearch"
IDENTITY, CONFIRMED = "identity", "confirmed"
CONSTRAINTS = "constraints"  # a list: optuna-dashboard shows no feasibility of constraints by name
_FORMAT = 1  # of Trained as kept in a storage
_MISSES = 200  # draws in a row that lead to no training
_POLL_SECONDS = 0.5
_SHOWN = 4  # differences


@dataclass(frozen=True)
class Claim:
    """A trial that this process has taken: what to train."""

    trial: Trial
    params: Params
    proposal: Proposal

    @property
    def number(self) -> int:
        """The trial's."""
        return self.trial.number


@dataclass(frozen=True)
class Counts:
    """Trials by how they ended, and those under way.

    `infeasible` ones were never trained, as they cannot fit; `repeated` ones would have been a training of before.
    """

    trained: int = 0
    infeasible: int = 0
    repeated: int = 0
    pruned: int = 0
    failed: int = 0
    running: int = 0

    @property
    def done(self) -> int:
        """Trainings, as `search.n_trials` counts them."""
        return self.trained + self.pruned + self.failed


def study_name(config: Config) -> str:
    """Return the study's name."""
    return config.search.study or f"{config.data.name}-{config.cell.name}-{config.budget.name}".replace("/", "-")


def definition(config: Config, space: Space, content: str | None) -> dict[str, Any]:
    """Return what must not change while a study goes on, by dotted key."""
    found = flat_identity(config)
    for key in space.texts:
        found = {k: v for k, v in found.items() if k != key and not k.startswith(f"{key}.")}
    found |= {f"search.space.{key}": text for key, text in space.texts.items()}
    names = ("objective", "weight_bits", "activation_bits")
    found["the format of its results"] = _FORMAT
    return found | {f"search.{name}": getattr(config.search, name) for name in names} | {"the data's content": content}


def open_ledger(config: Config, url: str, wanted: dict[str, Any]) -> Ledger:
    """Open the study of that name, or begin it.

    Raises:
        ConfigError: it was begun with other settings.
        StorageError: the storage cannot be used, or holds a study of that name that is not ours.
    """
    name = study_name(config)
    storage = open_storage(url, config.search.heartbeat_seconds)
    directions = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE][: 2 if config.search.objective == "pareto" else 1]
    study = optuna.create_study(storage=storage, study_name=name, directions=directions, load_if_exists=True)
    if DEFINITION not in study.user_attrs:
        if study.get_trials(deepcopy=False):
            raise StorageError(f"the study {name} must be one of edgesearch, got another's; set search.study=NAME")
        study.set_user_attr(DEFINITION, wanted)
    before = check_definition(name, study.user_attrs[DEFINITION])
    changed = [
        f"{key} was {before.get(key)} and is {wanted.get(key)}"
        for key in sorted(before.keys() | wanted.keys())
        if before.get(key) != wanted.get(key)
    ]
    if changed:
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        raise ConfigError(
            f"a study goes on with the settings it was begun with, got others for {name}: "
            f"{'; '.join(changed[:_SHOWN])}{more}; set search.study to a new name"
        )
    study.pruner = pruner(config.search)
    return Ledger(study, storage)


def load_ledger(name: str, url: str) -> Ledger:
    """Open a study to read it.

    Raises:
        ConfigError: there is no such study.
        StorageError: it is not one of this version of edgesearch.
    """
    storage = open_storage(url, heartbeat_seconds=60)
    try:
        study = optuna.load_study(study_name=name, storage=storage)
        begun = study.user_attrs.get(DEFINITION)
        if not isinstance(begun, dict) or begun.get("the format of its results") != _FORMAT:
            raise StorageError(f"study must be one of this version of edgesearch, got {name} of another; search again")
        check_definition(name, begun)
        return Ledger(study, storage)
    except KeyError as error:
        raise ConfigError(f"study must be the name of a study in the storage, got {name}; see search.study") from error


class Study:
    """Draws configurations, refuses those that cannot fit, and takes in results.

    Args:
        config: the study's base.
        configurations: makes a trial's configuration.
        ledger: the trials.
        alone: no other process works on the study.
    """

    def __init__(self, config: Config, configurations: Configurations, ledger: Ledger, *, alone: bool) -> None:
        self.config, self.configurations, self.ledger = config, configurations, ledger
        self._alone = alone
        self._trained: dict[int, Trained] = {}
        search = config.search
        self.widths = [(w, a) for w in sorted(set(search.weight_bits)) for a in sorted(set(search.activation_bits))]
        self._grid = configurations.space.grid() if search.name == "grid" else None

    def counts(self) -> Counts:
        """Count the trials."""
        kinds: dict[str, int] = {}
        for trial in self.ledger.trials():
            ended = "running" if trial.state == TrialState.RUNNING else kind(trial)
            kinds[ended] = kinds.get(ended, 0) + 1
        return Counts(**{item.name: kinds.get(item.name, 0) for item in fields(Counts)})

    def trained(self) -> list[Trained]:
        """Return every finished training; each is read from the storage's values once."""
        for trial in self.ledger.trials(TrialState.COMPLETE):
            if trial.number not in self._trained and kind(trial) == "trained":
                self._check_params(trial)
                self._trained[trial.number] = Trained.of(trial)
        return [self._trained[number] for number in sorted(self._trained)]

    def _check_params(self, trial: FrozenTrial) -> None:
        distributions = self.configurations.space.distributions
        if trial.params.keys() != distributions.keys():
            wrong = min(trial.params.keys() ^ distributions.keys())
            raise damaged(f"trial {trial.number} of the study", f"{wrong} is not in both it and search.space")

    def fitting(self) -> list[tuple[Trained, Point]]:
        """Return the programs that keep the budget."""
        return [(t, point) for t in self.trained() for point in t.points if point.fits(self.config.budget)]

    def claim(self, stop: Callable[[], bool] = lambda: False) -> Claim | None:
        """Return the next trial to train; None when there are enough, when told to stop or when nothing is left to try.

        Waits while the last ones are under way elsewhere, as one of them may have to be done again.

        Raises:
            ConfigError: no configuration that was drawn fits.
        """
        misses = 0
        while not stop():
            self.ledger.reap()
            counts = self.counts()
            if counts.done >= self.config.search.n_trials:
                return None
            if counts.done + counts.running >= self.config.search.n_trials:
                time.sleep(_POLL_SECONDS)
                continue
            if self._grid is not None and not self._queue_point(self._grid):
                if not counts.running:
                    return None
                time.sleep(_POLL_SECONDS)
                continue
            found = self._draw()
            if isinstance(found, Claim):
                return found
            misses += 1
            if misses >= _MISSES:
                if not self.trained():
                    raise ConfigError(f"a search needs configurations that fit, got none in {misses} draws: {found}")
                return None
        return None

    def complete(self, claim: Claim, result: Trained, weights: dict[str, Tensor]) -> bool:
        """Keep a result; return False if the trial was given to another process meanwhile."""
        point = self.stands_for(result)
        values = [point.score, float(point.flash_bytes)][: len(self.ledger.study.directions)]
        attributes = {
            RESULT: result.to_json(),
            KIND: "trained",
            "float_accuracy": result.float_accuracy,
            **{name: value for name, value in point.to_json().items() if name != "tuned"},
        }

        try:
            self.ledger.note(claim.number, WEIGHTS, pack(weights))
            for key, value in attributes.items():
                claim.trial.set_user_attr(key, value)
            self._constrain(claim.trial, excess(point.size, self.config.budget))
            self.ledger.study.tell(claim.number, values, skip_if_finished=True)
        except UpdateFinishedTrialError:
            return False
        return True

    def prune(self, claim: Claim) -> None:
        """End a trial that was poorer than others."""
        claim.trial.set_user_attr(KIND, "pruned")
        self._constrain(claim.trial, {})
        self.ledger.study.tell(claim.number, state=TrialState.PRUNED, skip_if_finished=True)

    def fail(self, claim: Claim, reason: str) -> None:
        """End a trial whose training could not go on; the sampler takes it for a constraint that was not met."""
        self._tell_unusable(claim.trial, "failed", reason, None, {})

    def _draw(self) -> Claim | str:
        """Take a trial; return the reason if it is not to be trained."""
        try:
            return self._drawn()
        except UpdateFinishedTrialError:
            return "this process was silent for so long that its trial was given to another one"

    def _drawn(self) -> Claim | str:
        study = self.ledger.study
        seed, count = self.config.seed, len(self.ledger.trials())
        study.sampler = sampler(self.config.search, seed, count, alone=self._alone)
        trial = self.ledger.take()
        params = {name: trial._suggest(name, d) for name, d in self.configurations.space.distributions.items()}
        try:
            proposal = self.configurations.propose(params)
        except ConfigError as error:
            self._tell_unusable(trial, "infeasible", str(error), None, {})
            return str(error)
        limits = narrowest(proposal, self.widths_of(proposal))
        if any(value > 0 for value in limits.values()):
            size = size_at(proposal, *self.widths_of(proposal)[0])
            reason = f"{size.flash_bytes} bytes of flash, {size.ram_bytes} of RAM, {size.macs} MACs at the narrowest"
            self._tell_unusable(trial, "infeasible", reason, size.flash_bytes, limits)
            return reason
        trial.set_user_attr(IDENTITY, proposal.identity)
        unneeded = self._same_before(trial, proposal.identity)
        if unneeded is None and not self._alone:
            trial.set_user_attr(CONFIRMED, True)
            unneeded = self._same_before(trial, proposal.identity)
        return unneeded or Claim(trial, params, proposal)

    def widths_of(self, proposal: Proposal) -> list[tuple[int, int]]:
        """Return the bit widths to try; a model that is trained in the program's numbers has those it is trained in."""
        quant = proposal.config.quant
        if proposal.config.schedule.quantize_from is not None:
            return [(quant.weight_bits, quant.activation_bits)]
        return self.widths

    def _same_before(self, trial: Trial, identity: str) -> str | None:
        """End a trial whose training has been done, or is under way, or which is one too many.

        A trial gives way to those under way that have a lower number, and to those that are confirmed. Processes that
        take the last trial at once call this before and after they confirm theirs: whichever confirms later sees the
        other one, so that both never stay.
        """
        done = running = 0
        for other in self.ledger.trials():
            if other.number == trial.number:
                continue
            same = other.user_attrs.get(IDENTITY) == identity
            first = other.number < trial.number or CONFIRMED in other.user_attrs
            if other.state == TrialState.RUNNING and first:
                running += 1
                if same:
                    self.ledger.drop(trial.number, "surplus")
                    return "the same training is under way"
            elif kind(other) in ("trained", "pruned", "failed"):
                done += 1
                if same:
                    self._repeat(trial, other)
                    return f"the same training as in trial {other.number}"
        if done + running >= self.config.search.n_trials:
            self.ledger.drop(trial.number, "surplus")
            return "enough trials are under way"
        return None

    def _repeat(self, trial: Trial, other: FrozenTrial) -> None:
        trial.set_user_attr(KIND, "repeated")
        trial.set_user_attr("repeats", other.number)
        self.ledger.note(trial.number, CONSTRAINTS, list(other.constraints.values()))
        if other.state == TrialState.PRUNED:
            self.ledger.study.tell(trial.number, state=TrialState.PRUNED)
        else:
            self.ledger.study.tell(trial.number, other.values)

    def stands_for(self, result: Trained) -> Point:
        """Return the program that a trained model is judged by: the best, or the one that adds most to the front."""
        budget = self.config.budget
        fitting = [point for point in result.points if point.fits(budget)]
        if not fitting:
            return min(result.points, key=lambda p: max(excess(p.size, budget).values()))
        if self.config.search.objective == "accuracy":
            return most_accurate(fitting)
        known = front(point for t, point in self.fitting() if t.number != result.number)
        return representative(fitting, known, self._chance)

    @property
    def _chance(self) -> float:
        return chance(self.configurations.dataset(self.config.data).classes)

    def _constrain(self, trial: Trial, limits: dict[str, float], *, usable: bool = True) -> None:
        """Set the same constraints for every trial, as the Gaussian process wants it, in a form that all tools read.

        The first one is whether the configuration is usable at all, then the limits of the budget that are set.
        """
        named = [name for name in ("flash_bytes", "ram_bytes", "macs") if getattr(self.config.budget, name) is not None]
        values = [0.0 if usable else 1.0, *(limits.get(name, 0.0) for name in named)]
        self.ledger.note(trial.number, CONSTRAINTS, values)

    def _tell_unusable(self, trial: Trial, kind: str, reason: str, flash: int | None, limits: dict[str, float]) -> None:
        """Tell the sampler a constraint that is not met, with the worst accuracy seen, which misleads no model."""
        results = self.trained()
        worst = min((max(p.score for p in t.points) for t in results), default=self._chance)
        largest = max((p.flash_bytes for t in results for p in t.points), default=1)
        values = [worst, float(flash or largest)]
        trial.set_user_attr(KIND, kind)
        trial.set_user_attr("reason", reason)
        self._constrain(trial, limits, usable=bool(limits))
        self.ledger.study.tell(trial.number, values[: len(self.ledger.study.directions)], skip_if_finished=True)

    def _queue_point(self, grid: list[Params]) -> bool:
        """Queue the next point of the grid, unless one waits; return False if none is left."""
        seen = []
        for trial in self.ledger.trials():
            if trial.state == TrialState.WAITING:
                return True
            if trial.state != TrialState.FAIL:
                seen.append(trial.system_attrs.get("fixed_params", trial.params))
        left = next((point for point in grid if point not in seen), None)
        if left is not None:
            self.ledger.study.enqueue_trial(left)
        return left is not None
