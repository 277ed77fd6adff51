"""task=test: a finished run's chosen weights, evaluated again on its data."""

import warnings

from rich.console import Console

from edgesearch.cells.classifier import AnyClassifier, build_classifier
from edgesearch.config import Config
from edgesearch.data import Dataset, load_dataset, source_digest
from edgesearch.data.batches import tensors
from edgesearch.errors import DifferenceError, EdgesearchWarning, ModelFileError, ToolError
from edgesearch.measure import evaluate
from edgesearch.measure.compiled import variants
from edgesearch.pipeline.folder import RunFolder
from edgesearch.pipeline.program import compiled_accuracy, fake_quant_accuracy, outcome, recompiled
from edgesearch.pipeline.show import finished_run
from edgesearch.pipeline.train import spec_for
from edgesearch.report.record import Record
from edgesearch.report.tables import confusion, summary

TOLERANCE = 0.005  # backends and processors round differently, which moves a handful of examples


def test(config: Config) -> Record:
    """Load the run that `config.run` names, measure its test accuracy and print it with the confusion matrix.

    The data set, cell and seed are the run's own; of the command line only `data.path` counts.

    Raises:
        ModelFileError: no finished run there, damaged weights, or another test accuracy than recorded.
        DifferenceError: the interpreter and a compiled variant differ in any operation.
    """
    folder, record = finished_run(config)
    stored = folder.config()
    stored.data.path = config.data.path or stored.data.path
    if source_digest(stored.data) != record["data"]["content"]:
        raise ModelFileError(f"the run was trained on other content than {stored.data.path} holds now; train it again")
    dataset = load_dataset(stored.data)
    model = build_classifier(spec_for(stored, dataset))
    folder.load_best(model)
    found = evaluate(model, *tensors(dataset, dataset.test), dataset.classes)
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
