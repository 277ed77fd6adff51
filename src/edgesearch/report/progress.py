"""The progress bar of a training, one step an epoch, on standard error."""

from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class TrainingProgress:
    """A bar that shows epoch, phase, and the validation accuracy of the last epoch."""

    def __init__(self, title: str, epochs: int, shown: bool) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not shown,
        )
        self._task = self._bar.add_task(title, total=epochs, state="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def epoch(self, row: dict[str, Any]) -> None:
        """Advance to the row's epoch."""
        state = f"{row['phase']}, validation {100 * row['val_accuracy']:.1f} %, {row['nonzeros']} non-zeros"
        self._bar.update(self._task, completed=row["epoch"] + 1, state=state)
