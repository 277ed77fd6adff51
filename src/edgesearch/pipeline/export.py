"""task=export: a finished run's files for a target, in RUN/export/TARGET."""

import numpy as np

from edgesearch.atomic import check_no_link
from edgesearch.cells.classifier import AnyClassifier, Classifier, build_classifier
from edgesearch.cells.conv import CONVOLUTIONAL
from edgesearch.cells.edgeml import save_edgeml, save_edgeml_bytes
from edgesearch.config import Config
from edgesearch.data import Dataset
from edgesearch.errors import ConfigError, DataError
from edgesearch.export.onnx import export_onnx
from edgesearch.export.onnx_input import Scaling
from edgesearch.pipeline.show import finished_run
from edgesearch.pipeline.variant import load_variant
from edgesearch.report.console import PlainConsole
from edgesearch.report.record import Record


def export(config: Config) -> Record:
    """Write the run that `config.run` names for `config.export.name`.

    `c`: the integer program as C, with `config.export.prefix` before its names. `secure`: the same as operations on
    arrays, for secret models and data. `ezpc`: in EzPC's language. `onnx`: the float model, on raw frames. `edgeml`:
    the reference project's .npy files, mean and std of every value of a row among them, and its byte quantisation, to
    `config.export.largest` and with scalars times `config.export.scalar_scale`, in QuantizedFastModel.

    `onnx` and `edgeml` need the run's data set, whose scaling they hold.

    Raises:
        ModelFileError: no finished run there, or one that the target cannot hold, other data than it was trained on, or
            a link where the files go.
        ConfigError: a package that the target needs is missing.
        DataError: the data set cannot be had.
    """
    folder, record = finished_run(config)
    target = config.export.name
    written = folder.path / "export" / target
    check_no_link(folder.path, written / "QuantizedFastModel")
    if target == "c":
        folder.program().export(written, target, prefix=config.export.prefix)
    elif target in ("secure", "ezpc"):
        folder.program().export(written, target)
    elif target == "onnx":
        model, dataset = _float_model(config)
        export_onnx(model, written / "model.onnx", Scaling(dataset.mean, dataset.std))
    else:
        if record["cell"] in CONVOLUTIONAL:
            raise ConfigError(f"EdgeML's files hold recurrent cells, got cell={record['cell']}; set export=onnx")
        model, dataset = _float_model(config)
        assert isinstance(model, Classifier)
        save_edgeml(model, written, *(np.tile(values, dataset.steps) for values in (dataset.mean, dataset.std)))
        quantised = written / "QuantizedFastModel"
        save_edgeml_bytes(model, quantised, config.export.largest, config.export.scalar_scale)
    PlainConsole().print(f"exported to {written}", soft_wrap=True)
    return record


def _float_model(config: Config) -> tuple[AnyClassifier, Dataset]:
    """The run's classifier of normalised frames, and the data set that says how they are normalised."""
    try:
        variant = load_variant(config, quantization=False, pruning=False)
    except DataError as error:
        raise DataError(
            f"export={config.export.name} holds the mean and deviation of the run's data set, which cannot be had "
            f"({str(error).split(';')[0]}); set data.path=FOLDER to where it is"
        ) from error
    model = build_classifier(variant.spec, "eager")
    model.load_state_dict(variant.weights)
    return model.eval(), variant.dataset
