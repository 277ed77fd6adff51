"""The callbacks of our own trainings, in the order in which they run at the end of an epoch:

fixed support or three phases (`three_phase`), quantised phase, best epoch and history, early stopping, checkpoints.
"""

import io
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor

from edgesearch.atomic import write_bytes
from edgesearch.cells.classifier import AnyClassifier, AnySpec
from edgesearch.compress.calibrate import Widths
from edgesearch.compress.finetune import FakeQuantized, calibrated, raw_graph
from edgesearch.compress.threshold import meets, nonzeros, sparse_tensors
from edgesearch.config import QuantConfig
from edgesearch.config.schema import METRICS
from edgesearch.data.dataset import Dataset
from edgesearch.errors import ModelFileError
from edgesearch.numerics.format import Format
from edgesearch.training.module import SequenceClassifier, learning_rate
from edgesearch.training.phases import Phases

Row = dict[str, float | int | str]


class FixedSupport(pl.Callback):
    """Keeps every weight zero that is zero at the start."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._weights: list[Tensor] = [p for p in model.parameters() if not p.detach().all()]
        self._masks: list[Tensor] = [(p.detach() != 0).to(p) for p in self._weights]

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Cut what has grown."""
        if self._weights:
            torch._foreach_mul_(self._weights, self._masks)


class QuantizedPhase(pl.Callback):
    """From epoch `first` on, training and validation see the program's numbers. Formats are chosen when it begins."""

    def __init__(self, first: int, model: AnyClassifier, dataset: Dataset, quant: QuantConfig) -> None:
        self.first, self.formats = first, dict[str, Format]()
        self._model, self._dataset, self._quant = model, dataset, quant

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin the phase if it is time."""
        assert isinstance(pl_module, SequenceClassifier)
        if trainer.current_epoch < self.first or pl_module.quantized is not None:
            return
        device = pl_module.device
        mean, std = (torch.from_numpy(values).to(device) for values in (self._dataset.mean, self._dataset.std))
        graph = raw_graph(self._model, self._dataset.steps, mean, std)
        if not self.formats:
            x = calibration_rows(self._dataset, self._quant).to(device)
            self.formats = calibrated(graph, x, Widths.of(self._quant))
        if not {*graph.sizes, *graph.parameters} <= self.formats.keys():
            raise ModelFileError(
                "last.ckpt must hold a format for every value of the model, got others; delete it to train from the "
                "start"
            )
        pl_module.quantized = FakeQuantized(graph, self.formats, self._quant.function_error, mean, std).to(device)

    def state_dict(self) -> dict[str, Any]:
        """The formats."""
        return {name: str(chosen) for name, chosen in self.formats.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore them."""
        self.formats = {name: Format.parse(text) for name, text in state_dict.items()}


def calibration_rows(dataset: Dataset, quant: QuantConfig) -> Tensor:
    """Return raw training sequences (T, N, D) from all over the split."""
    rows = torch.linspace(0, len(dataset.train) - 1, min(quant.calibration_rows, len(dataset.train))).long()
    return torch.from_numpy(dataset.train.x)[rows].transpose(0, 1)


