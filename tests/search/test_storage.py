"""Databases that are opened, and those that are not: of strangers, damaged, none."""

import contextlib
import os
import sqlite3
from pathlib import Path

import pytest

from edgesearch.errors import ConfigError, ModelFileError, StorageError
from edgesearch.search import storage as storage_module
from edgesearch.search.study import load_ledger
from tests.conftest import composed
from tests.search.helpers import study


def sqlite_file(path: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


def test_a_view_or_a_trigger_in_a_database_is_not_read(tmp_path: Path) -> None:
    endless = "with recursive n(x) as (select 1 union all select x + 1 from n) select x as trial_id from n"
    sqlite_file(tmp_path / "view.db", f"create view trials as {endless}")
    sqlite_file(
        tmp_path / "trigger.db", "create table t(x)", "create trigger a after insert on t begin delete from t; end"
    )
    sqlite_file(
        tmp_path / "called_table.db",
        "create table trials(x)",
        "pragma writable_schema=on",
        f"update sqlite_master set sql = 'CREATE VIEW trials AS {endless}'",  # noqa: S608
    )
    for name in ("view", "trigger", "called_table"):
        with pytest.raises(ModelFileError, match=f"{name}.db must be an SQLite file of a study, got [^\n]+; delete it"):
            load_ledger("any", f"sqlite:///{tmp_path / name}.db")


def test_what_never_ends_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "zeros.db").write_bytes(b"\0" * 100_000)
    (tmp_path / "device.db").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.db")
    sqlite_file(tmp_path / "sound.db", "create table t(x)")
    os.mkfifo(tmp_path / "sound.db-wal")
    for name in ("zeros.db", "device.db", "pipe.db", "sound.db"):
        with pytest.raises(ModelFileError, match=f"{name}(-wal)? must be an SQLite file"):
            load_ledger("any", f"sqlite:///{tmp_path / name}")


def test_what_is_no_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("not a database, though long enough to be taken for one" * 20)
    with pytest.raises(ModelFileError, match="must be an SQLite file"):
        study(tmp_path, f"search.storage=sqlite:///{tmp_path / 'text.db'}")
    for url in (
        "nonsense",
        "grpc://localhost:1",
        "'postgresql+psycopg://u:secret@h:port/db'",
        "'postgresql//u:secret@h/db'",
    ):
        with pytest.raises(ConfigError, match="must be a URL") as caught:
            study(tmp_path, f"search.storage={url}")
        assert "secret" not in str(caught.value)
    with pytest.raises(ConfigError, match="name of a study"):
        load_ledger("absent", f"sqlite:///{tmp_path / 'new.db'}")


def test_the_password_of_a_storage_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_module, "_FIRST_STARTS", 1)
    pytest.importorskip("psycopg", reason="needs psycopg: pip install 'edgesearch[postgresql]'")
    with pytest.raises(StorageError) as caught:
        storage_module.open_storage("postgresql+psycopg://me:secret@127.0.0.1:1/db", 20)
    assert "secret" not in str(caught.value)


def test_an_empty_file_is_no_study(tmp_path: Path) -> None:
    (tmp_path / "study.db").touch()
    with pytest.raises(ModelFileError, match="study must name a study in"):
        storage_module.storage_of(composed("task=report", "study=s"), tmp_path)
    assert (tmp_path / "study.db").stat().st_size == 0
