"""What is written is there whole or as before, and a disk that refuses it is told as what it is."""

import errno
import os
import threading
from pathlib import Path

import pytest

from edgesearch.atomic import (
    atomic_file,
    atomic_folder,
    check_no_link,
    check_writable,
    open_own,
    scratch_folder,
    told,
    write_bytes,
    write_text,
)
from edgesearch.config.cache import cache_dir
from edgesearch.errors import ModelFileError


def full(*given: object, **named: object) -> int:
    """What a write to a full disk does: the error names no file."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file"

    def write_and_fail() -> None:
        with atomic_file(target) as file:
            file.write(b"half")
            raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write_and_fail()
    assert names(target.parent) == []
    with atomic_file(target) as file:
        file.write(b"whole")
    assert names(target.parent) == ["file"]
    with pytest.raises(ValueError, match="no more"):
        write_and_fail()
    assert target.read_bytes() == b"whole"


def test_writers_at_once_do_not_meet(tmp_path: Path) -> None:
    target, contents = tmp_path / "file", [bytes([k]) * 200_000 for k in range(8)]
    errors: list[BaseException] = []

    def write(content: bytes) -> None:
        try:
            for _ in range(5):
                write_bytes(target, content)
        except BaseException as error:  # noqa: BLE001  (told to the test)
            errors.append(error)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert target.read_bytes() in contents
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("write", ["file", "folder"])
def test_content_and_name_reach_the_disk_before_the_name_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: str
) -> None:
    flushed: list[tuple[str, list[str]]] = []
    plain = os.fsync

    def fsync(handle: int) -> None:
        flushed.append((os.readlink(f"/proc/self/fd/{handle}"), names(tmp_path)))
        plain(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    if write == "file":
        write_text(tmp_path / "new", "content")
    else:
        with atomic_folder(tmp_path / "new") as folder:
            (folder / "part").write_text("content")
    *contents, (last, there) = flushed
    assert contents
    assert all(path.removeprefix(str(tmp_path)).startswith("/.new.") for path, _ in contents)
    assert all("new" not in seen for _, seen in contents)
    assert (last, there) == (str(tmp_path), ["new"])


def test_a_long_name_has_a_partial_file_too(tmp_path: Path) -> None:
    write_text(tmp_path / ("ä" * 120), "content")
    assert names(tmp_path) == ["ä" * 120]


def test_a_folder_is_replaced_whole_or_left(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    for content in ("first", "second"):
        with atomic_folder(target) as folder:
            (folder / content).write_text(content)
        assert names(target) == [content]

    def write_and_fail() -> None:
        with atomic_folder(target) as folder:
            (folder / "third").write_text("half")
            raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write_and_fail()
    assert names(target) == ["second"]
    assert names(tmp_path) == ["folder"]


def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "record.json"
    write_text(target, "before")
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_text(target, "after")
    assert caught.value.filename == str(target)
    assert told(caught.value).startswith(
        f"the disk of {target} must have room, got: No space left on device; free some"
    )
    assert "outputs_dir=FOLDER" in told(caught.value)
    assert target.read_text() == "before"
    assert names(tmp_path) == ["record.json"]


def test_a_full_temporary_folder_is_told_from_a_full_disk_of_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "write_text", full)

    def write() -> None:
        with scratch_folder() as folder:
            (folder / "model.c").write_text("int x;")

    with pytest.raises(OSError, match="No space left") as caught:
        write()
    assert "set TMPDIR to a folder elsewhere" in told(caught.value)
    assert not Path(caught.value.filename).exists()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"), "or set TMPDIR"),
        (PermissionError(errno.EACCES, "Permission denied", "out"), "out must be a place that can be written and read"),
        (OSError(errno.EROFS, "Read-only file system", "out"), "set outputs_dir=FOLDER"),
        (OSError(errno.ENOSPC, "No space left on device"), "a file cannot be used: No space left on device"),
        (OSError("as it is"), "a file cannot be used: as it is"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", b"x"), "x cannot be used: No such file"),
    ],
)
def test_each_error_of_a_disk_is_a_line_with_a_remedy(error: OSError, words: str) -> None:
    assert words in told(error)
    assert "\n" not in told(error)


def test_the_cache_is_moved_by_its_own_variable() -> None:
    error = OSError(errno.ENOSPC, "No space left on device", str(cache_dir() / "features" / "x.npz"))
    assert "set XDG_CACHE_HOME" in told(error)


def test_a_folder_that_cannot_be_written_is_found_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_writable(tmp_path / "new")
    assert names(tmp_path / "new") == []

    def read_only(*given: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system", str(given[0]))

    monkeypatch.setattr(Path, "write_bytes", read_only)
    with pytest.raises(OSError, match="Read-only") as caught:
        check_writable(tmp_path / "new")
    assert caught.value.filename == str(tmp_path / "new")


def test_errors_of_what_is_done_meanwhile_keep_their_names(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, atomic_file(tmp_path / "file"):
        (tmp_path / "absent").read_bytes()
    assert caught.value.filename == str(tmp_path / "absent")


def test_a_file_of_ours_is_opened_without_following_or_emptying(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "link").symlink_to(victim)
    (tmp_path / "dangling").symlink_to(tmp_path / "made")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("link", "dangling", "pipe", "folder"):
        with pytest.raises(ModelFileError, match=f"{name} must be a regular file, got [^\n]+; delete it$"):
            open_own(tmp_path / name, empty=True)
    assert victim.read_text() == "precious"
    assert not (tmp_path / "made").exists()
    open_own(victim).close()
    assert victim.read_text() == "precious"
    with open_own(victim, empty=True) as file:
        file.write("new")
    assert victim.read_text() == "new"


def test_a_pipe_that_someone_reads_is_no_file_of_ours(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(ModelFileError, match="must be a regular file"):
        open_own(tmp_path / "pipe")
    os.close(reader)


def test_links_below_a_folder_are_named(tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "c").mkdir(parents=True)
    run = tmp_path / "run"
    run.symlink_to(tmp_path / "real")  # the folder itself may be one
    (tmp_path / "real").mkdir()
    check_no_link(run, run / "export" / "c")
    (run / "export").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelFileError, match="run/export must be a folder or file of its own, got a link; delete it"):
        check_no_link(run, run / "export" / "c")
