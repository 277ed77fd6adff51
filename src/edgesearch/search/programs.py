"""The second level: one trained model, an integer program for every pair of bit widths, measured on validation data."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from edgesearch.budget import Size, over_budget
from edgesearch.cells.classifier import build_classifier
from edgesearch.compress import calibrate
from edgesearch.compress.calibrate import choose_formats, observe
from edgesearch.compress.finetune import raw_graph
from edgesearch.compress.program import compile_program
from edgesearch.config import BudgetConfig
from edgesearch.data.scores import Scores
from edgesearch.export.layout import ram_bytes
from edgesearch.numerics.format import Format
from edgesearch.numerics.program import IntegerProgram
from edgesearch.pipeline.program import compile_classifier, outcome
from edgesearch.report.study import front
from edgesearch.search.configurations import Proposal
from edgesearch.training.callbacks import calibration_rows

_ROWS = 512  # windows at once


@dataclass(frozen=True)
class Point:
    """An integer program of a trained model: bit widths, what it costs, accuracy and loss on validation data.

    `val_score` is its value by `train.metric`, None where that is the accuracy.
    """

    weight_bits: int
    activation_bits: int
    flash_bytes: int
    ram_bytes: int
    macs: int
    val_accuracy: float
    val_loss: float
    tuned: bool = False
    val_score: float | None = None

    @property
    def score(self) -> float:
        """What it is chosen by."""
        return self.val_accuracy if self.val_score is None else self.val_score

    @property
    def size(self) -> Size:
        """What it costs."""
        return Size(self.flash_bytes, self.ram_bytes, self.macs)

    def fits(self, budget: BudgetConfig) -> bool:
        """Tell whether it keeps every limit."""
        return not over_budget(self.size, budget)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        found = asdict(self)
        if self.val_score is None:
            del found["val_score"]
        return found


def points(proposal: Proposal, weights: dict[str, Tensor], widths: Sequence[tuple[int, int]]) -> list[Point]:
    """Return the programs of a model that was trained in floats, one for each (weight, activation) width."""
    config, dataset = proposal.config, proposal.dataset
    model = build_classifier(proposal.spec, "eager")
    model.load_state_dict(weights)
    graph = raw_graph(model, dataset.steps, torch.from_numpy(dataset.mean), torch.from_numpy(dataset.std))
    ranges = observe(graph, torch.split(calibration_rows(dataset, config.quant), _ROWS, dim=1))
    found = []
    for weight_bits, activation_bits in widths:
        wanted = calibrate.Widths(weight_bits, activation_bits, config.quant.range, config.quant.function_error)
        program = compile_program(graph, choose_formats(graph, ranges, wanted), config.quant.function_error)
        found.append(_point(proposal, program, weight_bits, activation_bits, tuned=False))
    return found


def tuned_point(proposal: Proposal, weights: dict[str, Tensor], formats: dict[str, Format]) -> Point:
    """Return the program of a model that was trained in these formats."""
    model = build_classifier(proposal.spec, "eager")
    model.load_state_dict(weights)
    quant = proposal.config.quant
    program = compile_classifier(proposal.config, proposal.dataset, model, formats).program
    return _point(proposal, program, quant.weight_bits, quant.activation_bits, tuned=True)


def _point(
    proposal: Proposal, program: IntegerProgram, weight_bits: int, activation_bits: int, *, tuned: bool
) -> Point:
    validation = proposal.dataset.validation
    found = outcome(program, validation)
    scores, metric = Scores.of(found.answers, validation.y, proposal.dataset.classes), proposal.config.train.metric
    logits = torch.from_numpy(program.format(program.logits).numbers(found.logits))
    return Point(
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        flash_bytes=program.flash_bytes,
        ram_bytes=ram_bytes(program),
        macs=program.macs,
        val_accuracy=scores.accuracy,
        val_loss=round(float(cross_entropy(logits, torch.from_numpy(validation.y))), 5),
        tuned=tuned,
        val_score=None if metric == "accuracy" else scores.score(metric),
    )


def hypervolume(found: Iterable[tuple[int, float]], limit: int, least: float) -> float:
    """Return the area that (flash, accuracy) pairs dominate.

    Args:
        found: flash in bytes, accuracy as a fraction.
        limit: flash from which a program is worth nothing; flash counts in powers of two below it.
        least: accuracy up to which a program is worth nothing.
    """
    area, reached = 0.0, least
    inside = sorted((pair for pair in set(found) if pair[0] < limit and pair[1] > least), key=lambda p: (p[0], -p[1]))
    for flash, accuracy in inside:
        if accuracy > reached:
            area += (accuracy - reached) * math.log2(limit / flash)
            reached = accuracy
    return area


def representative(own: Sequence[Point], others: Sequence[Point], least: float) -> Point:
    """Return the point of one model that adds most to the front of the others: its place in the trade-off.

    Where none adds anything it is the one that is worth most alone.
    """
    limit = 2 * max(point.flash_bytes for point in (*own, *others))
    known = [(point.flash_bytes, point.score) for point in others]

    def worth(point: Point) -> tuple[float, float]:
        pair = (point.flash_bytes, point.score)
        return hypervolume([*known, pair], limit, least), hypervolume([pair], limit, least)

    return max(own, key=worth)


def most_accurate(found: Sequence[Point]) -> Point:
    """Return the most accurate point, of equals that of least loss."""
    return max(found, key=lambda point: (point.score, -point.val_loss, -point.flash_bytes))


def chosen(found: Sequence[Point], rows: int) -> Point:
    """Return the point to trust: of the front within one standard error of the best score, that of least loss.

    The highest of many scores on the same rows is in part luck; the loss sees more of a row than right or wrong. What
    another point beats in both flash and score is never chosen, and of equals the smaller is.

    Args:
        found: the programs to choose from.
        rows: of validation data.
    """
    best = most_accurate(found).score
    error = math.sqrt(best * (1 - best) / rows)
    return min((p for p in front(found) if p.score >= best - error), key=lambda p: (p.val_loss, p.flash_bytes))


def chance(classes: int) -> float:
    """Accuracy of a guess."""
    return float(np.reciprocal(float(classes)))
