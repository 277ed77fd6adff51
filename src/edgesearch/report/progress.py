"""The progress bar of a training, one step an epoch, on standard error."""

from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class TrainingProgress:
    """A bar that shows epoch, phase and the last epoch's validation accuracy."""

    def __init__(self, title: str, epochs: int, shown: bool) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
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
        state = f"{row['phase']} {100 * row['val_accuracy']:.1f} %"
        self._bar.update(self._task, completed=row["epoch"] + 1, state=state)
