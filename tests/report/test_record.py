"""record.json: written whole or not at all, read without trust."""

import copy
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgesearch.errors import ModelFileError
from edgesearch.report import shape
from edgesearch.report.console import PlainConsole
from edgesearch.report.record import metric_of, read_record, read_summary, write_record
from edgesearch.report.shape import COUNT, NUMBER, SHARE, TEXT, WHOLE, fault
from edgesearch.report.tables import comparison, confusion, study_summary, summary, with_best

OLD = Path(__file__).parents[1] / "fixtures" / "v0_1" / "outputs"
RECORDS = sorted(OLD.rglob("record.json"))
STUDY = OLD / "search" / "digits-fastgrnn-none"
WRONG: tuple[Any, ...] = (..., None, "x", -1, 10**400, [], {}, [[]], {"x": "y"})


def test_a_record_survives_its_file(tmp_path: Path) -> None:
    record = {"status": "failed", "test_accuracy": {"float": 0.5}}
    assert read_record(tmp_path) is None
    write_record(tmp_path, record)
    assert read_record(tmp_path) == record
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


def test_what_is_not_json_is_not_written(tmp_path: Path) -> None:
    write_record(tmp_path, {"status": "failed"})
    with pytest.raises(ValueError, match="Out of range float"):
        write_record(tmp_path, {"status": "finished", "loss": float("nan")})
    assert read_record(tmp_path) == {"status": "failed"}


@pytest.mark.parametrize(
    "content",
    [
        b"{", b"[]", b'{"epoch": 1}', b'{"status": "finished"}', b'{"status": 3}', b'{"status": ["finished"]}', b"null",
        b'"finished"', b"", b"\xff\xfe", b'{"status": NaN}', b'{"status": "finished", "epoch": Infinity}',
        b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5000,
    ],
    ids=lambda content: content[:20].decode("latin-1"),
)  # fmt: skip
def test_a_damaged_record_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "record.json").write_bytes(content)
    with pytest.raises(ModelFileError, match=r"record\.json is not") as caught:
        read_record(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_too_large_or_none_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "record.json").open("wb") as file:
        file.truncate(100 << 20)
    with pytest.raises(ModelFileError, match="it has 100 MiB, more than 16 MiB"):
        read_record(tmp_path)
    (tmp_path / "record.json").unlink()
    os.mkfifo(tmp_path / "record.json")
    with pytest.raises(ModelFileError, match="it is no regular file"):
        read_record(tmp_path)
    (tmp_path / "record.json").unlink()
    (tmp_path / "record.json").mkdir()
    with pytest.raises(ModelFileError, match="it is no regular file"):
        read_record(tmp_path)
    assert read_record(tmp_path / "record.json" / "deeper") is None


def show(record: dict[str, Any]) -> None:
    """What is printed of a record."""
    console = PlainConsole()
    console.file = io.StringIO()
    console.print(summary(record, "folder"))
    console.print(comparison([(["a=1"], record), (["a=2"], record)]))
    if "per_class_precision" in record:
        console.print(confusion(record))
    assert metric_of(record)


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.parent.name)
def test_the_records_of_the_first_version_are_read(path: Path) -> None:
    record = read_record(path.parent)
    assert record is not None
    show(record)


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every part of a JSON value; of long lists the first and last."""
    if way:
        yield way
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        if not isinstance(value, list) or key in (0, len(value) - 1):
            yield from places(inner, (*way, key))


def changed(value: Any, way: tuple[Any, ...], new: Any) -> Any:
    found = node = copy.deepcopy(value)
    for key in way[:-1]:
        node = node[key]
    if new is ...:
        del node[way[-1]]
    else:
        node[way[-1]] = new
    return found


def new_record() -> dict[str, Any]:
    """The record of a run of this version."""
    record: dict[str, Any] = json.loads(RECORDS[0].read_text())
    classes = len(record["data"]["class_names"])
    levels = record["test_accuracy"]
    record |= {f"{part}_{metric}": levels for part in ("val", "test") for metric in ("balanced_accuracy", "macro_f1")}
    record |= {"majority_share": 0.1, "per_class_precision": [None] + [0.5] * (classes - 1), "doubts": ["one"]}
    record["lost"] = {"points": 1.0, "explained": 0.5, "kind": "rounding", "value": "x", "try": "quant.x=1"}
    record["config"]["train"]["metric"] = "macro_f1"
    return record


def test_every_part_of_a_record_that_is_something_else_is_refused_or_does_no_harm(tmp_path: Path) -> None:
    whole, accepted, refused = new_record(), 0, 0
    write_record(tmp_path, whole)
    assert read_record(tmp_path) == whole
    for way in places(whole):
        for new in WRONG:
            (tmp_path / "record.json").write_text(json.dumps(changed(whole, way, new)))
            try:
                record = read_record(tmp_path)
            except ModelFileError as error:
                assert "\n" not in str(error)  # noqa: PT017
                refused += 1
                continue
            accepted += 1
            if record is not None and record["status"] == "finished":
                show(record)
    assert refused > 500
    assert accepted > 100


def test_every_part_of_a_search_is_refused_or_does_no_harm(tmp_path: Path) -> None:
    whole = json.loads((STUDY / "study.json").read_text())
    assert read_summary(STUDY) == whole
    whole["front"] = whole["front"][:1]
    console = PlainConsole()
    for way in places(whole):
        for new in WRONG[:4]:
            (tmp_path / "study.json").write_text(json.dumps(changed(whole, way, new)))
            try:
                found = read_summary(tmp_path)
            except ModelFileError as error:
                assert "\n" not in str(error)  # noqa: PT017
                continue
            assert found is not None
            console.file = io.StringIO()
            if found["best"] is not None:
                console.print(study_summary(found))
            assert all(record["folder"] for record in with_best(found))


@pytest.mark.parametrize(
    ("value", "wanted", "words"),
    [
        ("x", TEXT, None),
        (3, TEXT, "a must be text, got 3"),
        (True, WHOLE, "a must be a whole number of at least 0, got True"),
        (0, COUNT, "a must be a whole number of at least 1, got 0"),
        (1.01, SHARE, "a must be a number from 0 to 1, got 1.01"),
        (10**400, NUMBER, "a must be a finite number, got 1000"),
        ({"b": [1, "x"]}, {"b": [WHOLE]}, "a.b[1] must be a whole number of at least 0, got 'x'"),
        ({"b": {}}, {"b": {"c": TEXT}}, "a.b.c is missing"),
        ({}, {"b?": TEXT}, None),
        ({"b": None}, {"b?": (TEXT, None)}, None),
        ({"x": 1, "y": "z"}, {"*": WHOLE}, "a.y must be a whole number of at least 0, got 'z'"),
        ([], {"b": TEXT}, "a must be a mapping, got 'list'"),
        ("y" * 100, WHOLE, "a must be a whole number of at least 0, got 'yyy"),
    ],
)
def test_a_fault_names_the_place_the_rule_and_the_value(value: Any, wanted: shape.Shape, words: str | None) -> None:
    found = fault(value, wanted, "a")
    assert found is None if words is None else found is not None and found.startswith(words)
    assert len(found or "") < 120


def test_a_file_of_millions_of_lists_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text('{"status": [' + "[]," * 600_000 + "0]}")
    with pytest.raises(ModelFileError, match=r"record\.json [^\n]+ more than 500000 lists and mappings; delete it"):
        read_record(tmp_path)
