"""What a result leaves in doubt, a line each: a majority's share, integers that lose, channels hardly resolved."""

import math
import warnings
from typing import Any

import numpy as np
import torch

from edgesearch.compress.calibrate import choose_tables
from edgesearch.compress.channels import coarse
from edgesearch.compress.graph import INPUT
from edgesearch.compress.lost import most_lost
from edgesearch.config import Config
from edgesearch.data import Dataset
from edgesearch.data.dataset import Ints, long_tails
from edgesearch.data.scores import Scores
from edgesearch.errors import EdgesearchWarning, ToolError
from edgesearch.measure.compiled import Skipped
from edgesearch.numerics.program import IntegerProgram
from edgesearch.pipeline.program import Compiled

_NORMAL = 1.96  # deviations within which 95 % of differences lie that mean nothing
_ROWS = 256  # windows on which the place of a loss is looked for
_SHOWN = 5  # classes


def doubt_majority(scores: Scores, majority: float, names: tuple[str, ...]) -> None:
    """Warn of an accuracy that answering one class always reaches, and of classes that are never found."""
    unseen = [names[c] for c, recall in enumerate(scores.recall) if recall == 0]
    listed = ", ".join(unseen[:_SHOWN]) + (", ..." if len(unseen) > _SHOWN else "")
    never = f"{'class' if len(unseen) == 1 else 'classes'} {listed} never found" if unseen else ""
    if scores.accuracy <= majority:
        found = f"a test accuracy must be above the most common class's share, {100 * majority:.2f} %, got "
        found += f"{100 * scores.accuracy:.2f} %{f', {never}' if never else ''}"
    elif never:
        found = f"every class should be found on test data, got {never}"
    else:
        return
    _warn(f"{found}; train longer, or set train.class_weights=balanced train.metric=balanced_accuracy")


def doubt_channels(program: IntegerProgram, dataset: Dataset) -> None:
    """Warn of channels of which the input's format resolves hardly anything."""
    given = program.values[INPUT].format
    frames = dataset.frames
    for channel in coarse(given, frames, dataset.std.astype(np.float64)):
        _warn(
            f"channel {channel} (from 0) has a deviation of {dataset.std[channel]:.3g}, of which {given.bits} bits "
            f"resolve steps of {2.0 ** -given.channel(channel)[0]:.3g}, as it reaches "
            f"{max(abs(frames.low[channel]), abs(frames.high[channel])):.3g}; clip it, give its logarithm, or set "
            "quant.activation_bits=16"
        )


def doubt_tails(dataset: Dataset) -> None:
    """Warn of the channels that a few values rule."""
    for channel, (deviation, within) in long_tails(dataset.train.x).items():
        _warn(
            f"channel {channel} (from 0) of data={dataset.name} has a deviation of {deviation:.3g}, but half of its "
            f"values lie within +-{within:.3g}: an error value or a long tail; take such values out, clip them, or "
            "give their logarithm"
        )


def doubt_integers(
    compiled: Compiled, dataset: Dataset, floats: Ints, integers: Ints, function_error: float
) -> dict[str, Any] | None:
    """Warn where integers answer worse than floats by more than the test rows explain; return where and what to try.

    Args:
        compiled: the program and its graph.
        dataset: the test rows, and the validation rows, on which the place is looked for.
        floats, integers: answers (N,) to the test rows.
        function_error: of the program's tables.
    """
    y = dataset.test.y
    worse, better = int(((floats == y) & (integers != y)).sum()), int(((floats != y) & (integers == y)).sum())
    bound = _NORMAL * math.sqrt(worse + better)
    if worse - better <= bound:
        return None
    x = torch.from_numpy(dataset.validation.x[:_ROWS]).transpose(0, 1)
    tables = choose_tables(compiled.graph, compiled.formats, function_error)
    lost = most_lost(compiled.graph, compiled.formats, tables, x)
    points, within = (100 * count / len(y) for count in (worse - better, bound))
    _warn(
        f"integers lose {points:.2f} points against floats, more than the {within:.2f} that the test rows explain: "
        f"most by the {lost.kind} of {lost.name}, {compiled.formats[lost.name]}; try {lost.remedy}"
    )
    return {"points": points, "explained": within, "value": lost.name, "kind": lost.kind, "try": lost.remedy}


def doubt_compilers(skipped: list[Skipped]) -> None:
    """Name the compiler variants that this machine cannot build."""
    for variant in skipped:
        _warn(f"{variant.name} is skipped: {variant.reason}; {variant.remedy}")


def require_c(config: Config, compared: bool) -> None:
    """End in an error where C was asked for and none could be compared.

    Raises:
        ToolError: export=c, and no compiler here builds it.
    """
    if config.export.name == "c" and not compared:
        raise ToolError("comparing C needs a compiler that builds it here, got none; install gcc, or set export=onnx")


def _warn(message: str) -> None:
    warnings.warn(message, EdgesearchWarning, stacklevel=3)
