"""task=test: a finished run's chosen weights, evaluated again on its data."""

import warnings

import torch
from rich.console import Console

from edgesearch.cells.classifier import AnyClassifier
from edgesearch.config import Config
from edgesearch.data import Dataset
from edgesearch.errors import DifferenceError, EdgesearchWarning, ModelFileError, ToolError
from edgesearch.export.layout import ram_bytes
from edgesearch.measure import confusion_of
from edgesearch.measure.compiled import variants
from edgesearch.pipeline.folder import RunFolder
from edgesearch.pipeline.program import compiled_accuracy, fake_quant_accuracy, outcome, recompiled
from edgesearch.pipeline.variant import load_variant, needs_program
from edgesearch.report.compression import metrics
from edgesearch.report.record import Record
from edgesearch.report.tables import confusion, summary

TOLERANCE = 0.005  # backends and processors round differently, which moves a handful of examples


def test(config: Config) -> Record:
    """Load the run that `config.run` names, measure its test accuracy and print it with the confusion matrix.

    The data set, cell and seed are the run's own; of the command line only `data.path`, `quantization` and `pruning`
    count. With one of these the model is what they make of it.

    Raises:
        ModelFileError: no finished run there, damaged weights, or another test accuracy than recorded.
        DifferenceError: the interpreter and a compiled variant differ in any operation.
    """
    if config.quantization is not None or config.pruning is not None:
        return _variant(config)
    variant = load_variant(config)
    folder, record, dataset, model = variant.folder, variant.record, variant.dataset, variant.model()
    found = variant.evaluated(on_test=True)
    record |= {"confusion": found.confusion, "per_class_accuracy": found.per_class}
    if abs(found.accuracy - record["test_accuracy"]["float"]) > TOLERANCE:
        raise ModelFileError(
            f"the run recorded a test accuracy of {record['test_accuracy']['float']:.4f}, got {found.accuracy:.4f}; "
            "its data or weights have changed, train it again"
        )
    if "program_sha256" in record:
        _check_program(folder, record, dataset, model)
    console = Console()
    console.print(confusion(record))
    console.print(summary(record, str(folder.path)))
    return record


def _variant(config: Config) -> Record:
    """Measure a run with a quantisation, a pruning or both on it: in floats, as integers and as C."""
    variant = load_variant(config)
    needs_program(variant)
    dataset, compiled = variant.dataset, variant.compiled()
    answers = outcome(compiled.program, dataset.test).answers
    matrix = confusion_of(torch.from_numpy(answers), torch.from_numpy(dataset.test.y), dataset.classes)
    record = variant.record | {"confusion": matrix.confusion, "per_class_accuracy": matrix.per_class}
    accuracies = {
        "float": variant.evaluated(on_test=True).accuracy,
        "fake_quant": fake_quant_accuracy(compiled, dataset.test, variant.config.quant.function_error),
        "integer": matrix.accuracy,
    }
    found: dict[str, float] = {}
    try:
        found = compiled_accuracy(compiled.program, dataset.test, variants())
    except ToolError as error:
        warnings.warn(f"the program's C was not run: {error}", EdgesearchWarning, stacklevel=2)
    console = Console()
    console.print(confusion(record))
    console.print(metrics(variant.label, accuracies | found, compiled.program.flash_bytes, ram_bytes(compiled.program)))
    return record


def _check_program(folder: RunFolder, record: Record, dataset: Dataset, model: AnyClassifier) -> None:
    """Measure the program again: fake-quantised, in the interpreter and in every C variant that can be built here."""
    program = folder.program()
    compiled = recompiled(program, dataset, model)
    fake = fake_quant_accuracy(compiled, dataset.test, folder.config().quant.function_error)
    accuracy = float((outcome(program, dataset.test).answers == dataset.test.y).mean())
    if accuracy != record["test_accuracy"]["integer"]:
        raise ModelFileError(
            f"the run recorded an integer test accuracy of {record['test_accuracy']['integer']:.4f}, got "
            f"{accuracy:.4f}; its data or program have changed, train it again"
        )
    if fake != accuracy:
        raise DifferenceError(f"the fake-quantised accuracy must be the integer one, {accuracy:.4f}, got {fake:.4f}")
    try:
        found = compiled_accuracy(program, dataset.test, variants())
    except ToolError as error:
        warnings.warn(f"the program's C was not run: {error}", EdgesearchWarning, stacklevel=2)
        record["test_accuracy"].pop("c", None)
        return
    record["test_accuracy"]["c"] = next(iter(found.values()))
    record["variants"] = found
