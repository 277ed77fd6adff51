"""The record of a trained model: accuracies, counts, sizes, versions."""

import platform
import warnings
from importlib.metadata import version
from typing import Any, cast

import numpy as np
import torch

from edgesearch.budget import FLOAT32, Size, edgeml_bytes, model_size, over_budget
from edgesearch.cells.cell import RNNCell
from edgesearch.cells.classifier import AnyClassifier, AnySpec, build_classifier
from edgesearch.cells.conv import ConvClassifier
from edgesearch.cells.fused import usable
from edgesearch.compress.channels import Frames, coarse
from edgesearch.compress.graph import INPUT
from edgesearch.compress.threshold import nonzeros
from edgesearch.config import Config, identity
from edgesearch.data import Dataset
from edgesearch.data.batches import tensors
from edgesearch.errors import EdgesearchWarning, ToolError
from edgesearch.export.layout import ram_bytes
from edgesearch.measure import Evaluation, evaluate
from edgesearch.measure.compiled import variants
from edgesearch.numerics.format import Format
from edgesearch.numerics.program import IntegerProgram
from edgesearch.pipeline.folder import RunFolder
from edgesearch.pipeline.program import compile_classifier, compiled_accuracy, fake_quant_accuracy, outcome
from edgesearch.report.record import Record
from edgesearch.training.fit import Fitted

_PACKAGES = ("edgesearch", "torch", "pytorch-lightning", "hydra-core", "numpy")


def measured(
    config: Config, dataset: Dataset, spec: AnySpec, fitted: Fitted, folder: RunFolder, *, keep: bool = True
) -> Record:
    """Return the record of a finished training. The test split is read here, once.

    With `keep` the program and its C are written to the folder.

    `flash_bytes`, `ram_bytes` and `macs` are those of the integer program, where the model has one.
    """
    model = build_classifier(spec, config.cell.backend)
    model.load_state_dict(fitted.state_dict)
    validation, test = _evaluations(model, dataset)
    float32 = model_size(spec, FLOAT32)
    record = {
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
        "flash_bytes": float32.flash_bytes,
        "ram_bytes": float32.ram_bytes,
        "macs": float32.macs,
        "sizes": {"float32": {"flash_bytes": float32.flash_bytes, "ram_bytes": float32.ram_bytes}},
        "edgeml_bytes": edgeml_bytes(spec),
        "config_hash": folder.path.name,
        "config": identity(config),
        "overflows": fitted.overflows,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES},
    }
    if spec.bidirectional:
        warnings.warn(
            "a bidirectional model has no integer program; only its float accuracy is measured",
            EdgesearchWarning,
            stacklevel=2,
        )
    else:
        program = _add_program(record, config, dataset, model, fitted.formats)
        if keep:
            record["program_sha256"] = folder.save_program(program)
    return record


def _add_program(
    record: Record,
    config: Config,
    dataset: Dataset,
    model: AnyClassifier,
    formats: dict[str, Format],
) -> IntegerProgram:
    """Compile the program and add its accuracies, sizes, formats and saturations."""
    compiled = compile_classifier(config, dataset, model, formats)
    program = compiled.program
    _warn_of_coarse_channels(program, dataset)
    for name, split in (("val_accuracy", dataset.validation), ("test_accuracy", dataset.test)):
        found = outcome(program, split)
        record[name] |= {
            "fake_quant": fake_quant_accuracy(compiled, split, config.quant.function_error),
            "integer": float((found.answers == split.y).mean()),
        }
    try:
        fastest = [v for v in variants() if "-O2" in v.flags][:1]
        record["test_accuracy"]["c"] = compiled_accuracy(program, dataset.test, fastest)[fastest[0].name]
    except ToolError as error:
        warnings.warn(f"the program's C was not run: {error}", EdgesearchWarning, stacklevel=2)
    size = {"flash_bytes": program.flash_bytes, "ram_bytes": ram_bytes(program)}
    record |= size | {"macs": program.macs}
    exceeded = over_budget(Size(program.flash_bytes, ram_bytes(program), program.macs), config.budget)
    if exceeded:
        warnings.warn(f"the program exceeds its budget: {', '.join(exceeded)}", EdgesearchWarning, stacklevel=2)
    record["sizes"]["mixed widths" if config.quant.named else f"{config.quant.weight_bits}-bit"] = size
    record["formats"] = {name: str(chosen) for name, chosen in compiled.formats.items()}
    record["encodings"] = {n: c.encoding for n, c in program.constants.items() if c.integers.ndim == 2}
    record["saturations"] = {name: [int(n) for n in counts] for name, counts in found.saturations.items()}
    return program


def _warn_of_coarse_channels(program: IntegerProgram, dataset: Dataset) -> None:
    given = program.values[INPUT].format
    frames = Frames.of(dataset.train.x.reshape(-1, dataset.input_size))
    for channel in coarse(given, frames, dataset.std.astype(np.float64)):
        warnings.warn(
            f"channel {channel} (from 0) has a deviation of {dataset.std[channel]:.3g}, of which {given.bits} bits "
            f"resolve steps of {2.0 ** -given.channel(channel)[0]:.3g}, as it reaches "
            f"{max(abs(frames.low[channel]), abs(frames.high[channel])):.3g}; clip it, give its logarithm, or set "
            "quant.activation_bits=16",
            EdgesearchWarning,
            stacklevel=2,
        )


def _backend(config: Config, model: AnyClassifier) -> str:
    """Which of the backends trained the model here: `auto` takes what the machine has."""
    if isinstance(model, ConvClassifier):
        return "torch"
    if config.train.arithmetic == "fixed":
        return "integers"
    cell = cast(RNNCell, model.rnn.cells[0])
    device = "cuda" if config.train.device != "cpu" and torch.cuda.is_available() else "cpu"
    return "fused" if usable(cell, torch.zeros(1, device=device), config.cell.backend) else "eager"


def _evaluations(model: AnyClassifier, dataset: Dataset) -> tuple[Evaluation, Evaluation]:
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
