"""The record of a trained model: accuracies, counts, sizes, versions."""

import platform
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from edgesearch.budget import FLOAT32, Size, edgeml_bytes, model_size, over_budget
from edgesearch.cells.classifier import AnySpec, build_classifier
from edgesearch.compress.threshold import nonzeros
from edgesearch.config import Config, identity
from edgesearch.data import Dataset
from edgesearch.data.batches import tensors
from edgesearch.data.dataset import Ints, Split
from edgesearch.data.scores import Scores, majority_share
from edgesearch.errors import EdgesearchWarning
from edgesearch.export.layout import ram_bytes
from edgesearch.measure import answers_of
from edgesearch.pipeline.doubts import doubt_channels, doubt_integers, doubt_majority, where_lost
from edgesearch.pipeline.folder import RunFolder
from edgesearch.pipeline.program import (
    Compiled,
    compared_in_c,
    compile_classifier,
    fake_quant_answers,
    fastest,
    outcome,
)
from edgesearch.report.record import Record
from edgesearch.training.device import training_device, what_runs
from edgesearch.training.fit import Fitted

_PACKAGES = ("edgesearch", "torch", "pytorch-lightning", "hydra-core", "numpy")


def measured(
    config: Config, dataset: Dataset, spec: AnySpec, fitted: Fitted, folder: RunFolder, *, keep: bool = True
) -> Record:
    """Return the record of a finished training. The test split is read here, once; `doubts` are for the caller to say.

    With `keep` the program and its C are written to the folder.

    `flash_bytes`, `ram_bytes` and `macs` are those of the integer program, where the model has one.
    """
    model = build_classifier(spec, config.cell.backend)
    model.load_state_dict(fitted.state_dict)
    float32 = model_size(spec, FLOAT32)
    ran = fitted.ran or what_runs(config, model, training_device(config, spec))
    record: Record = {
        "status": "finished",
        "cell": spec.cell,
        "data": describe(dataset),
        "seed": config.seed,
        "backend": ran.backend,
        "backend_problem": ran.backend_problem,
        "device": ran.device,
        "majority_share": majority_share(dataset.test.y),
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
    answers = {part: answers_of(model, tensors(dataset, split)[0]) for part, split in _parts(dataset)}
    shipped = _note(record, "float", answers, dataset)
    if spec.bidirectional:
        warnings.warn(
            "a bidirectional model has no integer program; only its float accuracy is measured",
            EdgesearchWarning,
            stacklevel=2,
        )
    else:
        compiled = compile_classifier(config, dataset, model, fitted.formats)
        shipped = _add_program(record, config, dataset, compiled, answers["test"])
        if keep:
            record["program_sha256"] = folder.save_program(compiled.program)
    record.setdefault("doubts", []).extend(doubt_majority(shipped, record["majority_share"], dataset.class_names))
    return record | by_class(shipped)


def _parts(dataset: Dataset) -> tuple[tuple[str, Split], ...]:
    return ("val", dataset.validation), ("test", dataset.test)


def _note(record: Record, level: str, answers: Mapping[str, Ints], dataset: Dataset) -> Scores:
    """Add the scores of a level's answers to validation and test rows; return those of the test rows."""
    for part, split in _parts(dataset):
        scores = Scores.of(answers[part], split.y, dataset.classes)
        for metric, value in scores.every.items():
            record.setdefault(f"{part}_{metric}", {})[level] = value
    return scores


def by_class(scores: Scores) -> Record:
    """Return what a record says of each class: recall (`per_class_accuracy`), precision and the confusion matrix."""
    return {
        "per_class_accuracy": scores.recall,
        "per_class_precision": scores.precision,
        "confusion": scores.confusion.tolist(),
    }


def _add_program(record: Record, config: Config, dataset: Dataset, compiled: Compiled, floats: Ints) -> Scores:
    """Add the program's scores, sizes, formats and saturations; return its scores on test rows."""
    program = compiled.program
    found = {part: outcome(program, split) for part, split in _parts(dataset)}
    error = config.quant.function_error
    fake = {part: fake_quant_answers(compiled, split, error) for part, split in _parts(dataset)}
    _note(record, "fake_quant", fake, dataset)
    shipped = _note(record, "integer", {part: o.answers for part, o in found.items()}, dataset)
    record["lost"] = where_lost(compiled, dataset, floats, found["test"].answers, error)
    record["doubts"] = doubt_channels(program, dataset) + doubt_integers(record["lost"])
    if compared_in_c(program, dataset.test, fastest()):
        for metric, value in shipped.every.items():
            record[f"test_{metric}"]["c"] = value
    else:
        record["doubts"].append("no compiler here builds the C, which was not run; install gcc")
    size = {"flash_bytes": program.flash_bytes, "ram_bytes": ram_bytes(program)}
    record |= size | {"macs": program.macs}
    exceeded = over_budget(Size(program.flash_bytes, ram_bytes(program), program.macs), config.budget)
    if exceeded:
        record["doubts"].append(f"the program exceeds its budget: {', '.join(exceeded)}")
    record["sizes"]["mixed widths" if config.quant.named else f"{config.quant.weight_bits}-bit"] = size
    record["formats"] = {name: str(chosen) for name, chosen in compiled.formats.items()}
    record["encodings"] = {n: c.encoding for n, c in program.constants.items() if c.integers.ndim == 2}
    record["saturations"] = {name: [int(n) for n in counts] for name, counts in found["test"].saturations.items()}
    return shipped


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
