"""task=train: data, spec, training, measurement, record."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from edgesearch.budget import Widths, model_size, over_budget
from edgesearch.cells.classifier import AnySpec, classifier_spec
from edgesearch.compress.channels import frame_bits
from edgesearch.compress.graph import INPUT
from edgesearch.config import Config, QuantConfig
from edgesearch.data import Dataset, load_dataset, source_digest
from edgesearch.errors import ConfigError, EdgesearchError
from edgesearch.pipeline.doubts import doubt_tails, say
from edgesearch.pipeline.folder import RunFolder
from edgesearch.pipeline.measured import measured
from edgesearch.report.console import PlainConsole
from edgesearch.report.loggers import open_loggers
from edgesearch.report.progress import TrainingProgress
from edgesearch.report.record import Record, write_record
from edgesearch.report.tables import summary
from edgesearch.training.fit import fit


def train(config: Config) -> Record:
    """Train the configured run, or reuse it if it is finished; print its table and return its record.

    Raises:
        EdgesearchError: bad config or data, a budget that cannot hold the model, a training that failed.
    """
    content = source_digest(config.data)
    folder = RunFolder.of(config, content)
    record = folder.finished()
    console = PlainConsole()
    if record is None:
        dataset = load_dataset(config.data)
        spec = spec_for(config, dataset)
        check_budget(config, spec, dataset)
        with folder.locked():
            record = folder.finished() or _run(config, dataset, spec, folder, content)
    else:
        console.print(f"finished before, nothing to train: {folder.path}")
    console.print(summary(record, str(folder.path)))
    return record


def check_budget(config: Config, spec: AnySpec, dataset: Dataset) -> None:
    """Raise `ConfigError` if the integer model, at the bit widths of `quant`, exceeds a limit of the budget."""
    widths = program_widths(config.quant, dataset)
    exceeded = over_budget(model_size(spec, widths), config.budget)
    if exceeded:
        raise ConfigError(
            f"a model must fit its budget at {widths.label} weights, got {', '.join(exceeded)}; lower "
            "cell.hidden_size or the ranks, raise schedule.sparsity, or raise the limits"
        )


def program_widths(quant: QuantConfig, dataset: Dataset) -> Widths:
    """Return the widths of a program on `dataset`, whose channels may need wider frames."""
    bits = quant.named.get(INPUT, quant.activation_bits)
    if INPUT not in quant.named:
        bits = frame_bits(dataset.frames, tuple(dataset.std.tolist()), bits, quant.range)
    return Widths.of(quant, bits)


def spec_for(config: Config, dataset: Dataset) -> AnySpec:
    """Return the spec of the configured cell on the shape of `dataset`."""
    return classifier_spec(
        config.cell, config.schedule, steps=dataset.steps, input_size=dataset.input_size, classes=dataset.classes
    )


def _run(config: Config, dataset: Dataset, spec: AnySpec, folder: RunFolder, content: str | None) -> Record:
    started = time.monotonic()
    say(doubt_tails(dataset))
    loggers = open_loggers(config, folder.path)
    folder.write_config(config)
    record: Record | None = None
    try:
        title, metric = f"{spec.cell} on {dataset.name}", config.train.metric
        with TrainingProgress(title, config.train.epochs, config.progress, metric) as progress:
            fitted = fit(config, dataset, spec, folder.checkpoints / "last.ckpt", to_all([progress, *loggers]))
        folder.save_best(fitted.state_dict)
        record = measured(config, dataset, spec, fitted, folder)
        record["wall_seconds"] = fitted.seconds_before + time.monotonic() - started
        record["data"]["content"] = content
        write_record(folder.path, record)
        say(record["doubts"])
    except EdgesearchError as error:
        write_record(folder.path, {"status": "failed", "error": str(error), "config_hash": folder.path.name})
        raise
    finally:
        for logger in loggers:
            logger.finish(record)
    return record


class Listener(Protocol):
    """What is told of every epoch."""

    def epoch(self, row: dict[str, Any]) -> None:
        """Take in an epoch's row."""


def to_all(listeners: Sequence[Listener]) -> Callable[[dict[str, Any]], None]:
    """Return a function that tells every listener."""

    def tell(row: dict[str, Any]) -> None:
        for listener in listeners:
            listener.epoch(row)

    return tell
