"""Where files are looked for, fetching over HTTP (from this machine), and what a failed fetch leaves behind."""

import functools
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgesearch.config.cache import cache_dir
from edgesearch.data.sources import Source, locate
from edgesearch.errors import DataError

CONTENT = b"labelled sequences" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_request(self, code: object = "-", size: object = "-") -> None:
        pass

    def log_error(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path != "/short":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:100])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "file.bin").write_bytes(CONTENT)
    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_port}"
        finally:
            running.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("EDGESEARCH_DATA", raising=False)


def leftovers() -> list[Path]:
    return [path for path in cache_dir().rglob("*") if path.is_file()]


def test_a_file_is_fetched_checked_and_kept(server: str) -> None:
    source = Source("set/file.bin", DIGEST, f"{server}/file.bin")
    path = locate(source, None)
    assert path.read_bytes() == CONTENT
    assert locate(Source("set/file.bin", DIGEST, "http://127.0.0.1:1/gone"), None) == path


@pytest.mark.parametrize("name", ["short", "missing.bin"])
def test_a_failed_fetch_leaves_nothing(server: str, name: str) -> None:
    with pytest.raises(DataError):
        locate(Source("set/file.bin", DIGEST, f"{server}/{name}"), None)
    assert leftovers() == []


def test_a_fetched_file_with_another_checksum_is_refused(server: str) -> None:
    with pytest.raises(DataError, match=f"must have sha256 {'0' * 64}"):
        locate(Source("set/file.bin", "0" * 64, f"{server}/file.bin"), None)


def test_offline_and_missing_says_everything_needed() -> None:
    with pytest.raises(DataError) as caught:
        locate(Source("set/file.bin", DIGEST, "http://127.0.0.1:1/file.bin"), None)
    message = str(caught.value)
    for part in ("set/file.bin", DIGEST, str(cache_dir() / "set/file.bin"), "EDGESEARCH_DATA", "data=digits"):
        assert part in message
    assert "\n" not in message


def test_the_order_of_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source("set/file.bin", DIGEST)
    for place in (cache_dir(), tmp_path / "environment", tmp_path / "configured"):
        (place / "set").mkdir(parents=True)
        (place / "set/file.bin").write_bytes(CONTENT)
    monkeypatch.setenv("EDGESEARCH_DATA", str(tmp_path / "environment"))
    assert locate(source, str(tmp_path / "configured")) == tmp_path / "configured/set/file.bin"
    assert locate(source, str(tmp_path / "configured/set")) == tmp_path / "configured/set/file.bin"
    assert locate(source, None) == tmp_path / "environment/set/file.bin"
    (tmp_path / "environment/set/file.bin").unlink()
    assert locate(source, None) == cache_dir() / "set/file.bin"


def test_a_configured_path_without_the_file_is_not_passed_over(tmp_path: Path) -> None:
    (cache_dir() / "set").mkdir(parents=True)
    (cache_dir() / "set/file.bin").write_bytes(CONTENT)
    with pytest.raises(DataError, match=r"data.path must hold set/file.bin"):
        locate(Source("set/file.bin", DIGEST), str(tmp_path))
