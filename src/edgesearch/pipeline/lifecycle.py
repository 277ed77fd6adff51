"""The life of every training in a run folder: lock, config, curves, weights, record; or one line of why it failed."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from edgesearch.budget import check_memory
from edgesearch.cells.classifier import AnySpec, build_classifier
from edgesearch.compress.calibrate import Widths
from edgesearch.compress.finetune import raw_graph
from edgesearch.config import Config
from edgesearch.data import Dataset
from edgesearch.errors import EdgesearchError
from edgesearch.pipeline.doubts import say
from edgesearch.pipeline.folder import RunFolder
from edgesearch.pipeline.measured import measured
from edgesearch.report.console import PlainConsole
from edgesearch.report.loggers import open_loggers
from edgesearch.report.progress import TrainingProgress
from edgesearch.report.record import Record, write_record
from edgesearch.training.device import check_device
from edgesearch.training.fit import fit


@dataclass(frozen=True)
class Training:
    """What is trained.

    Attributes:
        config: of the training, as its folder keeps it.
        content: digest of the user's data files, None for the named data sets.
        title: of the progress bar.
        doubts: warnings before it begins.
        start: weights to begin with; None: drawn.
        before: makes what the record holds of the time before the training.
    """

    config: Config
    dataset: Dataset
    spec: AnySpec
    content: str | None
    title: str
    doubts: Sequence[str] = ()
    start: dict[str, Tensor] | None = None
    before: Callable[[], Record] = dict


def trained_once(folder: RunFolder, prepare: Callable[[], Training]) -> Record:
    """Return the record of the training in `folder`, which is done now unless it is finished.

    `prepare` is asked only then, and before anything is written. A training that fails leaves a record with status
    `failed` and the error's line; the same command tries again, from the last checkpoint if there is one.

    Raises:
        ConfigError: it needs more memory than is free, a device that is not there, or widths of other names.
        RunInUseError: another process is at it.
        EdgesearchError: the training failed.
    """
    record = folder.finished()
    if record is not None:
        PlainConsole().print(f"finished before, nothing to train: {folder.path}")
        return record
    training = prepare()
    dataset = training.dataset
    check_device(training.config)
    folder.check_export()
    check_memory(training.config, training.spec, len(dataset.train), len(dataset.validation))
    _check_names(training)
    with folder.locked():
        return folder.finished() or _live(training, folder)


def _check_names(training: Training) -> None:
    """Raise `ConfigError` if `quant.named` names what the model has not: the program is made after the training."""
    if training.config.quant.named and not training.spec.bidirectional:
        model, dataset = build_classifier(training.spec, "eager"), training.dataset
        graph = raw_graph(model, dataset.steps, torch.from_numpy(dataset.mean), torch.from_numpy(dataset.std))
        Widths.of(training.config.quant).check(graph)


def _live(training: Training, folder: RunFolder) -> Record:
    started, config = time.monotonic(), training.config
    say(training.doubts)
    loggers = open_loggers(config, folder.path)
    record: Record | None = None
    try:
        folder.write_config(config)
        record = _trained(training, folder, loggers, started)
    except EdgesearchError as error:
        write_record(folder.path, {"status": "failed", "error": str(error), "config_hash": folder.path.name})
        raise
    finally:
        for logger in loggers:
            logger.finish(record)
    return record


def _trained(training: Training, folder: RunFolder, loggers: Sequence["Listener"], started: float) -> Record:
    config, dataset, spec = training.config, training.dataset, training.spec
    before = training.before()
    with TrainingProgress(training.title, config.train.epochs, config.progress, config.train.metric) as progress:
        checkpoint = folder.checkpoints / "last.ckpt"
        fitted = fit(config, dataset, spec, checkpoint, _to_all([progress, *loggers]), training.start)
    folder.save_best(fitted.state_dict)
    record = measured(config, dataset, spec, fitted, folder) | before
    record["wall_seconds"] = fitted.seconds_before + time.monotonic() - started
    record["data"]["content"] = training.content
    write_record(folder.path, record)
    say(record["doubts"])
    return record


class Listener(Protocol):
    """What is told of every epoch."""

    def epoch(self, row: dict[str, Any]) -> None:
        """Take in an epoch's row."""


def _to_all(listeners: Sequence[Listener]) -> Callable[[dict[str, Any]], None]:
    def tell(row: dict[str, Any]) -> None:
        for listener in listeners:
            listener.epoch(row)

    return tell
