"""Where tables and lines are printed: names from files, records and studies are words there, never markup."""

from typing import Any

from rich.console import Console
from rich.progress import Task, TextColumn
from rich.text import Text

from edgesearch.plain import printable


class PlainConsole(Console):
    """A console without markup, to which a control character is a few visible ones.

    Args:
        stderr: print on standard error.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """Turn a string into text; every string that is printed, of a table too, comes here."""
        return super().render_str(printable(text, keep="\n"), **options | {"markup": False, "emoji": False})


class PlainColumn(TextColumn):
    """A column of a progress bar for words of any origin; `template` is formatted with the `task`."""

    def __init__(self, template: str) -> None:
        super().__init__(template, markup=False)

    def render(self, task: Task) -> Text:
        """Return the words."""
        return Text(printable(self.text_format.format(task=task)))
