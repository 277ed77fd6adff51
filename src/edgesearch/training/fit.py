"""Config, data and spec in; trained weights and history out."""

import logging
import signal
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import Tensor

from edgesearch.budget import memory_errors
from edgesearch.cells.classifier import AnyClassifier, AnySpec, Classifier, build_classifier
from edgesearch.compress.threshold import sparse_tensors
from edgesearch.config import Config
from edgesearch.data.dataset import Dataset
from edgesearch.data.scores import class_weights
from edgesearch.errors import TrainingError
from edgesearch.numerics.format import Format
from edgesearch.training.callbacks import (
    BestEpoch,
    Checkpoints,
    EarlyStop,
    FixedSupport,
    QuantizedPhase,
    Restoring,
    Row,
    WholeCheckpoints,
)
from edgesearch.training.datamodule import SequenceData
from edgesearch.training.device import Ran, training_device, what_runs
from edgesearch.training.fixed import FixedClassifier
from edgesearch.training.module import SequenceClassifier
from edgesearch.training.phases import Phases
from edgesearch.training.resumable import RESTORING, check_resumable, damaged
from edgesearch.training.three_phase import ThreePhase

_ACCELERATORS = {"cpu": "cpu", "cuda": "gpu"}


@dataclass(frozen=True)
class Fitted:
    """The best epoch's weights and number (from 0), a row an epoch, where training was resumed, the cost before.

    `formats` are those in which it was trained, empty for a training in floats; `overflows`, of a training in fixed
    point, how many results were saturated, by place. `ran` is what trained, None where that is not known.
    """

    state_dict: dict[str, Tensor]
    epoch: int
    history: list[Row]
    resumed_at: int | None
    seconds_before: float
    formats: dict[str, Format]
    overflows: dict[str, int] | None = None
    ran: Ran | None = None


def fit(
    config: Config,
    dataset: Dataset,
    spec: AnySpec,
    checkpoint: Path,
    on_epoch: Callable[[Row], None],
    start: dict[str, Tensor] | None = None,
) -> Fitted:
    """Train a classifier, going on from `checkpoint` where that file exists.

    Args:
        config: the checked configuration.
        dataset: training and validation rows are used.
        spec: what to build.
        checkpoint: where the state of an unfinished training is kept.
        on_epoch: called with each epoch's row; a resumed training first gives it the rows already done.
        start: weights to begin with, whose zeros stay, instead of drawing them and going through the phases.

    Raises:
        ConfigError: there is no such device.
        TrainingError: the loss is not finite, or no epoch met the sparsity.
        MemoryLimitError: the machine refused memory.
        ModelFileError: the checkpoint is damaged.
        KeyboardInterrupt: Ctrl-C, which Lightning turns into an exit with interrupts ignored.
    """
    device = training_device(config, spec)
    _quiet()
    torch.manual_seed(config.seed)
    model = build_classifier(spec, config.cell.backend)
    data = SequenceData(dataset, config.data, config.train.batch_size, config.seed)
    module = _module(config, dataset, model, data)
    phases = Phases.of(config.schedule, config.train.epochs * data.steps_per_epoch)
    if start is not None:
        module.rate_key = "finetune.lr"
        phases = replace(phases, active=False)
        model.load_state_dict(start)
    callbacks: list[pl.Callback] = _three_phases(spec, phases) if start is None else [FixedSupport(model)]
    quantized_from = config.schedule.quantize_from
    first = 0 if quantized_from is None else int(quantized_from * config.train.epochs)
    quantized = QuantizedPhase(first, model, dataset, config.quant)
    if quantized_from is not None:
        callbacks.append(quantized)
    best = BestEpoch(spec, phases, on_epoch, first, config.train.metric)
    callbacks.append(best)
    if config.train.patience is not None:
        callbacks.append(EarlyStop(config.train.patience, best, phases))
    callbacks.append(Checkpoints(checkpoint, config.train.checkpoint_seconds))
    plugin = WholeCheckpoints()
    restoring = Restoring(plugin)
    callbacks.append(restoring)
    trainer = pl.Trainer(
        accelerator=_ACCELERATORS[device],
        devices=1,
        max_epochs=config.train.epochs,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        plugins=plugin,
    )
    try:
        with memory_errors("train.batch_size or the sizes of the cell"):
            trainer.fit(module, datamodule=data, ckpt_path=_readable(checkpoint, module), weights_only=True)
    except SystemExit as stop:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from stop
    except RESTORING as error:
        if restoring.now:
            raise damaged(checkpoint, error) from error
        raise
    if not best.best:
        raise TrainingError(
            f"an epoch must end with the sparsity reached, got none in {config.train.epochs}; raise train.epochs"
        )
    chosen = best.best
    weights, formats, overflows = chosen["state_dict"], quantized.formats, None
    if isinstance(module, FixedClassifier):
        weights, formats, overflows = module.fixed.shipped(weights), module.formats, module.overflows
    history, before = best.history, best.seconds_before
    ran = what_runs(config, model, trainer.strategy.root_device.type)
    return Fitted(weights, chosen["epoch"], history, best.resumed_at, before, formats, overflows, ran)


def _three_phases(spec: AnySpec, phases: Phases) -> list[pl.Callback]:
    sparsity = {f"model.{t.name}": t.sparsity for t in sparse_tensors(spec)} if phases.active else {}
    if not sparsity:
        return []
    return [ThreePhase(sparsity, total_steps=phases.total, trim_every=phases.trim_every, cut=phases.cut)]


def _module(config: Config, dataset: Dataset, model: AnyClassifier, data: SequenceData) -> SequenceClassifier:
    weights = class_weights(config.train.class_weights, dataset.train.y, dataset.classes)
    by_class = None if weights is None else torch.from_numpy(weights)
    steps, chunk = data.steps_per_epoch, data.steps_per_chunk
    if config.train.arithmetic == "fixed":
        assert isinstance(model, Classifier)
        return FixedClassifier(
            model.double(), dataset, config, steps_per_epoch=steps, steps_per_chunk=chunk, weights=by_class
        )
    return SequenceClassifier(
        model,
        dataset.classes,
        config.train,
        seed=config.seed,
        steps_per_epoch=steps,
        steps_per_chunk=chunk,
        weights=by_class,
    )


def _readable(checkpoint: Path, module: SequenceClassifier) -> Path | None:
    """Return the checkpoint to go on from, None for a new training."""
    if not checkpoint.exists():
        return None
    check_resumable(checkpoint, module)
    return checkpoint


def _quiet() -> None:
    """Silence Lightning's advice on loaders and hardware, none of which applies to data in memory."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
