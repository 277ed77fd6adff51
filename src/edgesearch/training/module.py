"""The LightningModule: several optimiser steps a Lightning batch, so that bookkeeping costs nothing per step."""

import math
from typing import Protocol, runtime_checkable

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, one_hot

from edgesearch.compress.finetune import FakeQuantized
from edgesearch.config import TrainConfig
from edgesearch.config.schema import METRICS
from edgesearch.data.batches import Batch
from edgesearch.data.scores import Scores
from edgesearch.errors import TrainingError


@runtime_checkable
class StepCallback(Protocol):
    """A callback that acts after every optimiser step."""

    def after_step(self, step: int) -> None:
        """Called with the number of the step just taken, from 0."""


def learning_rate(config: TrainConfig, epoch: int) -> float:
    """Return an epoch's learning rate: constant, lowered by `lr_gamma` in steps, or half a cosine to nearly zero."""
    if config.lr_schedule == "step":
        return float(config.lr * config.lr_gamma ** (epoch // config.lr_step_epochs))
    if config.lr_schedule == "cosine":
        return float(config.lr * 0.5 * (1 + math.cos(math.pi * epoch / config.epochs)))
    return config.lr


@torch.no_grad()
def clip_gradients(parameters: list[nn.Parameter], limit: float) -> None:
    """Scale all gradients so that their joint norm is at most `limit`: torch's clip_grad_norm_ in half its time."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    torch._foreach_mul_(gradients, torch.clamp(limit / (norm + 1e-6), max=1.0))


def loss_of(kind: str, logits: Tensor, y: Tensor, smoothing: float = 0.0, weights: Tensor | None = None) -> Tensor:
    """Return the mean loss of logits (B, C), each row times the weight (C,) of its class where weights are given.

    `cross_entropy`, or `mse`, the mean squared distance to 0 and 1.
    """
    reduction = "mean" if weights is None else "none"
    if kind == "cross_entropy":
        losses = cross_entropy(logits, y, label_smoothing=smoothing, reduction=reduction)
    else:
        targets = one_hot(y, logits.size(1)) * (1 - smoothing) + smoothing / logits.size(1)
        losses = mse_loss(logits, targets.to(logits), reduction=reduction)
    if weights is None:
        return losses
    rows = losses if losses.dim() == 1 else losses.mean(dim=1)
    return (rows * weights.to(rows)[y]).mean()


class SequenceClassifier(pl.LightningModule):
    """Trains a classifier with Adam.

    Args:
        model: logits (B, C) from sequences (T, B, D).
        classes: C.
        config: optimiser settings.
        seed: with the epoch, decides what dropout draws.
        steps_per_epoch: optimiser steps of one epoch.
        steps_per_chunk: optimiser steps of one Lightning batch.
        weights: of the classes in the loss (C,); None: all alike.
    """

    class_weights: Tensor | None
    rate_key = "train.lr"  # where the learning rate was given

    def __init__(
        self,
        model: nn.Module,
        classes: int,
        config: TrainConfig,
        *,
        seed: int,
        steps_per_epoch: int,
        steps_per_chunk: int,
        weights: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model, self.classes = model, classes
        self.quantized: FakeQuantized | None = None
        self.config, self.seed = config, seed
        self.steps_per_epoch, self.steps_per_chunk = steps_per_epoch, steps_per_chunk
        self.register_buffer("class_weights", weights, persistent=False)
        self.losses: list[Tensor] = []
        self.val_loss = math.nan
        self.val_scores: dict[str, float] = dict.fromkeys(METRICS, math.nan)

    def configure_optimizers(self) -> torch.optim.Optimizer | None:
        """Adam over every parameter, the head included."""
        return torch.optim.Adam(
            self.model.parameters(), lr=self.config.lr, weight_decay=self.config.weight_decay, fused=True
        )

    def logits(self, x: Tensor) -> Tensor:
        """Logits (B, C) of normalised x (T, B, D): of the float model, or in the program's numbers once that began."""
        if self.quantized is not None:
            self._check_weights()
        found: Tensor = (self.quantized or self.model)(x)
        return found

    def on_train_epoch_start(self) -> None:
        """Set the epoch's learning rate and its random state, which dropout draws from."""
        torch.manual_seed((self.seed * 1_000_003 + self.trainer.current_epoch) % 2**63)
        self.losses = []

    def training_step(self, batch: list[Batch], batch_idx: int) -> None:
        """Take one optimiser step a batch of the chunk.

        Raises:
            TrainingError: a loss is not finite.
        """
        callbacks = [c for c in self.trainer.callbacks if isinstance(c, StepCallback)]  # type: ignore[attr-defined]
        first = self.trainer.current_epoch * self.steps_per_epoch + batch_idx * self.steps_per_chunk
        losses = []
        for step, (x, y) in enumerate(batch, start=first):
            losses.append(self.descend(x, y, step))
            for callback in callbacks:
                callback.after_step(step)
        self._check(torch.stack(losses), first)
        self.losses += losses

    def descend(self, x: Tensor, y: Tensor, step: int) -> Tensor:
        """Take the optimiser's step number `step` on a batch, x (T, B, D) and y (B,); return its loss."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        group = optimizer.param_groups[0]
        group["lr"] = learning_rate(self.config, self.trainer.current_epoch)
        for parameter in group["params"]:
            parameter.grad = None
        loss = self.loss(self.logits(x), y, self.config.label_smoothing)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.config.clip_norm is not None:
            clip_gradients(group["params"], self.config.clip_norm)
        optimizer.step()
        return loss.detach()

    def loss(self, logits: Tensor, y: Tensor, smoothing: float = 0.0) -> Tensor:
        """The configured loss of logits (B, C), with the classes' weights."""
        return loss_of(self.config.loss, logits, y, smoothing, self.class_weights)

    def _check_weights(self) -> None:
        """What is no number has no place in a table of the program.

        Raises:
            TrainingError: a weight is none.
        """
        norms = torch.stack(torch._foreach_norm([p.detach() for p in self.model.parameters()], torch.inf))
        if not torch.isfinite(norms).all():
            raise TrainingError(
                f"the weights must stay finite, got others in epoch {self.trainer.current_epoch}; "
                f"lower {self.rate_key}={self.config.lr:g}"
            )

    def _check(self, losses: Tensor, first: int) -> None:
        finite = torch.isfinite(losses)
        if not finite.all():
            step = first + int(torch.nonzero(~finite)[0])
            raise TrainingError(
                f"the loss must stay finite, got {losses[step - first].item()} at step {step} (epoch "
                f"{step // self.steps_per_epoch}); lower {self.rate_key}={self.config.lr:g} or set train.clip_norm=1"
            )

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Measure loss and scores on the whole validation split at once."""
        x, y = batch
        logits = self.logits(x)
        self.val_loss = float(self.loss(logits, y))
        if not math.isfinite(self.val_loss):
            raise TrainingError(
                f"the validation loss must stay finite, got {self.val_loss} after epoch {self.trainer.current_epoch}; "
                f"lower {self.rate_key}={self.config.lr:g}"
            )
        self.val_scores = Scores.of(logits.argmax(dim=1).cpu().numpy(), y.cpu().numpy(), self.classes).every

    @property
    def train_loss(self) -> float:
        """Mean training loss of the epoch."""
        return float(torch.stack(self.losses).mean()) if self.losses else math.nan
