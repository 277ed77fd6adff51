"""A study of a stranger, or one that was damaged: whatever its rows hold, one line."""

import base64
import contextlib
import json
import re
import shutil
import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from optuna.storages._rdb import models
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._base import BaseJournalSnapshot
from sqlalchemy import LargeBinary, PickleType

from edgesearch.cells.classifier import build_classifier
from edgesearch.cells.spec import model_spec
from edgesearch.config import identity
from edgesearch.config.identity import flat
from edgesearch.errors import EdgesearchError, ModelFileError, StorageError
from edgesearch.search.report import report
from edgesearch.search.space import Space
from edgesearch.search.storage import dead, open_storage, owner
from edgesearch.search.study import definition
from edgesearch.search.trained import WEIGHTS, pack, unpack, weights_of
from tests.conftest import composed
from tests.search.helpers import base

OLD = Path(__file__).parents[1] / "fixtures" / "v0_1" / "outputs" / "search"
NAME = "digits-fastgrnn-none"
WRONG: tuple[Any, ...] = (None, "x", -1, 2**62, 1e308, "[", "{}", '["x"]', '{"x": NaN}', b"\xff")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(OLD / NAME, tmp_path / "search" / NAME)
    return tmp_path / "search" / NAME


def asked(folder: Path) -> str | None:
    """Return the message that task=report ends with, None where it has made its report."""
    config = composed("task=report", f"study={NAME}", f"outputs_dir={folder.parents[1]}")
    try:
        report(config, folder)
    except EdgesearchError as error:
        said = str(error)
    else:
        return None
    assert "\n" not in said
    return said


def cells(database: sqlite3.Connection) -> Iterator[tuple[str, str, int]]:
    """Every column of the first and last row of every table, and of each kind of attribute."""
    tables = [name for (name,) in database.execute("select name from sqlite_master where type='table'")]
    for table in tables:
        columns = [row[1] for row in database.execute(f"pragma table_info({table})")]
        by = "key" if "key" in columns else "''"
        rows = database.execute(f"select min(rowid), max(rowid) from {table} group by {by}").fetchall()  # noqa: S608
        for row in sorted({number for pair in rows for number in pair if number is not None}):
            for column in columns:
                yield table, column, row


@pytest.mark.slow
def test_every_cell_of_the_database_that_is_something_else_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = (folder / "study.db").read_bytes()
    assert asked(folder) is None
    with contextlib.closing(sqlite3.connect(OLD / NAME / "study.db")) as database:
        places = list(cells(database))
    refused = 0
    for place, (table, column, row) in enumerate(places):
        for new in (WRONG[place % len(WRONG)],):
            for path in folder.glob("study.db*"):
                path.unlink()
            (folder / "study.db").write_bytes(plain)
            with contextlib.closing(sqlite3.connect(folder / "study.db")) as database:
                with contextlib.suppress(sqlite3.Error, OverflowError):  # (what the tables themselves refuse)
                    database.execute(f"update {table} set {column} = ? where rowid = ?", (new, row))  # noqa: S608
                database.commit()
            try:
                refused += asked(folder) is not None
            except Exception as error:
                raise AssertionError(f"{table}.{column} of row {row} as {new!r}") from error
    assert refused > 20


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("update trials set number = '['", "a trial that is numbered '\\['"),
        ("delete from trial_user_attributes where key = 'program'", "program is missing"),
        ("update trial_user_attributes set value_json = '\"1 2 x\"' where key = 'program'", "program must be a trial"),
        ("update or ignore trial_system_attributes set key = x'ff'", "named b'"),
        ("update or ignore trial_params set param_name = x'ff'", "named b'"),
        ("update or ignore trial_params set param_name = null", "named None"),
        ("update trial_params set distribution_json = '{}'", "KeyError"),
        ("update trial_params set distribution_json = '[[[['", "JSONDecodeError"),
        ("update trial_user_attributes set value_json = '{}' where key = 'result'", "result.identity is missing"),
        ("update trial_user_attributes set value_json = '[]' where key = 'result'", "result must be a mapping"),
        ("update trial_user_attributes set value_json = '3' where key = 'owner'", "owner must be text, got 3"),
        ("update study_user_attributes set value_json = '3'", "of this version of edgesearch"),
        ("update study_user_attributes set value_json = replace(value_json, 'budget.name', 'budget.x')", "is missing"),
        ("update trials set state = 'RUN'", "LookupError"),
        ("delete from trial_values", "finite values, got None"),
        ("delete from study_directions", "it must have 0 finite values"),
        ("delete from alembic_version; delete from version_info", None),
        ("update alembic_version set version_num = 'x'", "must hold what edgesearch wrote"),
        ("drop table trial_params", None),
        ("delete from studies", "must be the name of a study"),
    ],
)  # fmt: skip
def test_rows_of_another_shape_are_one_line(folder: Path, change: str, words: str | None) -> None:
    with contextlib.closing(sqlite3.connect(folder / "study.db")) as database:
        database.executescript(change)
    said = asked(folder)
    if words is None:
        assert said is None
    else:
        assert said is not None
        assert re.search(words, said)


