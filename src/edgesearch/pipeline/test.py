"""task=test: a finished run's chosen weights, evaluated again on its data."""

from pathlib import Path

from rich.console import Console

from edgesearch.cells.classifier import build_classifier
from edgesearch.config import Config
from edgesearch.data import load_dataset, source_digest
from edgesearch.data.batches import tensors
from edgesearch.errors import ModelFileError
from edgesearch.measure import evaluate
from edgesearch.pipeline.folder import RunFolder
from edgesearch.pipeline.train import spec_for
from edgesearch.report.record import Record
from edgesearch.report.tables import confusion, summary

TOLERANCE = 0.005  # backends and processors round differently, which moves a handful of examples


def test(config: Config) -> Record:
    """Load the run that `config.run` names, measure its test accuracy and print it with the confusion matrix.

    The data set, cell and seed are the run's own; of the command line only `data.path` counts.

    Raises:
        ModelFileError: no finished run there, damaged weights, or another test accuracy than recorded.
    """
    folder = RunFolder(Path(str(config.run)))
    record = folder.finished()
    if record is None:
        raise ModelFileError(f"run must be the folder of a finished run, got {folder.path}; see outputs/DATA/CELL/HASH")
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
    console = Console()
    console.print(confusion(record))
    console.print(summary(record, str(folder.path)))
    return record
