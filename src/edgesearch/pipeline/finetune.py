"""task=finetune: a finished run's weights, trained on in the numbers of the integer program."""

import copy
import hashlib
import json
import time
from dataclasses import asdict

from rich.console import Console

from edgesearch.budget import Widths
from edgesearch.cells.classifier import build_classifier
from edgesearch.config import Config, FinetuneConfig
from edgesearch.data import load_dataset, source_digest
from edgesearch.errors import ConfigError, ModelFileError
from edgesearch.pipeline.folder import RunFolder
from edgesearch.pipeline.measured import measured
from edgesearch.pipeline.show import finished_run
from edgesearch.pipeline.train import spec_for, to_all
from edgesearch.report.loggers import open_loggers
from edgesearch.report.progress import TrainingProgress
from edgesearch.report.record import Record, write_record
from edgesearch.report.tables import summary
from edgesearch.training.fit import Fitted, fit


def finetune(config: Config) -> Record:
    """Train the run that `config.run` names for `finetune.epochs` more, quantised as `quant` says; zeros stay zero.

    The result has a folder of its own, RUN/finetune/HASH. Its record holds the accuracies before, at the same widths,
    under `before`.

    Raises:
        ModelFileError: no finished run there, or its data have changed.
    """
    run, record = finished_run(config)
    if run.config().cell.bidirectional:
        raise ConfigError(
            "a bidirectional run has no integer program to be tuned for; train with cell.bidirectional=false"
        )
    folder = RunFolder(run.path / "finetune" / _digest(config))
    done = folder.finished()
    console = Console()
    if done is None:
        with folder.locked():
            done = folder.finished() or _finetuned(config, run, record, folder)
    else:
        console.print(f"finished before, nothing to train: {folder.path}")
    console.print(summary(done, str(folder.path)))
    return done


def tuned_config(config: Config, settings: FinetuneConfig) -> Config:
    """Return the config of a run's fine-tuning: every epoch in the program's numbers, a falling rate."""
    tuned = copy.deepcopy(config)
    tuned.schedule.quantize_from, tuned.train.patience = 0.0, None
    tuned.train.epochs, tuned.train.lr, tuned.train.lr_schedule = settings.epochs, settings.lr, "cosine"
    return tuned


def _digest(config: Config) -> str:
    text = json.dumps([asdict(config.quant), asdict(config.finetune)])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _finetuned(config: Config, run: RunFolder, record: Record, folder: RunFolder) -> Record:
    started = time.monotonic()
    stored = run.config()
    stored.data.path = config.data.path or stored.data.path
    stored.quant = config.quant
    if source_digest(stored.data) != record["data"]["content"]:
        raise ModelFileError(f"the run was trained on other content than {stored.data.path} holds now; train it again")
    dataset = load_dataset(stored.data)
    spec = spec_for(stored, dataset)
    model = build_classifier(spec)
    run.load_best(model)
    start = model.state_dict()
    tuned = tuned_config(stored, config.finetune)
    folder.write_config(tuned)
    before = measured(stored, dataset, spec, Fitted(start, record["epoch"], [], None, 0.0, {}), folder, keep=False)
    title = f"fine-tuning {spec.cell} on {dataset.name}, {Widths.of(config.quant).label}"
    metrics = open_loggers(tuned, folder.path)
    with TrainingProgress(title, tuned.train.epochs, config.progress) as progress:
        fitted = fit(tuned, dataset, spec, folder.checkpoints / "last.ckpt", to_all([progress, *metrics]), start)
    folder.save_best(fitted.state_dict)
    found = measured(tuned, dataset, spec, fitted, folder)
    found["before"] = {key: before[key] for key in ("val_accuracy", "test_accuracy", "flash_bytes")}
    found["wall_seconds"] = fitted.seconds_before + time.monotonic() - started
    found["data"]["content"] = record["data"]["content"]
    write_record(folder.path, found)
    for logger in metrics:
        logger.finish(found)
    return found
