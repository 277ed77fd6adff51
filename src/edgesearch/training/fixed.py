"""The LightningModule of a training in integers: forward pass, gradients, loss gradient and Adam.

Floats bring frames into the input format, show loss and accuracy, and carry the weights, exactly, to the callbacks.
"""

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgesearch.cells.classifier import Classifier
from edgesearch.compress.calibrate import Widths
from edgesearch.compress.finetune import raw_graph
from edgesearch.compress.fixed_point import FixedPoint, public_formats
from edgesearch.compress.graph import INPUT
from edgesearch.config import Config
from edgesearch.data.dataset import Dataset
from edgesearch.numerics import adam
from edgesearch.numerics.fixed import Arithmetic, Fixed
from edgesearch.numerics.format import Format, Ints
from edgesearch.numerics.interpreter import run
from edgesearch.numerics.loss import loss_gradient
from edgesearch.numerics.program import Constant, IntegerProgram
from edgesearch.numerics.rounding import Rounding
from edgesearch.numerics.tape import Tape
from edgesearch.training.module import SequenceClassifier, learning_rate

_VALUES = Format(32, 24)  # of the gradients of values, 2 ** k times those of a batch's mean loss, for a batch of 2 ** k
_WEIGHTS = Format(32, 25)  # of the gradients of weights
_DEVIATIONS = 4  # of noise for which the input has room


class FixedClassifier(SequenceClassifier):
    """Trains a recurrent classifier in integers. Its weights are exact multiples of 2 ** -28 in float64.

    Args:
        model: logits (B, C) from sequences (T, B, D), in float64.
        dataset: for the range of the frames, their mean and deviation.
        config: the checked configuration.
        steps_per_epoch: optimiser steps of one epoch.
        steps_per_chunk: optimiser steps of one Lightning batch.
        weights: of the classes in the loss (C,); None: all alike.
    """

    def __init__(
        self,
        model: Classifier,
        dataset: Dataset,
        config: Config,
        *,
        steps_per_epoch: int,
        steps_per_chunk: int,
        weights: Tensor | None = None,
    ) -> None:
        super().__init__(
            model,
            dataset.classes,
            config.train,
            seed=config.seed,
            steps_per_epoch=steps_per_epoch,
            steps_per_chunk=steps_per_chunk,
            weights=weights,
        )
        self._mean, self._std = torch.from_numpy(dataset.mean).double(), torch.from_numpy(dataset.std).double()
        graph = raw_graph(model, dataset.steps, self._mean, self._std)
        noise = _DEVIATIONS * config.data.noise if config.data.augment else 0.0
        largest = float(np.abs(dataset.train.x).max()) + noise * float(dataset.std.max())
        frames = dataset.frames.widened(noise * dataset.std)
        self.formats = public_formats(graph, Widths.of(config.quant), frames, largest)
        fractions, offsets = zip(*map(self.formats[INPUT].channel, range(dataset.input_size)), strict=True)
        self._scale = 2.0 ** torch.tensor(fractions, dtype=torch.float64)
        self._offset = torch.tensor(offsets, dtype=torch.float64)
        self._forward = Arithmetic()
        self._backward = Arithmetic(Rounding(config.train.rounding, config.seed))
        self.fixed = FixedPoint(model, graph, self.formats, config.quant.function_error, self._forward)
        self._tape = Tape(self.fixed.program, self.fixed.trained, self._backward, _VALUES)
        size = sum(p.numel() for p in model.parameters())
        self.register_buffer("moments", torch.zeros(4, size, dtype=torch.int64))

    def configure_optimizers(self) -> None:
        """None: Adam runs in integers, and its moments are buffers."""

    def logits(self, x: Tensor) -> Tensor:
        """Logits (B, C) of normalised x (T, B, D), as the program of the present weights gives them."""
        found = run(self.program(), self._integers(x)).logits
        return torch.from_numpy(self.fixed.program.format("logits").numbers(found))

    def program(self) -> IntegerProgram:
        """Return the program of the present weights."""
        constants = self.fixed.constants(self.fixed.weights)
        template = self.fixed.program
        new = {name: Constant(integers, template.format(name)) for name, integers in constants.items()}
        return dataclasses.replace(template, constants=template.constants | new)

    def descend(self, x: Tensor, y: Tensor, step: int) -> Tensor:
        """Take Adam's step number `step` on a batch, x (T, B, D) and y (B,); return its loss."""
        self._backward.rounding.restart(step)
        logits, gradient = self.gradient(x, y)
        if self.config.clip_norm is not None:
            gradient = adam.clipped(gradient, self.config.clip_norm, self._backward)
        moments = adam.Moments.of(self.get_buffer("moments").numpy(), step)
        rate = learning_rate(self.config, self.trainer.current_epoch)
        moved = adam.step(self.fixed.weights, gradient, moments, rate, self._backward)
        self.fixed.weights = self.fixed.held(moved)
        self.moments = torch.from_numpy(moments.stacked)
        return self.loss(torch.from_numpy(logits.numbers), y, self.config.label_smoothing)

    def gradient(self, x: Tensor, y: Tensor) -> tuple[Fixed, Fixed]:
        """Return the logits (B, C) of a batch and the gradient (n,) of its mean loss."""
        constants = self.fixed.constants(self.fixed.weights)
        logits = self._tape.forward(self._integers(x), constants)
        kind, smoothing, scale = self.config.loss, self.config.label_smoothing, (len(y) - 1).bit_length()
        size = 2.0**scale / len(y)
        weights = None if self.class_weights is None else self.class_weights.numpy()
        outer = loss_gradient(kind, logits, y.numpy(), size, smoothing, _VALUES, self._backward, weights)
        found = self._tape.backward(outer)
        return logits, self.fixed.gradient(found, constants, _WEIGHTS, scale, self._backward)

    @property
    def overflows(self) -> dict[str, int]:
        """How many results had to be saturated in training, by place."""
        return dict(self._forward.overflows + self._backward.overflows)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the overflows counted so far."""
        checkpoint["overflows"] = [dict(a.overflows) for a in (self._forward, self._backward)]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Count on from there."""
        for arithmetic, counts in zip((self._forward, self._backward), checkpoint["overflows"], strict=True):
            arithmetic.overflows.update(counts)

    def _integers(self, x: Tensor) -> Ints:
        """Normalised frames as the program's input."""
        to = self.fixed.program.values["input"].format
        frames = (x.double() * self._std + self._mean).mul_(self._scale).sub_(self._offset).add_(0.5).floor_()
        # (the largest frame of all may be one step above the format)
        beyond = int(torch.count_nonzero((frames < to.low) | (frames > to.high + 1)))
        if beyond and self.training:
            self._forward.overflows["input"] += beyond
        return frames.clamp_(to.low, to.high).numpy().astype(np.int64)
