"""task=quantize: the narrowest bit widths of a finished run, group by group and then together."""

import torch
from omegaconf import OmegaConf

from edgesearch.atomic import write_text
from edgesearch.compress.calibrate import Widths, observe
from edgesearch.compress.finetune import raw_graph
from edgesearch.compress.groups import narrow
from edgesearch.config import Config
from edgesearch.errors import ConfigError
from edgesearch.numerics.program import IntegerProgram
from edgesearch.pipeline.doubts import require_c
from edgesearch.pipeline.program import compared_in_c, fastest, outcome
from edgesearch.pipeline.variant import QUANTIZATION, load_variant, needs_program
from edgesearch.report.compression import narrowing
from edgesearch.report.console import PlainConsole
from edgesearch.report.record import Record
from edgesearch.training.callbacks import calibration_rows

_ROWS = 512  # windows at once


def quantize(config: Config) -> Record:
    """Narrow the run that `config.run` names, pruned where `config.pruning` says so; write RUN/quantization.yml.

    Ranges come from training rows, accuracies (or what else the run's `train.metric` says) from validation rows. The C
    of the narrowed program is compared on these.

    Raises:
        ModelFileError: no finished run there.
        ConfigError: a run without an integer program.
        DifferenceError: the C differs.
        ToolError: export=c, the default, and no compiler here builds it.
    """
    if config.quantization is not None:
        raise ConfigError("task=quantize makes a quantization, it takes none; leave quantization out")
    variant = load_variant(config)
    needs_program(variant)
    dataset, quant = variant.dataset, config.quant
    mean, std = torch.from_numpy(dataset.mean), torch.from_numpy(dataset.std)
    graph = raw_graph(variant.model(), dataset.steps, mean, std)
    ranges = observe(graph, torch.split(calibration_rows(dataset, quant), _ROWS, dim=1))

    def accuracy(program: IntegerProgram) -> float:
        return variant.score(outcome(program, dataset.validation).answers)

    metric = variant.config.train.metric
    reference = variant.evaluated(on_test=False).score(metric)
    found = narrow(graph, ranges, Widths.of(quant), accuracy, reference, quant.error_margin / 100)
    path = variant.folder.path / QUANTIZATION
    written = {"cell": variant.spec.cell, "pruning": config.pruning, "metric": metric} | found.to_yaml()
    write_text(path, OmegaConf.to_yaml(OmegaConf.create(written)))
    console = PlainConsole()
    console.print(narrowing(written))
    console.print(f"written to {path}", soft_wrap=True)
    compared = compared_in_c(found.program, dataset.validation, fastest())
    console.print("".join(f"C, {name}: no difference on the validation rows" for name in compared))
    require_c(config, bool(compared))
    return variant.record
