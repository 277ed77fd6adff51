"""A study as plain values: what its HTML report and its Weights & Biases summary are made of."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from edgesearch.report.record import Record

Curve = tuple[tuple[str, float, float], ...]


@dataclass(frozen=True)
class ProgramView:
    """An integer program of a trial, measured on validation data; `fits` the budget or not."""

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

    @property
    def label(self) -> str:
        """What a reader is told of it."""
        tuned = ", fine-tuned" if self.tuned else ""
        return (
            f"trial {self.trial}: {100 * self.val_accuracy:.2f} %, {self.flash_bytes:,} bytes, "
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
        return max(fitting, key=lambda p: (p.val_accuracy, -p.flash_bytes), default=None)


@dataclass(frozen=True)
class StudyView:
    """A study with its budget (what the model may take of each limit), its trials, and study.json once it has ended."""

    name: str
    objective: str
    about: str
    limits: dict[str, int]
    trials: tuple[TrialView, ...]
    summary: Record | None

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


class Placed(Protocol):
    """What has a place in the trade-off."""

    @property
    def flash_bytes(self) -> int:
        """Flash."""

    @property
    def ram_bytes(self) -> int:
        """RAM."""

    @property
    def val_accuracy(self) -> float:
        """Accuracy on validation data."""


P = TypeVar("P", bound=Placed)


def front(programs: Iterable[P]) -> list[P]:
    """Return the programs that no other one beats in flash and accuracy, by growing flash."""
    best: list[P] = []
    for program in sorted(programs, key=lambda p: (p.flash_bytes, -p.val_accuracy, p.ram_bytes)):
        if not best or program.val_accuracy > best[-1].val_accuracy:
            best.append(program)
    return best
