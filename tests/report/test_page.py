"""A study's report from strangers' names: every one is text, in elements, attributes and notes of the pointer."""

import dataclasses
import json
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from edgesearch.report.page import page, write_page
from edgesearch.report.study import ProgramView, StudyView, TrialView

RECORD = json.loads(
    next((Path(__file__).parents[1] / "fixtures/v0_1/outputs/search/tiny").glob("study.json")).read_text()
)["best"]
HOSTILE = (
    "<script>alert(1)</script>", "</script><img src=x onerror=alert(1)>", '" onload="alert(1)', "' onload='alert(1)",
    "</style><b>", "</title><i>", "a & b &lt; c", "<!--", "]]>", "\u202e\x1b[31m", "\udcff",
)  # fmt: skip
TAGS = {
    "html", "head", "meta", "title", "style", "body", "main", "div", "script", "header", "h1", "h2", "p", "b", "dl",
    "dt", "dd", "section", "svg", "line", "text", "circle", "polyline", "ul", "li", "i", "table", "thead", "tbody",
    "tr", "th", "td", "code",
}  # fmt: skip


class Reader(HTMLParser):
    """What a browser makes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags, self.attributes, self.texts = set[str](), set[str](), list[str]()
        self.scripts, self.comments = list[str](), list[str]()
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._inside = tag
        for name, value in attrs:
            self.attributes.add(name)
            self.texts.append(value or "")

    def handle_data(self, data: str) -> None:
        (self.scripts if self._inside == "script" else self.texts).append(data)

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


def named(name: str) -> StudyView:
    """A study that has the name wherever a name can be."""
    record: dict[str, Any] = json.loads(json.dumps(RECORD))
    record["data"]["class_names"] = [name] * len(record["data"]["class_names"])
    record["formats"] = {name: name}
    record["encodings"] = {name: name}
    record["command"] = [name]
    record["folder"] = name
    program = ProgramView(0, 8, 8, 500, 40, 600, 0.5, 1.0, tuned=False, fits=True)
    wider = dataclasses.replace(program, weight_bits=16, flash_bytes=900, val_accuracy=0.7)
    curve = (("dense", 0.1, 2.0), ("iht", 0.5, 1.0), ("retrain", 0.7, 0.5))
    trials = (
        TrialView(0, "trained", {name: name, "x": 1}, programs=(program, wider), curve=curve, float_accuracy=0.7),
        TrialView(1, "trained", {name: f"{name}2", "x": 3}, programs=(program,), curve=curve, float_accuracy=0.6),
        TrialView(2, name, {name: name}, reason=name),
    )
    summary = {"study": name, "best": record, "front": [record], "seconds": 3.0, "trained": 2}
    return StudyView(name, name, name, {"flash_bytes": 1000}, "accuracy", trials, summary)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_is_more_than_text(name: str, tmp_path: Path) -> None:
    write_page(named(name), tmp_path / "report.html")
    read, harmless = Reader(), Reader()
    read.feed((tmp_path / "report.html").read_text("utf-8"))
    harmless.feed(page(named("plain")))
    assert read.tags == harmless.tags <= TAGS
    assert read.attributes == harmless.attributes
    assert not any(attribute.startswith("on") for attribute in read.attributes)
    assert read.comments == []
    (script,) = read.scripts
    assert script == files("edgesearch.report").joinpath("assets", "report.js").read_text("utf-8")
    shown = name.encode("utf-8", "backslashreplace").decode("utf-8")
    places = sum(shown in text for text in read.texts)
    assert places == sum("plain" in text for text in harmless.texts)
    assert places >= 30
