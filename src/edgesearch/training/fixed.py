"""The LightningModule of a training in integers: forward pass, gradients, loss gradient and Adam.

Floats only show loss and accuracy, and carry the weights, exactly, to the callbacks.
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
from edgesearch.config import Config
from edgesearch.data.dataset import Dataset
from edgesearch.numerics import adam
from edgesearch.numerics.fixed import Arithmetic
from edgesearch.numerics.format import Format, Ints
from edgesearch.numerics.interpreter import run
from edgesearch.numerics.loss import loss_gradient
from edgesearch.numerics.program import Constant, IntegerProgram
from edgesearch.numerics.rounding import Rounding
from edgesearch.numerics.tape import Tape
from edgesearch.training.module import SequenceClassifier, learning_rate, loss_of

_VALUES = Format(32, 24)  # of the gradients of values, of the sum over a batch
_SUM = 18  # fraction bits of the gradients of weights, of the sum over a batch


class FixedClassifier(SequenceClassifier):
    """Trains a recurrent classifier in integers. Its weights are exact multiples of 2 ** -28 in float64.

    Args:
        model: logits (B, C) from sequences (T, B, D), in float64.
        dataset: for the range of the frames, their mean and deviation.
        config: the checked configuration.
        steps_per_epoch: optimiser steps of one epoch.
        steps_per_chunk: optimiser steps of one Lightning batch.
    """

    def __init__(
        self, model: Classifier, dataset: Dataset, config: Config, *, steps_per_epoch: int, steps_per_chunk: int
    ) -> None:
        super().__init__(
            model,
            dataset.classes,
            config.train,
            seed=config.seed,
            steps_per_epoch=steps_per_epoch,
            steps_per_chunk=steps_per_chunk,
        )
        self._mean, self._std = torch.from_numpy(dataset.mean).double(), torch.from_numpy(dataset.std).double()
        graph = raw_graph(model, dataset.steps, self._mean, self._std)
        self.formats = public_formats(graph, Widths.of(config.quant), dataset.train.x)
        self._forward = Arithmetic()
        self._backward = Arithmetic(Rounding(config.train.rounding, config.seed))
        self.fixed = FixedPoint(model, graph, self.formats, config.quant.function_error, self._forward)
        self._tape = Tape(self.fixed.program, self.fixed.trained, self._backward, _VALUES)
        self._scale = (config.train.batch_size - 1).bit_length()
        self._gradient = Format(32, _SUM + self._scale)
        size = sum(p.numel() for p in model.parameters())
        self.register_buffer("moments", torch.zeros(3, size, dtype=torch.int64))

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
        weights = self.fixed.weights
        constants = self.fixed.constants(weights)
        logits = self._tape.forward(self._integers(x), constants)
        scale = 2.0**self._scale / len(y)
        train = self.config
        outer = loss_gradient(train.loss, logits, y.numpy(), scale, train.label_smoothing, _VALUES, self._backward)
        found = self._tape.backward(outer)
        gradient = self.fixed.gradient(found, constants, self._gradient, self._scale, self._backward)
        if train.clip_norm is not None:
            gradient = adam.clipped(gradient, train.clip_norm, self._backward)
        moments = adam.Moments.of(self.get_buffer("moments").numpy(), step)
        rate = learning_rate(train, self.trainer.current_epoch)
        self.fixed.weights = adam.step(weights, gradient, moments, rate, self._backward)
        self.moments = torch.from_numpy(moments.stacked)
        return loss_of(train.loss, torch.from_numpy(logits.numbers), y, train.label_smoothing)

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
        frames = (x.double() * self._std + self._mean).mul_(2.0**to.fraction).add_(0.5).floor_()
        return frames.clamp_(to.low, to.high).numpy().astype(np.int64)
