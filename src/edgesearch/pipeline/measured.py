"""The record of a trained model: accuracies, counts, sizes, versions."""

import platform
from importlib.metadata import version
from typing import Any, cast

import torch

from edgesearch.budget import FLOAT32, Widths, edgeml_bytes, model_size
from edgesearch.cells.cell import RNNCell
from edgesearch.cells.classifier import Classifier, build_classifier
from edgesearch.cells.fused import usable
from edgesearch.cells.spec import ModelSpec
from edgesearch.compress.threshold import nonzeros
from edgesearch.config import Config, identity
from edgesearch.data import Dataset
from edgesearch.data.batches import tensors
from edgesearch.measure import Evaluation, evaluate
from edgesearch.pipeline.folder import RunFolder
from edgesearch.report.record import Record
from edgesearch.training.fit import Fitted

_PACKAGES = ("edgesearch", "torch", "pytorch-lightning", "hydra-core", "numpy")


def measured(config: Config, dataset: Dataset, spec: ModelSpec, fitted: Fitted, folder: RunFolder) -> Record:
    """Return the record of a finished training. The test split is read here, once.

    `flash_bytes` and `ram_bytes` are those of the float32 model, the only level measured; `sizes` has both.
    """
    model = build_classifier(spec, config.cell.backend)
    model.load_state_dict(fitted.state_dict)
    validation, test = _evaluations(model, dataset)
    sizes = {widths.label: model_size(spec, widths) for widths in (FLOAT32, Widths.of(config.quant))}
    return {
        "status": "finished",
        "cell": spec.cell,
        "data": describe(dataset),
        "seed": config.seed,
        "backend": _backend(config, model),
        "val_accuracy": {"float": validation.accuracy},
        "test_accuracy": {"float": test.accuracy},
        "per_class_accuracy": test.per_class,
        "confusion": test.confusion,
        "epoch": fitted.epoch,
        "epochs": config.train.epochs,
        "epochs_run": len(fitted.history),
        "resumed_at": fitted.resumed_at,
        "parameters": spec.parameters,
        "nonzeros": nonzeros(model),
        "flash_bytes": sizes["float32"].flash_bytes,
        "ram_bytes": sizes["float32"].ram_bytes,
        "macs": sizes["float32"].macs,
        "sizes": {
            label: {"flash_bytes": size.flash_bytes, "ram_bytes": size.ram_bytes, "encodings": size.encodings}
            for label, size in sizes.items()
        },
        "edgeml_bytes": edgeml_bytes(spec),
        "config_hash": folder.path.name,
        "config": identity(config),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES},
    }


def _backend(config: Config, model: Classifier) -> str:
    """Which of the backends trained the model here: `auto` takes what the machine has."""
    cell = cast(RNNCell, model.rnn.cells[0])
    device = "cuda" if config.train.device != "cpu" and torch.cuda.is_available() else "cpu"
    return "fused" if usable(cell, torch.zeros(1, device=device), config.cell.backend) else "eager"


def _evaluations(model: Classifier, dataset: Dataset) -> tuple[Evaluation, Evaluation]:
    """Evaluate on the validation and on the test rows."""
    validation = evaluate(model, *tensors(dataset, dataset.validation), dataset.classes)
    return validation, evaluate(model, *tensors(dataset, dataset.test), dataset.classes)


def describe(dataset: Dataset) -> dict[str, Any]:
    """Return what a record says of its data: shapes, split sizes and whether it is a subset."""
    return {
        "name": dataset.name,
        "variant": dataset.variant,
        "subset_of": dataset.subset_of,
        "steps": dataset.steps,
        "input_size": dataset.input_size,
        "class_names": list(dataset.class_names),
        "rows": {"train": len(dataset.train), "validation": len(dataset.validation), "test": len(dataset.test)},
    }
