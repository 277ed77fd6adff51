"""The progress bar of a training, one step an epoch, on standard error."""

from types import TracebackType
from typing import Any, Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TimeRemainingColumn

from edgesearch.report.console import PlainColumn, PlainConsole


class Bars:
    """Bars with a title, how much is done of what, a state in words and the time that is left."""

    def __init__(self, console: PlainConsole, shown: bool, metric: str) -> None:
        self._metric = metric
        self._bar = Progress(
            PlainColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            PlainColumn("{task.fields[state]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not shown,
        )

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def _advance(self, task: TaskID, row: dict[str, Any]) -> None:
        state = f"{row['phase']} {100 * row[f'val_{self._metric}']:.1f} %"
        self._bar.update(task, completed=row["epoch"] + 1, state=state)


class TrainingProgress(Bars):
    """A bar that shows epoch, phase and the last epoch's validation score."""

    def __init__(self, title: str, epochs: int, shown: bool, metric: str) -> None:
        super().__init__(PlainConsole(stderr=True), shown, metric)
        self._task = self._bar.add_task(title, total=epochs, state="")

    def epoch(self, row: dict[str, Any]) -> None:
        """Advance to the row's epoch."""
        self._advance(self._task, row)
