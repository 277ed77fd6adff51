"""task=export: a finished run's files for a target, in RUN/export/TARGET."""

from rich.console import Console

from edgesearch.cells.classifier import AnyClassifier, Classifier, build_classifier, classifier_spec
from edgesearch.cells.edgeml import save_edgeml, save_edgeml_bytes
from edgesearch.config import Config
from edgesearch.errors import ConfigError
from edgesearch.export.onnx import export_onnx
from edgesearch.pipeline.folder import RunFolder
from edgesearch.pipeline.show import finished_run
from edgesearch.report.record import Record


def export(config: Config) -> Record:
    """Write the run that `config.run` names for `config.export.name`.

    `c`: the integer program as C. `secure`: the same as operations on arrays, for secret models and data. `ezpc`: in
    EzPC's language. `onnx`: the float model, on normalised frames. `edgeml`: the reference project's .npy files, and
    its byte quantisation in QuantizedFastModel.

    Raises:
        ModelFileError: no finished run there, or one that the target cannot hold.
        ConfigError: a package that the target needs is missing.
    """
    folder, record = finished_run(config)
    target = config.export.name
    written = folder.path / "export" / target
    if target in ("c", "secure", "ezpc"):
        folder.program().export(written, target)
    elif target == "onnx":
        export_onnx(_model(folder, record), written / "model.onnx")
    else:
        model = _model(folder, record)
        if not isinstance(model, Classifier):
            raise ConfigError(f"EdgeML's files hold recurrent cells, got cell={record['cell']}; set export=onnx")
        save_edgeml(model, written)
        save_edgeml_bytes(model, written / "QuantizedFastModel")
    Console().print(f"exported to {written}", soft_wrap=True)
    return record


def _model(folder: RunFolder, record: Record) -> AnyClassifier:
    stored, data = folder.config(), record["data"]
    spec = classifier_spec(
        stored.cell,
        stored.schedule,
        steps=data["steps"],
        input_size=data["input_size"],
        classes=len(data["class_names"]),
    )
    model = build_classifier(spec, "eager")
    folder.load_best(model)
    return model.eval()
