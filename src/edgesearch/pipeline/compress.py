"""task=compress: the whole chain: train, quantize, prune, profile, fine-tune with both, test."""

from dataclasses import replace
from pathlib import Path

from edgesearch.config import Config
from edgesearch.data import source_digest
from edgesearch.pipeline.finetune import finetune
from edgesearch.pipeline.folder import RunFolder
from edgesearch.pipeline.profile import profile
from edgesearch.pipeline.prune import prune
from edgesearch.pipeline.quantize import quantize
from edgesearch.pipeline.test import test
from edgesearch.pipeline.train import train
from edgesearch.pipeline.variant import PRUNING, QUANTIZATION
from edgesearch.report.record import Record


def compress(config: Config) -> Record:
    """Run the chain with one command; each step prints its table. Return the record of the fine-tuned program.

    The widths are found first, and then what can be removed of the quantised model.

    Raises:
        EdgesearchError: as the steps do.
    """
    train(config)
    run = RunFolder.of(config, source_digest(config.data)).path
    alone = replace(config, run=str(run))
    quantize(alone)
    quantized = replace(alone, quantization=str(run / QUANTIZATION))
    prune(quantized)
    both = replace(quantized, pruning=str(run / PRUNING))
    profile(both)
    record = finetune(both)
    test(replace(alone, run=str(Path(run) / "finetune" / record["config_hash"])))
    return record