class BestEpoch(pl.Callback):
    """Keeps the history and the weights of the best epoch among those that meet the sparsity.

    Best is the highest validation score by `metric`, then the lowest validation loss; test data is not seen here.
    Epochs before `first`, where the quantised phase begins, do not count.
    """

    def __init__(
        self, spec: AnySpec, phases: Phases, on_epoch: Callable[[Row], None], first: int = 0, metric: str = "accuracy"
    ) -> None:
        self.first, self.metric = first, metric
        self.history: list[Row] = []
        self.best: dict[str, Any] = {}
        self._tensors = sparse_tensors(spec) if phases.active else ()
        self._phases, self._on_epoch = phases, on_epoch
        self._started = time.monotonic()
        self.seconds_before = 0.0
        self.resumed_at: int | None = None

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Append the epoch's row and compare it with the best so far."""
        assert isinstance(pl_module, SequenceClassifier)
        epoch = trainer.current_epoch
        phase = self._phases.at((epoch + 1) * pl_module.steps_per_epoch - 1)
        row: Row = {
            "epoch": epoch,
            "phase": phase if pl_module.quantized is None else "quantized",
            "learning_rate": learning_rate(pl_module.config, epoch),
            "train_loss": pl_module.train_loss,
            "val_loss": pl_module.val_loss,
            **{f"val_{metric}": score for metric, score in pl_module.val_scores.items()},
            "nonzeros": nonzeros(pl_module.model),
            "seconds": self.seconds_before + time.monotonic() - self._started,
        }
        self.history.append(row)
        rank = [pl_module.val_scores[self.metric], -pl_module.val_loss]
        eligible = epoch >= self.first and meets(pl_module.model, self._tensors)
        if eligible and (not self.best or rank > self.best["rank"]):
            weights = {name: value.detach().clone() for name, value in pl_module.model.state_dict().items()}
            self.best = {"epoch": epoch, "rank": rank, "state_dict": weights}
        self._on_epoch(row)

    def state_dict(self) -> dict[str, Any]:
        """History and best weights."""
        return {"history": self.history, "best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore them and report the rows already done; the clock goes on where it stood."""
        self.history, self.best = state_dict["history"], state_dict["best"]
        for row in self.history:
            for metric in METRICS:
                row.setdefault(f"val_{metric}", math.nan)  # (version 0.1 noted the accuracy alone)
        self.resumed_at = len(self.history)
        for row in self.history:
            self._on_epoch(row)
        self.seconds_before = float(self.history[-1]["seconds"]) if self.history else 0.0


class EarlyStop(pl.Callback):
    """Stops after `patience` epochs without a better one, counted only once the last phase has begun."""

    def __init__(self, patience: int, best: BestEpoch, phases: Phases) -> None:
        self._patience, self._best, self._phases = patience, best, phases
        self._stopped = False

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare the epoch with the best one."""
        assert isinstance(pl_module, SequenceClassifier)
        last_phase = math.ceil(self._phases.retrain_from / pl_module.steps_per_epoch) if self._phases.active else 0
        last_phase = max(last_phase, self._best.first)
        best = max(self._best.best.get("epoch", last_phase), last_phase)
        self._stopped = trainer.current_epoch - best >= self._patience
        trainer.should_stop = trainer.should_stop or self._stopped

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A training that had stopped before it was interrupted takes no further step."""
        trainer.should_stop = self._stopped

    def state_dict(self) -> dict[str, Any]:
        """Whether it has stopped the training."""
        return {"stopped": self._stopped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore it."""
        self._stopped = state_dict["stopped"]


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that are complete or not there. Lightning's own go through the temporary folder, on another disk."""

    loaded = False

    def load_checkpoint(self, path: Any, map_location: Any | None = None, weights_only: bool | None = None) -> Any:
        """Read one."""
        self.loaded = True
        return super().load_checkpoint(path, map_location, weights_only)

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write one; there are no options.

        Raises:
            OSError: the disk refuses it.
        """
        buffer = io.BytesIO()  # (torch takes a full disk for a fault of its own)
        torch.save(checkpoint, buffer)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_bytes(Path(path), buffer.getvalue())


class Restoring(pl.Callback):
    """Knows whether the trainer is restoring a checkpoint: from when it is read to the training's start."""

    def __init__(self, plugin: WholeCheckpoints) -> None:
        self._plugin, self._started = plugin, False

    @property
    def now(self) -> bool:
        """Whether it is."""
        return self._plugin.loaded and not self._started

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Everything is restored."""
        self._started = True


class Checkpoints(pl.Callback):
    """Writes checkpoints/last.ckpt at the end and at most every `seconds`, through `WholeCheckpoints`."""

    def __init__(self, path: Path, seconds: float) -> None:
        self._path, self._seconds = path, seconds
        self._written = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save if it is time."""
        last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        if last or time.monotonic() - self._written >= self._seconds:
            trainer.save_checkpoint(self._path)
            self._written = time.monotonic()
