"""The schema of every key: its type, its range and whether it belongs to a run's identity.

Values live in conf/ alone; no field here has a default. `key` attaches the rule that `checks.check` applies.
"""

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

NONLINEARITIES = ("sigmoid", "tanh", "relu", "quantSigm", "quantSigm4", "quantTanh")
RANGES = ("max", "percentile", "error")
TASKS = (
    "train", "test", "quantize", "prune", "profile", "finetune", "compress", "search", "report", "export", "show",
    "approximate", "secure",
)  # fmt: skip
BACKENDS = ("auto", "fused", "eager")
METRICS = ("accuracy", "balanced_accuracy", "macro_f1")
FIRST = "0.1"


@dataclass(frozen=True)
class Rule:
    """The values a key may take: a closed or half-open interval, or a list of choices."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()

    def broken_by(self, value: Any) -> str | None:
        """Return the part of the rule that `value` breaks, in words, or None."""
        if isinstance(value, list | dict):
            values = value.values() if isinstance(value, dict) else value
            return next((broken for broken in map(self.broken_by, values) if broken), None)
        if self.choices:
            return None if value in self.choices else f"one of {', '.join(self.choices)}"
        if isinstance(value, float) and not math.isfinite(value):
            return "a finite number"
        bounds: tuple[tuple[float | None, str, Callable[[Any, Any], bool]], ...] = (
            (self.at_least, "at least", operator.ge),
            (self.above, "greater than", operator.gt),
            (self.at_most, "at most", operator.le),
            (self.below, "less than", operator.lt),
        )
        for bound, words, holds in bounds:
            if bound is not None and not holds(value, bound):
                return f"{words} {bound:g}"
        return None


def key(rule: Rule | None = None, *, machine: bool = False, since: str = FIRST, before: Any = None) -> Any:
    """Declare a mandatory key.

    Args:
        rule: the values it may take.
        machine: paths, devices, display: left out of a run's identity.
        since: the version that brought it.
        before: how versions without it behaved. Older files are read with this value, and a run that has it keeps the
            identity it had then.
    """
    return field(
        default=MISSING, metadata={"rule": rule or Rule(), "machine": machine, "since": since, "before": before}
    )


SHARE = Rule(at_least=0, below=1)
COUNT = Rule(at_least=1)
NOT_NEGATIVE = Rule(at_least=0)
POSITIVE = Rule(above=0)


@dataclass
class TaskConfig:
    """What the command does."""

    name: str = key(Rule(choices=TASKS))


@dataclass
class FeatureConfig:
    """Audio front end: frames of `window_ms` every `hop_ms`, `bands` log-mel bands, or MFCCs of them."""

    kind: str = key(Rule(choices=("logmel", "mfcc")))
    window_ms: float = key(POSITIVE)
    hop_ms: float = key(POSITIVE)
    bands: int = key(COUNT)
    coefficients: int = key(COUNT)
    seconds: float = key(POSITIVE)


@dataclass
class DataConfig:
    """A data set, its variant, its validation split and its train-time augmentation."""

    name: str = key()
    variant: str | None = key()
    path: str | None = key(machine=True)
    input_size: int | None = key(COUNT)
    validation: float | None = key(Rule(above=0, below=1))
    validation_by: str = key(Rule(choices=("group", "row")))
    split_seed: int = key(NOT_NEGATIVE)
    augment: bool = key()
    shift_steps: int = key(NOT_NEGATIVE)
    shift_features: int = key(NOT_NEGATIVE)
    noise: float = key(NOT_NEGATIVE)
    features: FeatureConfig | None = key()


@dataclass
class CellConfig:
    """The model: a recurrent cell, where a null rank means full rank, or a convolutional network with channels."""

    name: str = key(Rule(choices=("fastrnn", "fastgrnn", "ugrnn", "gru", "lstm", "lenet5", "dscnn")))
    hidden_size: int = key(COUNT)
    num_layers: int = key(COUNT)
    channels: int | None = key(COUNT)
    kept: dict[str, int] | None = key(COUNT)
    wRank: int | None = key(COUNT)
    uRank: int | None = key(COUNT)
    gate_nonlinearity: str | None = key(Rule(choices=NONLINEARITIES))
    update_nonlinearity: str = key(Rule(choices=NONLINEARITIES))
    bidirectional: bool = key()
    dropout: float = key(SHARE)
    reset_after: bool | None = key()
    backend: str = key(Rule(choices=BACKENDS))


@dataclass
class ScheduleConfig:
    """How weights become zero: never (`dense`) or in three phases; from when on the forward pass is quantised."""

    name: str = key(Rule(choices=("three_phase", "dense")))
    sparsity: float = key(SHARE)
    wSparsity: float | None = key(SHARE)
    uSparsity: float | None = key(SHARE)
    cut: str = key(Rule(choices=("ramp", "step")))
    trim_every: int = key(COUNT)
    quantize_from: float | None = key(SHARE)


@dataclass
class TrainConfig:
    """Arithmetic, loss, optimiser, learning-rate schedule and guards; `rounding` is that of fixed-point gradients.

    `metric` decides, on validation data, everything that is chosen: epochs, programs, widths, what is pruned.
    """

    arithmetic: str = key(Rule(choices=("float", "fixed")))
    rounding: str = key(Rule(choices=("nearest", "stochastic", "pseudo")))
    loss: str = key(Rule(choices=("cross_entropy", "mse")))
    class_weights: str = key(Rule(choices=("none", "balanced")), since="0.2", before="none")
    metric: str = key(Rule(choices=METRICS), since="0.2", before="accuracy")
    epochs: int = key(COUNT)
    batch_size: int = key(COUNT)
    lr: float = key(POSITIVE)
    lr_schedule: str = key(Rule(choices=("constant", "step", "cosine")))
    lr_step_epochs: int = key(COUNT)
    lr_gamma: float = key(Rule(above=0, at_most=1))
    weight_decay: float = key(NOT_NEGATIVE)
    label_smoothing: float = key(SHARE)
    clip_norm: float | None = key(POSITIVE)
    patience: int | None = key(COUNT)
    device: str = key(Rule(choices=("auto", "cpu", "cuda")), machine=True)
    threads: int | None = key(COUNT, machine=True)
    checkpoint_seconds: float = key(NOT_NEGATIVE, machine=True)


@dataclass
class QuantConfig:
    """The integer program: bits of weights, of input, gates and states; how ranges and tables are chosen.

    `named` are bits of single values and constants; `error_margin` is what task=quantize may lose, in points.
    """

    weight_bits: int = key(Rule(at_least=2, at_most=16))
    activation_bits: int = key(Rule(at_least=8, at_most=16))
    range: str = key(Rule(choices=RANGES))
    function_error: float = key(Rule(above=0, at_most=0.1))
    calibration_rows: int = key(COUNT)
    named: dict[str, int] = key(Rule(at_least=2, at_most=16))
    error_margin: float = key(NOT_NEGATIVE, machine=True)


@dataclass
class BudgetConfig:
    """Limits of the chip, null for none: bytes of flash and RAM, of which the rest of the firmware keeps some; MACs."""

    name: str = key()
    flash_bytes: int | None = key(COUNT)
    ram_bytes: int | None = key(COUNT)
    firmware_flash_bytes: int = key(NOT_NEGATIVE)
    firmware_ram_bytes: int = key(NOT_NEGATIVE)
    macs: int | None = key(COUNT)


@dataclass
class FinetuneConfig:
    """Training of a finished run's weights in the program's numbers."""

    epochs: int = key(COUNT)
    lr: float = key(POSITIVE)


@dataclass
class PruneConfig:
    """What task=prune may lose of validation accuracy, in points."""

    error_margin: float = key(NOT_NEGATIVE)


@dataclass
class SecureConfig:
    """What task=secure runs over secret shares: protocol, test windows, how many at once; parties as processes."""

    protocol: str = key(Rule(choices=("semi2k", "aby3", "both")))
    rows: int = key(COUNT)
    batch: int = key(COUNT)
    processes: bool = key()
    install: bool = key()


@dataclass
class SearchConfig:
    """What task=search looks for and how; `space` maps keys, nested or dotted, to what they may become."""

    name: str = key(Rule(choices=("tpe", "nsga2", "gp", "random", "grid")))
    study: str | None = key()
    storage: str | None = key()
    objective: str = key(Rule(choices=("accuracy", "pareto")))
    n_trials: int = key(COUNT)
    workers: int | None = key(COUNT)
    timeout: float | None = key(POSITIVE)
    space: dict[str, Any] = key()
    weight_bits: list[int] = key(Rule(at_least=2, at_most=16))
    activation_bits: list[int] = key(Rule(at_least=8, at_most=16))
    finetune: int = key(NOT_NEGATIVE)
    finetune_share: float = key(SHARE)
    pruner: str = key(Rule(choices=("median", "hyperband", "none")))
    heartbeat_seconds: int = key(COUNT)


@dataclass
class ExportConfig:
    """What task=export writes; the prefix of names in C; of EdgeML's bytes the largest integer and scalars' factor."""

    name: str = key(Rule(choices=("c", "onnx", "edgeml", "secure", "ezpc")))
    prefix: str = key(since="0.2", before="model")
    largest: int = key(Rule(at_least=1, at_most=2**31 - 1), since="0.2", before=127)
    scalar_scale: int = key(Rule(at_least=1, at_most=2**31 - 1), since="0.2", before=1000)


@dataclass
class ApproximateConfig:
    """How task=approximate makes a table: formats such as s16.11, null for ones of `bits`; an expression's interval."""

    method: str = key(Rule(choices=("gpc", "minimax")))
    degree: int = key(Rule(at_least=1, at_most=5))
    segments: int = key(Rule(at_least=1, at_most=255))
    bits: int = key(Rule(at_least=8, at_most=32))
    source: str | None = key()
    to: str | None = key()
    low: float | None = key()
    high: float | None = key()