def test_the_weights_of_a_stranger_are_not_unpacked_without_end() -> None:
    zeros = zlib.compress(bytes(300 << 20), 9)
    trial = optuna.create_trial(value=1.0, system_attrs={WEIGHTS: base64.b85encode(zeros).decode()})
    with pytest.raises(StorageError, match="more than 256 MiB"):
        unpack(trial)
    for other in (3, None, "x", base64.b85encode(zlib.compress(b"nothing")).decode()):
        trial = optuna.create_trial(value=1.0, system_attrs={WEIGHTS: other})
        with pytest.raises(StorageError, match="must hold its weights"):
            unpack(trial)


@pytest.mark.parametrize("name", ["", "x", "|", "a|b|c", "|||", f"{owner().rsplit('|', 2)[0]}|x|1"])
def test_an_owner_that_is_none_is_on_another_machine(name: str) -> None:
    assert dead(name) is None


def test_weights_of_another_model_are_named() -> None:
    spec = model_spec(composed().cell, composed().schedule, steps=8, input_size=8, classes=10)
    weights = build_classifier(spec, "eager").state_dict()
    for changed, words in (
        (weights | {"FC": torch.zeros(3, 4)}, r"got FC of \(3, 4\) for \("),
        (weights | {"x": torch.zeros(2)}, r"got x of \(2,\) for \(\)"),
        ({}, r"got .* of \(\) for"),
    ):
        with pytest.raises(StorageError, match=words):
            weights_of(optuna.create_trial(value=1.0, system_attrs={WEIGHTS: pack(changed)}), spec)
    found = weights_of(optuna.create_trial(value=1.0, system_attrs={WEIGHTS: pack(weights)}), spec)
    assert found.keys() == weights.keys()


@pytest.mark.parametrize(
    "line", ["none", "{}", "[1]", '{"op_code": 99}', '{"op_code": 0, "worker_id": 3}', '{"op_code": 4}', "[" * 99_999]
)
def test_a_journal_that_is_none_is_one_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "study.log"
    open_storage(f"journal:{path}", 20)
    path.write_text(f"{line}\n{{}}\n")
    with pytest.raises(ModelFileError, match="must hold what edgesearch wrote"):
        open_storage(f"journal:{path}", 20)


def test_nothing_of_a_storage_is_unpickled() -> None:
    assert not issubclass(JournalFileBackend, BaseJournalSnapshot)  # (Optuna's snapshots are pickles)
    tables = models.BaseModel.metadata.tables.values()
    assert not [c for table in tables for c in table.columns if isinstance(c.type, LargeBinary | PickleType)]


def test_a_study_does_not_remember_where_it_is_kept(tmp_path: Path) -> None:
    config = base(tmp_path, "search.storage='postgresql://me:s3cret@host/db'")
    begun = definition(config, Space.parse(config.search.space), None)
    assert "host" not in json.dumps(begun)
    assert "s3cret" not in json.dumps([identity(config), flat(config)])
