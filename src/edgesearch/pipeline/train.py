"""task=train: data, spec, training, measurement, record."""

from edgesearch.budget import Widths, model_size, over_budget
from edgesearch.cells.classifier import AnySpec, classifier_spec
from edgesearch.compress.channels import frame_bits
from edgesearch.compress.graph import INPUT
from edgesearch.config import Config, QuantConfig
from edgesearch.data import Dataset, load_dataset, source_digest
from edgesearch.errors import ConfigError
from edgesearch.pipeline.doubts import doubt_tails
from edgesearch.pipeline.folder import RunFolder
from edgesearch.pipeline.lifecycle import Training, trained_once
from edgesearch.report.console import PlainConsole
from edgesearch.report.record import Record
from edgesearch.report.tables import summary


def train(config: Config) -> Record:
    """Train the configured run, or reuse it if it is finished; print its table and return its record.

    Raises:
        EdgesearchError: bad config or data, a budget that cannot hold the model, a training that failed.
    """
    content = source_digest(config.data)
    folder = RunFolder.of(config, content)
    record = trained_once(folder, lambda: _prepared(config, content))
    PlainConsole().print(summary(record, str(folder.path)))
    return record


def _prepared(config: Config, content: str | None) -> Training:
    dataset = load_dataset(config.data)
    spec = spec_for(config, dataset)
    check_budget(config, spec, dataset)
    return Training(config, dataset, spec, content, f"{spec.cell} on {dataset.name}", doubt_tails(dataset))


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
