"""What a result leaves in doubt, a line each: a majority's share, integers that lose, channels hardly resolved.

Each function returns lines; `say` warns of them.
"""

import math
import warnings
from collections.abc import Sequence
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
from edgesearch.report.record import Record
from edgesearch.report.shares import NORMAL

_FEW = 5  # test rows of a class, below which nothing follows from its being missed
_NARROW = 8  # bits of a frame that can be more
_ROWS = 256  # windows on which the place of a loss is looked for
_SHOWN = 5  # classes


def say(doubts: Sequence[str], about: str = "") -> None:
    """Warn of each, as of `about`."""
    for doubt in doubts:
        warnings.warn(f"{about}{': ' if about else ''}{doubt}", EdgesearchWarning, stacklevel=2)


def doubt_majority(scores: Scores, majority: float, names: Sequence[str]) -> list[str]:
    """Tell of an accuracy that answering one class always reaches, and of classes that are never found."""
    if scores.accuracy == 1:
        return []
    rows = scores.confusion.sum(axis=1)
    unseen = [names[c] for c, recall in enumerate(scores.recall) if recall == 0 and rows[c] >= _FEW]
    listed = ", ".join(unseen[:_SHOWN]) + (", ..." if len(unseen) > _SHOWN else "")
    never = f"{'class' if len(unseen) == 1 else 'classes'} {listed} never found" if unseen else ""
    if scores.accuracy <= majority:
        found = f"a test accuracy must be above the most common class's share, {100 * majority:.2f} %, got "
        found += f"{100 * scores.accuracy:.2f} %{f', {never}' if never else ''}"
    elif never:
        found = f"every class should be found on test data, got {never}"
    else:
        return []
    return [f"{found}; train longer, or set train.class_weights=balanced train.metric=balanced_accuracy"]


def doubt_channels(program: IntegerProgram, dataset: Dataset) -> list[str]:
    """Tell of channels of which the input's format resolves hardly anything."""
    given, frames = program.values[INPUT].format, dataset.frames
    more = "" if given.bits > _NARROW else ", or set quant.activation_bits=16"
    return [
        f"channel {channel} (from 0) has a deviation of {dataset.std[channel]:.3g}, of which {given.bits} bits "
        f"resolve steps of {2.0 ** -given.channel(channel)[0]:.3g}, as it reaches "
        f"{max(abs(frames.low[channel]), abs(frames.high[channel])):.3g}; clip it, give its logarithm{more}"
        for channel in coarse(given, frames, dataset.std.astype(np.float64))
    ]


def doubt_tails(dataset: Dataset) -> list[str]:
    """Tell of the channels that a few values rule."""
    return [
        f"channel {channel} (from 0) of data={dataset.name} has a deviation of {deviation:.3g}, but half of its "
        f"values lie within +-{within:.3g}: an error value or a long tail; take such values out, clip them, or "
        "give their logarithm"
        for channel, (deviation, within) in long_tails(dataset.train.x).items()
    ]


def where_lost(
    compiled: Compiled, dataset: Dataset, floats: Ints, integers: Ints, function_error: float
) -> dict[str, Any] | None:
    """Return where integers lose and what to try, if they answer worse than floats by more than the test rows explain.

    Args:
        compiled: the program and its graph.
        dataset: the test rows, and the validation rows, on which the place is looked for.
        floats, integers: answers (N,) to the test rows.
        function_error: of the program's tables.
    """
    y = dataset.test.y
    worse, better = int(((floats == y) & (integers != y)).sum()), int(((floats != y) & (integers == y)).sum())
    bound = NORMAL * math.sqrt(worse + better)
    if worse - better <= bound:
        return None
    x = torch.from_numpy(dataset.validation.x[:_ROWS]).transpose(0, 1)
    tables = choose_tables(compiled.graph, compiled.formats, function_error)
    lost = most_lost(compiled.graph, compiled.formats, tables, x)
    points, explained = (100 * count / len(y) for count in (worse - better, bound))
    found = {"points": points, "explained": explained, "value": lost.name, "format": str(compiled.formats[lost.name])}
    return found | {"kind": lost.kind, "try": lost.remedy}


def doubt_integers(lost: Record | None) -> list[str]:
    """Tell what `where_lost` found."""
    if lost is None:
        return []
    return [
        f"integers lose {lost['points']:.2f} points against floats, more than the {lost['explained']:.2f} that the "
        f"test rows explain: most by the {lost['kind']} of {lost['value']}, {lost['format']}; try {lost['try']}"
    ]


def doubt_compilers(skipped: Sequence[Skipped]) -> list[str]:
    """Name the compiler variants that this machine cannot build."""
    return [f"{variant.name} is skipped: {variant.reason}; {variant.remedy}" for variant in skipped]


def require_c(config: Config, compared: bool) -> None:
    """End in an error where C was asked for and none could be compared.

    Raises:
        ToolError: export=c, and no compiler here builds it.
    """
    if config.export.name == "c" and not compared:
        raise ToolError(
            "comparing C needs a compiler that builds it here, got none; install gcc, or ask for none: set export=onnx"
        )
