"""From a trained classifier to its integer program, and the accuracy of every level on the way to C."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edgesearch.cells.classifier import AnyClassifier
from edgesearch.compress.calibrate import Widths, choose_tables
from edgesearch.compress.executor import Executor
from edgesearch.compress.finetune import calibrated, raw_graph
from edgesearch.compress.graph import Graph
from edgesearch.compress.program import compile_program
from edgesearch.config import Config
from edgesearch.data import Dataset
from edgesearch.data.dataset import Split
from edgesearch.errors import ModelFileError
from edgesearch.export.files import FRONT_END
from edgesearch.measure.compiled import Variant, builds, compare, wanted
from edgesearch.numerics.format import Format, Ints
from edgesearch.numerics.interpreter import Outcome, input_integers, run
from edgesearch.numerics.program import IntegerProgram
from edgesearch.training.callbacks import calibration_rows

_ROWS = 512  # windows at once


@dataclass(frozen=True)
class Compiled:
    """A program with the graph and formats it came from."""

    program: IntegerProgram
    graph: Graph
    formats: dict[str, Format]


def compile_classifier(
    config: Config, dataset: Dataset, model: AnyClassifier, formats: dict[str, Format] | None = None
) -> Compiled:
    """Return a classifier's program, which takes frames in the data's raw units.

    `formats` are those that it was trained in; without them they are found by calibration on training rows.

    Raises:
        ConfigError: a model that has no integer form.
    """
    graph = raw_graph(model, dataset.steps, torch.from_numpy(dataset.mean), torch.from_numpy(dataset.std))
    if not formats:
        formats = calibrated(graph, calibration_rows(dataset, config.quant), Widths.of(config.quant))
    about = {"cell": config.cell.name, "data": config.data.name}
    if dataset.front_end is not None:
        about[FRONT_END] = dataset.front_end
    program = compile_program(graph, formats, config.quant.function_error, about, dataset.class_names)
    return Compiled(program, graph, formats)


def recompiled(program: IntegerProgram, dataset: Dataset, model: AnyClassifier) -> Compiled:
    """Return the graph of a classifier in the formats of a program that was compiled from it.

    Raises:
        ModelFileError: the program's constants are not the classifier's.
    """
    graph = raw_graph(model, dataset.steps, torch.from_numpy(dataset.mean), torch.from_numpy(dataset.std))
    formats = {name: program.format(name) for name in (*program.values, *program.constants)}
    if formats.keys() != graph.roles.keys():
        raise ModelFileError("the program is of another model than the weights beside it; train the run again")
    return Compiled(program, graph, formats)


def fake_quant_answers(compiled: Compiled, split: Split, function_error: float) -> Ints:
    """Return the answers (N,) of the fake-quantised forward pass on raw rows."""
    tables = choose_tables(compiled.graph, compiled.formats, function_error)
    executor = Executor(compiled.graph, compiled.formats, tables)
    with torch.no_grad():
        return np.concatenate([executor(x).argmax(dim=1).numpy() for x in _batches(split)])


def outcome(program: IntegerProgram, split: Split) -> Outcome:
    """Return what the interpreter makes of raw rows."""
    return run(program, integers(program, split))


def integers(program: IntegerProgram, split: Split) -> Ints:
    """Return a split's rows as the program's input (T, N, D)."""
    return input_integers(program, split.x.transpose(1, 0, 2).astype(np.float64))


def compared_in_c(program: IntegerProgram, split: Split, which: Sequence[Variant]) -> list[str]:
    """Run each compiled variant on raw rows; return their names, all of which answer as the interpreter does.

    Raises:
        DifferenceError: one differs from the interpreter in any operation.
    """
    return list(compare(program, integers(program, split), which))


def fastest() -> list[Variant]:
    """Return the one variant that is quickest to build and run, none where this machine builds none."""
    return list(itertools.islice((v for v in wanted() if "-O2" in v.flags and builds(v)), 1))


def _batches(split: Split) -> list[Tensor]:
    """Raw sequences (T, B, D)."""
    return [x.transpose(0, 1) for x in torch.split(torch.from_numpy(split.x), _ROWS)]
