"""task=finetune: a finished run's weights, trained on in the numbers of the integer program."""

import copy
import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

from edgesearch.atomic import check_no_link
from edgesearch.config import Config, FinetuneConfig
from edgesearch.pipeline.doubts import require_c
from edgesearch.pipeline.folder import RunFolder
from edgesearch.pipeline.lifecycle import Training, trained_once
from edgesearch.pipeline.measured import measured
from edgesearch.pipeline.variant import Variant, load_variant, needs_program, read_structure
from edgesearch.report.console import PlainConsole
from edgesearch.report.record import Record
from edgesearch.report.tables import summary
from edgesearch.training.fit import Fitted


def finetune(config: Config) -> Record:
    """Train the run that `config.run` names for `finetune.epochs` more, in the program's numbers; zeros stay zero.

    The widths are those of `config.quantization`, or else of `quant`; what `config.pruning` has removed stays away. The
    result has a folder of its own, RUN/finetune/HASH. Its record holds the accuracies before, at the same widths, under
    `before`.

    Raises:
        ModelFileError: no finished run there, its data have changed, or a file that is not of its kind.
        TrainingError: the training failed, which the folder's record says too.
        ToolError: export=c, the default, and no compiler here builds the C; everything is written all the same.
    """
    variant = load_variant(config)
    needs_program(variant)
    named = variant.config.quant.named
    variant.config.quant = copy.deepcopy(config.quant)
    variant.config.quant.named |= named
    folder = RunFolder(variant.folder.path / "finetune" / _digest(config, variant))
    check_no_link(variant.folder.path, folder.path)
    done = trained_once(folder, lambda: _prepared(config, variant, folder))
    PlainConsole().print(summary(done, str(folder.path)))
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


def _prepared(config: Config, variant: Variant, folder: RunFolder) -> Training:
    dataset, spec, record = variant.dataset, variant.spec, variant.record

    def before() -> Record:
        as_it_was = Fitted(variant.weights, record["epoch"], [], None, 0.0, {})
        found = measured(variant.config, dataset, spec, as_it_was, folder, keep=False)
        return {"before": {key: found[key] for key in ("val_accuracy", "test_accuracy", "flash_bytes")}}

    return Training(
        config=replace(tuned_config(variant.config, config.finetune), progress=config.progress),
        dataset=dataset,
        spec=spec,
        content=record["data"]["content"],
        title=f"fine-tuning {spec.cell} on {dataset.name}",
        start=variant.weights,
        before=before,
    )
