"""The display of a search, on standard error: a bar for the study, one for the training under way."""

from typing import Any

from edgesearch.report.console import PlainConsole
from edgesearch.report.progress import Bars


class SearchProgress(Bars):
    """Trials done, the best score so far, configurations that cannot fit, and the time that is left.

    Where standard error is no terminal, a line a trial instead of bars.
    """

    def __init__(self, name: str, trials: int, shown: bool, metric: str) -> None:
        self._console = PlainConsole(stderr=True)
        self._lines = shown and not self._console.is_terminal
        super().__init__(self._console, shown and not self._lines, metric)
        self._name, self._trials = name, trials
        self._study = self._bar.add_task(name, total=trials, state="")
        self._trial = self._bar.add_task("", total=None, state="", visible=False)

    def study(self, done: int, best: float | None, infeasible: int, pruned: int) -> None:
        """Show where the study is."""
        state = f"best {'-' if best is None else f'{100 * best:.2f} %'}, {infeasible} infeasible, {pruned} pruned"
        self._bar.update(self._study, completed=done, state=state)
        if self._lines:
            self._console.print(f"{self._name}: {done} of {self._trials} trials, {state}", soft_wrap=True)

    def begin(self, number: int, epochs: int) -> None:
        """Show a training that begins."""
        self._bar.reset(self._trial, total=epochs, description=f"trial {number}", state="", visible=True)

    def phase(self, title: str) -> None:
        """Show what follows the trials."""
        self._bar.reset(self._trial, total=None, description=title, state="", visible=True)

    def epoch(self, row: dict[str, Any]) -> None:
        """Advance the training to the row's epoch."""
        self._advance(self._trial, row)