@dataclass
class LoggerConfig:
    """Where curves go besides record.json; never part of a run's identity."""

    name: str = key(Rule(choices=("csv", "wandb", "tensorboard", "none")))
    project: str = key()
    entity: str | None = key()
    group: str | None = key()
    tags: list[str] = key()
    mode: str = key(Rule(choices=("offline", "online")))


@dataclass
class Config:
    """The whole configuration, one group an attribute."""

    seed: int = key(Rule(at_least=0, below=2**31))
    run: str | None = key(machine=True)
    quantization: str | None = key(machine=True)
    pruning: str | None = key(machine=True)
    study: str | None = key(machine=True)
    pick: str = key(machine=True)
    function: str = key(machine=True)
    error: float = key(Rule(above=0, below=1), machine=True)
    outputs_dir: str = key(machine=True)
    progress: bool = key(machine=True)
    task: TaskConfig = key(machine=True)
    data: DataConfig = key()
    cell: CellConfig = key()
    schedule: ScheduleConfig = key()
    train: TrainConfig = key()
    quant: QuantConfig = key()
    budget: BudgetConfig = key()
    finetune: FinetuneConfig = key(machine=True)
    prune: PruneConfig = key(machine=True)
    secure: SecureConfig = key(machine=True)
    search: SearchConfig = key(machine=True)
    export: ExportConfig = key(machine=True)
    approximate: ApproximateConfig = key(machine=True)
    logger: LoggerConfig = key(machine=True)
