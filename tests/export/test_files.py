"""What an export leaves alone: everything that no export wrote."""

import re
import warnings
from pathlib import Path

import pytest

from edgesearch.errors import ConfigError, EdgesearchWarning
from edgesearch.export.files import MANIFEST, write_folder
from tests.measure.test_compiled import PROGRAMS

PROGRAM = next(iter(PROGRAMS.values()))


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("target", ["c", "secure", "ezpc"])
@pytest.mark.parametrize(
    "names", [["README.md", "Makefile"], ["model.c"], ["model.h", "notes.txt"], [".git"], ["test/golden.h"], [MANIFEST]]
)
def test_a_folder_of_the_users_is_refused(target: str, names: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "firmware"
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine\n")
    before = content(folder)
    with pytest.raises(
        ConfigError, match=r"^an export needs a new folder, .+; give another folder, or move that away$"
    ):
        PROGRAM.export(folder, target)
    assert content(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["firmware"]


@pytest.mark.parametrize("target", ["c", "secure", "ezpc"])
def test_an_export_takes_the_place_of_an_earlier_one(target: str, tmp_path: Path) -> None:
    PROGRAM.export(tmp_path / "x", target)
    before = content(tmp_path / "x")
    PROGRAM.export(tmp_path / "x", target)
    assert content(tmp_path / "x") == before


@pytest.mark.parametrize("edit", ["changed", "added", "linked", "added in test"])
def test_work_in_an_exported_folder_is_not_lost(edit: str, tmp_path: Path) -> None:
    folder = tmp_path / "x"
    PROGRAM.export(folder)
    if edit == "changed":
        (folder / "Makefile").write_text("all: firmware.hex\n")
    elif edit == "linked":
        (folder / "Makefile").unlink()
        (folder / "Makefile").symlink_to("/dev/null")
    else:
        (folder / ("notes.txt" if edit == "added" else "test/notes.txt")).write_text("mine\n")
    before = content(folder)
    with pytest.raises(ConfigError, match=r"got .*(Makefile|notes\.txt)"):
        PROGRAM.export(folder)
    assert content(folder) == before


def test_what_a_build_leaves_is_ours(tmp_path: Path) -> None:
    PROGRAM.export(tmp_path / "x")
    (tmp_path / "x" / "test" / "selftest").write_bytes(b"\x7fELF")
    PROGRAM.export(tmp_path / "x", prefix="kws")
    assert sorted(content(tmp_path / "x")) == [
        MANIFEST, "Makefile", "README.md", "kws.c", "kws.h", "test/golden.h", "test/selftest.c",
    ]  # fmt: skip


def test_an_export_of_version_0_1_is_moved_aside(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    folder.mkdir()
    (folder / "model.h").write_text("/* Made by edgesearch. A classifier in integers */\n")
    (folder / "README.md").write_text("# A classifier in integers\n\nMade by edgesearch.\n")
    (folder / "Makefile").write_text("mine, perhaps\n")
    before = content(folder)
    for number in (1, 2):
        with pytest.warns(EdgesearchWarning, match=rf"it is now .*c-before-{number}$"):
            PROGRAM.export(folder)
        assert content(tmp_path / f"c-before-{number}") == before
        assert (folder / "model.c").exists()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            PROGRAM.export(folder)
        for path in folder.rglob("*"):
            if path.is_file():
                path.unlink()
        for name, old in before.items():
            (folder / name).write_bytes(old)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine\n")
    with pytest.raises(ConfigError, match=r"got .*x with x"):
        PROGRAM.export(tmp_path / "x")


def test_generated_files_say_that_they_may_be_used(tmp_path: Path) -> None:
    for target, names in (
        ("c", ["model.c", "model.h", "README.md"]),
        ("secure", ["program.py"]),
        ("ezpc", ["model.ezpc"]),
    ):
        PROGRAM.export(tmp_path / target, target)
        for name in names:
            head = (tmp_path / target / name).read_text(encoding="utf-8")[:600]
            assert re.search(r"used, changed and passed on without conditions", head), name


def test_half_an_export_is_none(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        write_folder(tmp_path / "x", {"one": "1", "a/b/c/two": "2"})
    assert list(tmp_path.iterdir()) == []
