"""A finished run with a pruning, bit widths, both or neither put on it: what the tasks of a run work on."""

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from edgesearch.cells.classifier import AnyClassifier, AnySpec, build_classifier
from edgesearch.compress.structure import HIDDEN, Structure, pruned_spec, pruned_weights
from edgesearch.config import Config
from edgesearch.data import Dataset, load_dataset, source_digest
from edgesearch.data.batches import tensors
from edgesearch.data.dataset import Ints
from edgesearch.data.scores import Scores
from edgesearch.errors import ConfigError, ModelFileError
from edgesearch.measure import evaluate
from edgesearch.pipeline.folder import RunFolder
from edgesearch.pipeline.program import Compiled, compile_classifier, recompiled
from edgesearch.pipeline.show import finished_run
from edgesearch.pipeline.train import spec_for
from edgesearch.report.record import Record
from edgesearch.untrusted.files import DamagedError
from edgesearch.untrusted.text import read_yaml

QUANTIZATION, PRUNING = "quantization.yml", "pruning.yml"


@dataclass(frozen=True)
class Variant:
    """A model ready to be measured, narrowed, pruned or trained on.

    Attributes:
        folder, record: the run.
        config: the run's, with the sizes of the pruned model and the widths of the quantisation.
        dataset: the run's.
        spec, weights: of the model as it now is.
        label: `float`, `quantized`, `pruned` or `quantized, pruned`.
    """

    folder: RunFolder
    record: Record
    config: Config
    dataset: Dataset
    spec: AnySpec
    weights: dict[str, Tensor]
    label: str

    def model(self) -> AnyClassifier:
        """Return the model."""
        model = build_classifier(self.spec, self.config.cell.backend)
        model.load_state_dict(self.weights)
        return model.eval()

    def compiled(self) -> Compiled:
        """Return the model's program: the run's own, where nothing was changed."""
        if self.label == "float":
            return recompiled(self.folder.program(), self.dataset, self.model())
        return compile_classifier(self.config, self.dataset, self.model())

    def evaluated(self, *, on_test: bool) -> Scores:
        """Return what the float model makes of validation or test rows."""
        split = self.dataset.test if on_test else self.dataset.validation
        return evaluate(self.model(), *tensors(self.dataset, split), self.dataset.classes)

    def inputs(self, *, on_test: bool) -> Tensor:
        """Return the normalised validation or test rows (T, N, D)."""
        return tensors(self.dataset, self.dataset.test if on_test else self.dataset.validation)[0]

    def score(self, answers: Ints) -> float:
        """Return what answers (N,) to the validation rows are worth by the run's metric."""
        split = self.dataset.validation
        return Scores.of(answers, split.y, self.dataset.classes).score(self.config.train.metric)


def load_variant(config: Config, *, quantization: bool = True, pruning: bool = True) -> Variant:
    """Return the run that `config.run` names, with `config.quantization` and `config.pruning` on it where asked for.

    Raises:
        ModelFileError: no finished run there, other data than it was trained on, or a file that is not of its kind.
        ConfigError: a file of another model.
    """
    folder, record = finished_run(config)
    stored = folder.config()
    stored.data.path = config.data.path or stored.data.path
    if source_digest(stored.data) != record["data"]["content"]:
        raise ModelFileError(
            f"the run was trained on other content than {stored.data.path} holds now; train it again, or set data.path "
            "to that content"
        )
    dataset = load_dataset(stored.data, single=record["versions"]["edgesearch"] == "0.1.0")
    spec = spec_for(stored, dataset)
    model = build_classifier(spec, stored.cell.backend)
    folder.load_best(model)
    variant = Variant(folder, record, stored, dataset, spec, dict(model.state_dict()), "float")
    if pruning and config.pruning is not None:
        variant = with_structure(variant, read_structure(Path(config.pruning)))
    if quantization and config.quantization is not None:
        variant = with_widths(variant, read_widths(Path(config.quantization)))
    return variant


def with_structure(variant: Variant, structure: Structure) -> Variant:
    """Return the smaller model."""
    spec = pruned_spec(variant.spec, structure)
    weights = pruned_weights(variant.spec, variant.weights, structure)
    config = copy.deepcopy(variant.config)
    if HIDDEN in structure.kept:
        config.cell.hidden_size = len(structure.kept[HIDDEN])
    else:
        config.cell.kept = (config.cell.kept or {}) | {name: len(units) for name, units in structure.kept.items()}
    label = "pruned" if variant.label == "float" else f"{variant.label}, pruned"
    return replace(variant, config=config, spec=spec, weights=weights, label=label)


def with_widths(variant: Variant, bits: dict[str, int]) -> Variant:
    """Return the model at these widths by name."""
    config = copy.deepcopy(variant.config)
    config.quant.named = dict(bits)
    label = "quantized" if variant.label == "float" else "quantized, pruned"
    return replace(variant, config=config, label=label)


def read_structure(path: Path) -> Structure:
    """Read a pruning.yml.

    Raises:
        ModelFileError: it is none.
    """
    kept = _read(path, "kept", "prune")
    if not all(isinstance(units, list) and all(type(unit) is int for unit in units) for units in kept.values()):
        raise ModelFileError(f"{path} must name the kept units of each layer; run task=prune again")
    return Structure({str(layer): tuple(units) for layer, units in kept.items()})


def read_widths(path: Path) -> dict[str, int]:
    """Read the bits by name of a quantization.yml.

    Raises:
        ModelFileError: it is none.
    """
    bits = _read(path, "bits", "quantize")
    if not all(type(width) is int and 2 <= width <= 16 for width in bits.values()):
        raise ModelFileError(f"{path} must give 2 to 16 bits by name; run task=quantize again")
    return {str(name): width for name, width in bits.items()}


def _read(path: Path, key: str, task: str) -> dict[Any, Any]:
    wanted = f"{path} must be what task={task} wrote"
    try:
        found = read_yaml(path)
    except FileNotFoundError as error:
        raise ModelFileError(f"{wanted}, got no such file; run task={task}") from error
    except (DamagedError, OSError) as error:
        raise ModelFileError(f"{wanted}, got another file ({error}); run task={task}") from error
    part = found.get(key) if isinstance(found, dict) else None
    if not isinstance(part, dict) or not part:
        raise ModelFileError(f"{wanted}, got no {key} in it; run task={task}")
    return part


def needs_program(variant: Variant) -> None:
    """Refuse a model that has no integer program.

    Raises:
        ConfigError: it runs both ways.
    """
    if variant.spec.bidirectional:
        raise ConfigError("a bidirectional run has no integer program; train with cell.bidirectional=false")
