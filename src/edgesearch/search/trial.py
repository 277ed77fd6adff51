"""One trial: a training in this process, then its programs."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from torch import Tensor

from edgesearch.atomic import check_no_link
from edgesearch.cells.classifier import build_classifier
from edgesearch.config import Config
from edgesearch.data.batches import tensors
from edgesearch.errors import RunInUseError, TrainingError
from edgesearch.measure import evaluate
from edgesearch.pipeline.folder import RunFolder
from edgesearch.report.loggers import open_loggers
from edgesearch.search.configurations import Proposal
from edgesearch.search.programs import Point, points, tuned_point
from edgesearch.search.sampling import Rungs, prunes
from edgesearch.search.study import Claim, Study
from edgesearch.search.trained import Trained, curve
from edgesearch.training.callbacks import Row
from edgesearch.training.fit import Fitted, fit

_PAUSE_SECONDS = 1.0
Listener = Callable[[Row], None]


class Stopped(Exception):  # noqa: N818  (no error)
    """The time is up, or the process that started this one is gone."""


class Limit:
    """When to stop: at a point of the monotonic clock, or when `told`.

    Args:
        deadline: None for no end.
        told: of anything else that ends the work.
    """

    def __init__(self, deadline: float | None, told: Callable[[], bool] = lambda: False) -> None:
        self._deadline, self._told = deadline, told

    def reached(self) -> bool:
        """Tell whether to stop now."""
        return (self._deadline is not None and time.monotonic() >= self._deadline) or self._told()

    def __call__(self, row: Row) -> None:
        """Check it at the end of an epoch.

        Raises:
            Stopped: it is reached.
        """
        if self.reached():
            raise Stopped


def train_trial(study: Study, claim: Claim, folder: Path, listener: Listener, limit: Limit) -> Trained | None:
    """Train a claimed trial, tell the study, and return the result; None if it was pruned or failed.

    An interrupted training goes on from its checkpoint in `folder` when the trial is taken up again.

    Raises:
        Stopped: the limit is reached; the trial is given back.
    """
    run = RunFolder(folder / "trials" / claim.proposal.identity)
    check_no_link(folder, run.path)
    try:
        with study.ledger.beating(claim.number), run.locked():
            return _train_or_prune(study, claim, run, listener, limit)
    except UpdateFinishedTrialError:
        return None  # this process was silent for so long that the trial was given to another one
    except RunInUseError:
        study.ledger.release(claim.number)
        time.sleep(_PAUSE_SECONDS)  # another process is at the same training, taken for dead
        return None
    except BaseException:
        study.ledger.abandon(claim.number)
        raise


def _train_or_prune(study: Study, claim: Claim, run: RunFolder, listener: Listener, limit: Limit) -> Trained | None:
    result = None
    try:
        result, weights = _train(study, claim, run, listener, limit)
    except optuna.TrialPruned:
        study.prune(claim)
    except TrainingError as error:
        study.fail(claim, str(error))
    else:
        result = result if study.complete(claim, result, weights) else None
    shutil.rmtree(run.checkpoints)
    return result


def _train(
    study: Study, claim: Claim, run: RunFolder, listener: Listener, limit: Limit
) -> tuple[Trained, dict[str, Tensor]]:
    started = time.monotonic()
    proposal = claim.proposal
    rungs = Rungs(claim.trial, phase_lengths(proposal.config)) if prunes(study.config.search) else None
    run.write_config(proposal.config)
    loggers = open_loggers(proposal.config, run.path)
    summary: dict[str, Any] | None = None

    def on_epoch(row: Row) -> None:
        for logger in loggers:
            logger.epoch(row)
        listener(row)
        limit(row)
        if rungs is not None:
            rungs.epoch(str(row["phase"]), float(row[f"val_{proposal.config.train.metric}"]))

    try:
        fitted = fit(proposal.config, proposal.dataset, proposal.spec, run.checkpoints / "last.ckpt", on_epoch)
        found = _points(study, proposal, fitted)
        result = Trained(
            number=claim.number,
            params=claim.params,
            identity=proposal.identity,
            points=tuple(found),
            float_accuracy=_float_accuracy(proposal, fitted),
            epoch=fitted.epoch,
            curve=curve(fitted.history, proposal.config.train.metric),
            seconds=round(fitted.seconds_before + time.monotonic() - started, 3),
            formats={name: str(chosen) for name, chosen in fitted.formats.items()},
            overflows=fitted.overflows,
            ran=fitted.ran,
        )
        point = study.stands_for(result)
        summary = {"trial": claim.number, "float_accuracy": result.float_accuracy} | point.to_json()
    except optuna.TrialPruned:
        summary = {"trial": claim.number, "pruned": True}
        raise
    finally:
        for logger in loggers:
            logger.finish(summary)
    return result, fitted.state_dict


def _points(study: Study, proposal: Proposal, fitted: Fitted) -> list[Point]:
    if fitted.formats:
        return [tuned_point(proposal, fitted.state_dict, fitted.formats)]
    return points(proposal, fitted.state_dict, study.widths_of(proposal))


def _float_accuracy(proposal: Proposal, fitted: Fitted) -> float:
    model = build_classifier(proposal.spec, proposal.config.cell.backend)
    model.load_state_dict(fitted.state_dict)
    dataset = proposal.dataset
    scores = evaluate(model, *tensors(dataset, dataset.validation), dataset.classes)
    return scores.score(proposal.config.train.metric)


def phase_lengths(config: Config) -> dict[str, float]:
    """Return the epochs of each phase, about."""
    epochs = config.train.epochs
    each = epochs / 3 if config.schedule.name == "three_phase" else float(epochs)
    quantized = epochs - int((config.schedule.quantize_from or 0) * epochs)
    return {"dense": each, "iht": each, "retrain": each, "quantized": float(max(1, quantized))}
