"""Loggers: what they write is read back; a server that is away costs seconds and loses nothing."""

import contextlib
import csv
import http.server
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgesearch.config import Config
from edgesearch.errors import EdgesearchWarning
from edgesearch.report.loggers import open_loggers
from tests.conftest import composed
from tests.report.wandb_file import read_offline

ROWS: list[dict[str, Any]] = [
    {"epoch": epoch, "phase": "dense", "train_loss": 1 / (epoch + 1), "val_accuracy": 0.1 * epoch} for epoch in range(3)
]
RECORD: dict[str, Any] = {
    "data": {"class_names": ["no", "yes"]},
    "confusion": [[3, 1], [0, 2]],
    "sizes": {"float32": {"flash_bytes": 4000, "ram_bytes": 300}, "8-bit": {"flash_bytes": 1000, "ram_bytes": 150}},
    "epoch": 2,
    "nonzeros": 900,
    "parameters": 1000,
    "flash_bytes": 4000,
    "ram_bytes": 300,
    "macs": 12345,
    "val_accuracy": {"float": 0.75},
    "test_accuracy": {"float": 0.8},
}


def log(config: Config, folder: Path) -> None:
    loggers = open_loggers(config, folder)
    for logger in loggers:
        for row in ROWS:
            logger.epoch(row)
        logger.finish(RECORD)


def test_csv(tmp_path: Path) -> None:
    log(composed(), tmp_path)
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert [float(row["train_loss"]) for row in rows] == [1, 1 / 2, 1 / 3]


def test_none_writes_nothing(tmp_path: Path) -> None:
    log(composed("logger=none"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for _ in range(2):
        log(composed("logger=tensorboard"), tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("val_accuracy")] == [0, 1, 2]
    assert [event.value for event in events.Scalars("train_loss")] == pytest.approx([1, 1 / 2, 1 / 3])


def check_complete(folder: Path) -> None:
    found = read_offline(folder)
    curves = [row for row in found["history"] if "val_accuracy" in row]
    assert [row["val_accuracy"] for row in curves] == pytest.approx([0, 0.1, 0.2])
    assert found["summary"]["nonzeros"] == 900
    assert found["exit_code"] == 0
    assert found["run"].run_group == "digits-fastgrnn"
    assert found["run"].job_type == "train"
    tables = {path.name.split("_")[0] for path in folder.glob("wandb/offline-run-*/files/media/table/*.json")}
    assert {"sizes", "confusion"} <= tables


@pytest.fixture
def quiet_wandb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")


@pytest.mark.usefixtures("quiet_wandb")
def test_wandb_offline_is_complete(tmp_path: Path) -> None:
    import wandb

    log(composed("logger=wandb", "logger.tags=[usb,demo]"), tmp_path)
    wandb.teardown()  # waits until the file is flushed
    check_complete(tmp_path)
    run = read_offline(tmp_path)["run"]
    assert list(run.tags) == ["usb", "demo"]
    keys = {item.key for item in run.config.update}
    assert {"cell", "data", "schedule", "seed"} <= keys


class AnswersOnlyTheProbe(http.server.BaseHTTPRequestHandler):
    released = threading.Event()

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_POST(self) -> None:
        self.released.wait(60)

    def log_request(self, code: object = "-", size: object = "-") -> None:
        pass


@contextlib.contextmanager
def server(behaviour: str) -> Iterator[int]:
    """Yield the port of a W&B server that refuses connections, never answers, or hangs once it was found alive."""
    if behaviour != "hangs later":
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            if behaviour == "refuses":
                listening.close()
            yield port
        return
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), AnswersOnlyTheProbe) as running:
        running.daemon_threads = True
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            yield running.server_port
        finally:
            AnswersOnlyTheProbe.released.set()
            running.shutdown()
            thread.join()


@pytest.mark.usefixtures("quiet_wandb")
@pytest.mark.parametrize("behaviour", ["refuses", "never answers", "hangs later"])
def test_an_unreachable_server_costs_seconds_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behaviour: str
) -> None:
    import wandb

    with server(behaviour) as port:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
        wandb.teardown()
        started = time.monotonic()
        with pytest.warns(EdgesearchWarning, match=r"cannot be used .*`wandb sync`"):
            log(composed("logger=wandb", "logger.mode=online"), tmp_path)
        assert time.monotonic() - started < 20
        wandb.teardown()
    check_complete(tmp_path)
