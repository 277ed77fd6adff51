"""task=finetune: a finished run's weights, trained on in the numbers of the integer program."""

import copy
import hashlib
import json
import time
from dataclasses import asdict
from pathlib import Path

from edgesearch.config import Config, FinetuneConfig
from edgesearch.pipeline.doubts import require_c, say
from edgesearch.pipeline.folder import RunFolder
from edgesearch.pipeline.measured import measured
from edgesearch.pipeline.train import to_all
from edgesearch.pipeline.variant import Variant, load_variant, needs_program, read_structure
from edgesearch.report.console import PlainConsole
from edgesearch.report.loggers import open_loggers
from edgesearch.report.progress import TrainingProgress
from edgesearch.report.record import Record, write_record
from edgesearch.report.tables import summary
from edgesearch.training.fit import Fitted, fit


def finetune(config: Config) -> Record:
    """Train the run that `config.run` names for `finetune.epochs` more, in the program's numbers; zeros stay zero.

    The widths are those of `config.quantization`, or else of `quant`; what `config.pruning` has removed stays away. The
    result has a folder of its own, RUN/finetune/HASH. Its record holds the accuracies before, at the same widths, under
    `before`.

    Raises:
        ModelFileError: no finished run there, its data have changed, or a file that is not of its kind.
        ToolError: export=c, the default, and no compiler here builds the C; everything is written all the same.
    """
    variant = load_variant(config)
    needs_program(variant)
    named = variant.config.quant.named
    variant.config.quant = copy.deepcopy(config.quant)
    variant.config.quant.named |= named
    folder = RunFolder(variant.folder.path / "finetune" / _digest(config, variant))
    done = folder.finished()
    console = PlainConsole()
    if done is None:
        with folder.locked():
            done = folder.finished() or _finetuned(config, variant, folder)
    else:
        console.print(f"finished before, nothing to train: {folder.path}")
    console.print(summary(done, str(folder.path)))
    require_c(config, "c" in done["test_accuracy"])
    return done


def tuned_config(config: Config, settings: FinetuneConfig) -> Config:
    """Return the config of a run's fine-tuning: every epoch in the program's numbers, with gradients in floats."""
    tuned = copy.deepcopy(config)
    tuned.train.arithmetic, tuned.train.rounding = "float", "nearest"
    tuned.schedule.quantize_from, tuned.train.patience = 0.0, None
    tuned.train.epochs, tuned.train.lr, tuned.train.lr_schedule = settings.epochs, settings.lr, "cosine"
    return tuned


def _digest(config: Config, variant: Variant) -> str:
    pruned = None if config.pruning is None else asdict(read_structure(Path(config.pruning)))
    text = json.dumps([asdict(variant.config.quant), asdict(config.finetune), pruned])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _finetuned(config: Config, variant: Variant, folder: RunFolder) -> Record:
    started = time.monotonic()
    dataset, spec, start, record = variant.dataset, variant.spec, variant.weights, variant.record
    tuned = tuned_config(variant.config, config.finetune)
    folder.write_config(tuned)
    as_it_was = Fitted(start, record["epoch"], [], None, 0.0, {})
    before = measured(variant.config, dataset, spec, as_it_was, folder, keep=False)
    title = f"fine-tuning {spec.cell} on {dataset.name}"
    metrics = open_loggers(tuned, folder.path)
    with TrainingProgress(title, tuned.train.epochs, config.progress, tuned.train.metric) as progress:
        fitted = fit(tuned, dataset, spec, folder.checkpoints / "last.ckpt", to_all([progress, *metrics]), start)
    folder.save_best(fitted.state_dict)
    found = measured(tuned, dataset, spec, fitted, folder)
    found["before"] = {key: before[key] for key in ("val_accuracy", "test_accuracy", "flash_bytes")}
    found["wall_seconds"] = fitted.seconds_before + time.monotonic() - started
    found["data"]["content"] = record["data"]["content"]
    write_record(folder.path, found)
    say(found["doubts"])
    for logger in metrics:
        logger.finish(found)
    return found
