"""Names from strangers' files in tables and progress bars: words, never markup or commands to the terminal."""

import io
import re
from pathlib import Path

import pytest
from rich.progress import Progress
from rich.table import Table

import edgesearch
from edgesearch.report.console import PlainColumn, PlainConsole

NAMES = ["[red]name[/red]", "[link=https://x]y[/link]", "[/]", ":smile:", "\x1b[31mred", "a\rb", "abc\u202edef"]


def printed(what: object) -> str:
    console = PlainConsole()
    console.file = io.StringIO()
    console.print(what)
    return console.file.getvalue()


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_printed_as_it_is(name: str) -> None:
    table = Table(title=name, caption=name)
    table.add_column(name)
    table.add_row(name)
    visible = name.replace("\x1b", r"\x1b").replace("\r", r"\r").replace("\u202e", r"\u202e")
    text = printed(table)
    assert text.count(visible) == 4
    assert not re.search("[\x1b\r\u202e]", text)
    assert printed(name).strip() == visible


@pytest.mark.parametrize("name", NAMES)
def test_so_it_is_in_a_progress_bar(name: str) -> None:
    console = PlainConsole()
    console.file = io.StringIO()
    with Progress(PlainColumn("{task.description}"), console=console) as bar:
        bar.add_task(name)
    assert name.replace("\x1b", r"\x1b").replace("\r", r"\r").replace("\u202e", r"\u202e") in console.file.getvalue()


def test_nothing_prints_on_another_console() -> None:
    package = Path(edgesearch.__file__).parent
    for part in ("pipeline", "search", "report"):
        for path in (package / part).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            if path.name != "console.py":
                assert not re.search(r"(?<!Plain)Console\(|\bTextColumn\(", text), path
            assert not re.search(r"\bprint\((?!printable)", re.sub(r"\.print\(", "", text)), path
