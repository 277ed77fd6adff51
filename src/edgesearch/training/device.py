"""Which device trains a model, by `train.device`; which device and backend did."""

from dataclasses import dataclass
from typing import cast

import torch

from edgesearch.budget import FLOAT32, model_size
from edgesearch.cells import fused
from edgesearch.cells.cell import RNNCell
from edgesearch.cells.classifier import AnyClassifier, AnySpec
from edgesearch.cells.conv import ConvClassifier
from edgesearch.config import Config
from edgesearch.errors import ConfigError

WORTH_A_GPU = 100_000_000


@dataclass(frozen=True)
class Ran:
    """What trained a model.

    Attributes:
        device: `cpu` or `cuda`.
        backend: `fused` or `eager` cells, `torch` for a convolutional network, `integers` for fixed-point training.
        backend_problem: why the fused op, which `cell.backend=auto` wants, was not to be had; None otherwise.
    """

    device: str
    backend: str
    backend_problem: str | None = None


def training_device(config: Config, spec: AnySpec) -> str:
    """Return `cpu` or `cuda`; `train.device=auto` takes the GPU from `WORTH_A_GPU` multiply-accumulates a step on.

    A step's are those of a window's inference times the batch. Measured: 40 epochs of usps10 (H = 32, batches of 100,
    2.8 million a step, 2,640 steps) take 30 s on an H200 and 20 s on its CPU, start-up included, so a GPU's step takes
    up to 3.8 ms longer; a CPU's thread takes 35 us per million (docs/log.md), which makes up for that at 1.1e8.

    Raises:
        ConfigError: `train.device=cuda` where there is none.
    """
    check_device(config)
    if config.train.device == "cpu" or config.train.arithmetic == "fixed" or not torch.cuda.is_available():
        return "cpu"
    if config.train.device == "cuda":
        return "cuda"
    step = config.train.batch_size * model_size(spec, FLOAT32).macs
    return "cuda" if step >= WORTH_A_GPU else "cpu"


def check_device(config: Config) -> None:
    """Raise `ConfigError` if the device that is asked for is not there."""
    if config.train.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "train.device=cuda needs a CUDA device and a torch built for it, got none; set train.device=cpu"
        )


def what_runs(config: Config, model: AnyClassifier, device: str) -> Ran:
    """Return what trains `model` in this process on `device`, by the question that every forward pass asks."""
    if config.train.arithmetic == "fixed":
        return Ran(device, "integers")
    if isinstance(model, ConvClassifier):
        return Ran(device, "torch")
    cell = cast(RNNCell, model.rnn.cells[0])
    if fused.usable(cell, torch.zeros(1, device=device), config.cell.backend):
        return Ran(device, "fused")
    return Ran(device, "eager", fused.problem(device == "cuda") if config.cell.backend == "auto" else None)
