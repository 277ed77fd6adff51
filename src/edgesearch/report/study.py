"""A study as plain values: what its HTML report and its Weights & Biases summary are made of."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from edgesearch.report.record import Record

RULE = (
    "best: of the programs that no other one beats in both flash and validation score, and that are within one "
    "standard error of the best score, the one of least validation loss; of equals the smaller"
)
Curve = tuple[tuple[str, float, float], ...]


@dataclass(frozen=True)
class ProgramView:
    """An integer program of a trial, measured on validation data; `fits` the budget or not.

    `val_score` is its value by `train.metric`, None where that is the accuracy.
    """

    trial: int
    weight_bits: int
    activation_bits: int
    flash_bytes: int
    ram_bytes: int
    macs: int
    val_accuracy: float
    val_loss: float
    tuned: bool
    fits: bool
    val_score: float | None = None

    @property
    def score(self) -> float:
        """What it is chosen by."""
        return self.val_accuracy if self.val_score is None else self.val_score

    @property
    def label(self) -> str:
        """What a reader is told of it."""
        tuned = ", fine-tuned" if self.tuned else ""
        return (
            f"trial {self.trial}: {100 * self.score:.2f} %, {self.flash_bytes:,} bytes, "
            f"{self.weight_bits}-bit weights, {self.activation_bits}-bit activations{tuned}"
        )


@dataclass(frozen=True)
class TrialView:
    """A trial: how it ended (`trained`, `pruned`, `failed`, `infeasible`, `repeated`, or `running`), and what it gave.

    `curve` has the phase, validation accuracy and training loss of each epoch.
    """

    number: int
    kind: str
    params: dict[str, Any]
    reason: str = ""
    float_accuracy: float | None = None
    programs: tuple[ProgramView, ...] = ()
    curve: Curve = ()

    @property
    def best(self) -> ProgramView | None:
        """The most accurate program that fits."""
        fitting = [program for program in self.programs if program.fits]
        return max(fitting, key=lambda p: (p.score, -p.flash_bytes), default=None)


@dataclass(frozen=True)
class StudyView:
    """A study as its reports need it.

    Attributes:
        limits: what the model may take of each limit of the budget.
        metric: what programs are chosen by.
        summary: study.json, once the search has ended.
    """

    name: str
    objective: str
    about: str
    limits: dict[str, int]
    metric: str
    trials: tuple[TrialView, ...]
    summary: Record | None

    @property
    def words(self) -> str:
        """The metric, for people."""
        return in_words(self.metric)

    @property
    def programs(self) -> list[ProgramView]:
        """Every program of every trial."""
        return [program for trial in self.trials for program in trial.programs]

    def kinds(self) -> dict[str, int]:
        """How many trials ended how."""
        found: dict[str, int] = {}
        for trial in self.trials:
            found[trial.kind] = found.get(trial.kind, 0) + 1
        return found


def in_words(metric: str) -> str:
    """Return the name of a metric for people."""
    return metric.replace("_", " ").replace("f1", "F1")


class Placed(Protocol):
    """What has a place in the trade-off."""

    @property
    def flash_bytes(self) -> int:
        """Flash."""

    @property
    def ram_bytes(self) -> int:
        """RAM."""

    @property
    def score(self) -> float:
        """What it is worth on validation data."""


P = TypeVar("P", bound=Placed)


def front(programs: Iterable[P]) -> list[P]:
    """Return the programs that no other one beats in flash and score, by growing flash; of equals the smaller."""
    best: list[P] = []
    for program in sorted(programs, key=lambda p: (p.flash_bytes, -p.score, p.ram_bytes)):
        if not best or program.score > best[-1].score:
            best.append(program)
    return best
