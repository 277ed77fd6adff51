"""The schema of every key: its type, its range and whether it belongs to a run's identity.

Values live in conf/ alone; no field here has a default. `key` attaches the rule that `checks.check` applies; every
number has an upper bound.
"""

from dataclasses import dataclass
from typing import Any

from edgesearch.config.rules import (
    CHIP_BYTES,
    EPOCHS,
    FLOAT32,
    LAYERS,
    MILLISECONDS,
    POINTS,
    RATE,
    SECONDS,
    SHARE,
    STEPS,
    WIDTH,
    Rule,
    key,
    positive,
    up_to,
)

NONLINEARITIES = ("sigmoid", "tanh", "relu", "quantSigm", "quantSigm4", "quantTanh")
RANGES = ("max", "percentile", "error")
TASKS = (
    "train", "test", "quantize", "prune", "profile", "finetune", "compress", "search", "report", "export", "show",
    "approximate", "secure",
)  # fmt: skip
BACKENDS = ("auto", "fused", "eager")
METRICS = ("accuracy", "balanced_accuracy", "macro_f1")


@dataclass
class TaskConfig:
    """What the command does."""

    name: str = key(Rule(choices=TASKS))


@dataclass
class FeatureConfig:
    """Audio front end: frames of `window_ms` every `hop_ms`, `bands` log-mel bands, or MFCCs of them."""

    kind: str = key(Rule(choices=("logmel", "mfcc")))
    window_ms: float = key(MILLISECONDS)
    hop_ms: float = key(MILLISECONDS)
    bands: int = key(up_to(512))
    coefficients: int = key(up_to(512))
    seconds: float = key(positive(60, usual=1))


@dataclass
class DataConfig:
    """A data set, its variant, its validation split and its train-time augmentation."""

    name: str = key()
    variant: str | None = key()
    path: str | None = key(machine=True)
    input_size: int | None = key(up_to(2**20))
    validation: float | None = key(Rule(above=0, below=1, usual=0.1))
    validation_by: str = key(Rule(choices=("group", "row")))
    split_seed: int = key(up_to(2**63 - 1, least=0))
    augment: bool = key()
    shift_steps: int = key(up_to(2**20, least=0))
    shift_features: int = key(up_to(2**20, least=0))
    noise: float = key(Rule(at_least=0, at_most=1e6))
    features: FeatureConfig | None = key()


@dataclass
class CellConfig:
    """The model: a recurrent cell, where a null rank means full rank, or a convolutional network with channels."""

    name: str = key(Rule(choices=("fastrnn", "fastgrnn", "ugrnn", "gru", "lstm", "lenet5", "dscnn")))
    hidden_size: int = key(WIDTH)
    num_layers: int = key(LAYERS)
    channels: int | None = key(WIDTH)
    kept: dict[str, int] | None = key(up_to(4096, entries=65))
    wRank: int | None = key(WIDTH)
    uRank: int | None = key(WIDTH)
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
    trim_every: int = key(STEPS)
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
    epochs: int = key(EPOCHS)
    batch_size: int = key(STEPS)
    lr: float = key(RATE)
    lr_schedule: str = key(Rule(choices=("constant", "step", "cosine")))
    lr_step_epochs: int = key(STEPS)
    lr_gamma: float = key(positive(1, usual=0.1))
    weight_decay: float = key(Rule(at_least=0, at_most=FLOAT32))
    label_smoothing: float = key(SHARE)
    clip_norm: float | None = key(positive(FLOAT32, usual=1))
    patience: int | None = key(STEPS)
    device: str = key(Rule(choices=("auto", "cpu", "cuda")), machine=True)
    threads: int | None = key(up_to(1024), machine=True)
    checkpoint_seconds: float = key(SECONDS, machine=True)


@dataclass
class QuantConfig:
    """The integer program: bits of weights, of input, gates and states; how ranges and tables are chosen.

    `named` are bits of single values and constants; `error_margin` is what task=quantize may lose, in points.
    """

    weight_bits: int = key(Rule(at_least=2, at_most=16))
    activation_bits: int = key(Rule(at_least=8, at_most=16))
    range: str = key(Rule(choices=RANGES))
    function_error: float = key(positive(0.1, usual=0.001))
    calibration_rows: int = key(STEPS)
    named: dict[str, int] = key(up_to(16, least=2, entries=10_000))
    error_margin: float = key(POINTS, machine=True)


@dataclass
class BudgetConfig:
    """Limits of the chip, null for none: bytes of flash and RAM, of which the rest of the firmware keeps some; MACs."""

    name: str = key()
    flash_bytes: int | None = key(CHIP_BYTES)
    ram_bytes: int | None = key(CHIP_BYTES)
    firmware_flash_bytes: int = key(up_to(2**40, least=0))
    firmware_ram_bytes: int = key(up_to(2**40, least=0))
    macs: int | None = key(up_to(10**15))


@dataclass
class FinetuneConfig:
    """Training of a finished run's weights in the program's numbers."""

    epochs: int = key(EPOCHS)
    lr: float = key(RATE)


@dataclass
class PruneConfig:
    """What task=prune may lose of validation accuracy, in points."""

    error_margin: float = key(POINTS)


@dataclass
class SecureConfig:
    """What task=secure runs over secret shares: protocol, test windows, how many at once; parties as processes."""

    protocol: str = key(Rule(choices=("semi2k", "aby3", "both")))
    rows: int = key(STEPS)
    batch: int = key(STEPS)
    processes: bool = key()
    install: bool = key()


@dataclass
class SearchConfig:
    """What task=search looks for and how; `space` maps keys, nested or dotted, to what they may become."""

    name: str = key(Rule(choices=("tpe", "nsga2", "gp", "random", "grid")))
    study: str | None = key()
    storage: str | None = key()
    objective: str = key(Rule(choices=("accuracy", "pareto")))
    n_trials: int = key(STEPS)
    workers: int | None = key(up_to(1024))
    timeout: float | None = key(positive(1e9, usual=900))
    space: dict[str, Any] = key(Rule(entries=200))
    weight_bits: list[int] = key(up_to(16, least=2, entries=15))
    activation_bits: list[int] = key(up_to(16, least=8, entries=9))
    finetune: int = key(up_to(10_000, least=0))
    finetune_share: float = key(SHARE)
    pruner: str = key(Rule(choices=("median", "hyperband", "none")))
    heartbeat_seconds: int = key(up_to(86_400))


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
    low: float | None = key(Rule(at_least=-1e30, at_most=1e30))
    high: float | None = key(Rule(at_least=-1e30, at_most=1e30))


@dataclass
class LoggerConfig:
    """Where curves go besides record.json; never part of a run's identity."""

    name: str = key(Rule(choices=("csv", "wandb", "tensorboard", "none")))
    project: str = key()
    entity: str | None = key()
    group: str | None = key()
    tags: list[str] = key(Rule(entries=100))
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
    error: float = key(Rule(above=0, below=1, usual=0.0001), machine=True)
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
