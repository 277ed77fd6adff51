"""record.json: written whole or not at all, read without trust."""

from pathlib import Path

import pytest

from edgesearch.errors import ModelFileError
from edgesearch.report.record import read_record, write_record


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


@pytest.mark.parametrize("text", ["{", "[]", '{"epoch": 1}', '{"status": "finished"}'])
def test_a_damaged_record_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(ModelFileError, match=r"record\.json is not"):
        read_record(tmp_path)
