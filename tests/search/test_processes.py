"""Whole searches as processes: killed, interrupted, side by side, on SQLite and on PostgreSQL."""

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from edgesearch.search.ledger import kind
from edgesearch.search.storage import RETRIED
from tests.search.helpers import command, run, summary

NAME = "digits-fastgrnn-none"


def start(folder: Path, *overrides: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(folder, *overrides),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # (a job in the background ignores it)
    )


def trials(url: str, name: str = NAME) -> list[FrozenTrial]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        return optuna.load_study(study_name=name, storage=url).get_trials(deepcopy=False)
    except Exception:  # noqa: BLE001  (before the first process has made the tables)
        return []


def local(folder: Path) -> str:
    return f"sqlite:///{folder / 'search' / NAME / 'study.db'}"


def wait_for(url: str, finished: int, process: subprocess.Popen[str], name: str = NAME) -> None:
    until = time.monotonic() + 120
    while sum(kind(t) == "trained" for t in trials(url, name)) < finished:
        if process.poll() is not None:
            return
        assert time.monotonic() < until, "the search makes no headway"
        time.sleep(0.05)


def children(process: subprocess.Popen[str]) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def check_finished(url: str, count: int, name: str = NAME) -> None:
    """Exactly `count` trainings, each another one, none under way, and what was lost was tried again at most once."""
    found = trials(url, name)
    done = [t for t in found if kind(t) == "trained"]
    assert len(done) == count
    assert max(Counter(t.user_attrs["identity"] for t in done).values()) == 1
    assert not [t for t in found if t.state in (TrialState.RUNNING, TrialState.WAITING)]
    assert all(t.system_attrs.get(RETRIED, 0) <= 1 for t in found)


@pytest.mark.slow
def test_killed_four_times_it_ends_with_every_trial_once(tmp_path: Path) -> None:
    options = ("search.n_trials=25", "search.pruner=none")
    dice = random.Random(5)
    for kill in range(4):
        process = start(tmp_path, *options)
        wait_for(local(tmp_path), 4 * (kill + 1), process)
        time.sleep(dice.random())
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    before = {t.number: t.values for t in trials(local(tmp_path)) if kind(t) == "trained"}
    last = run(tmp_path, *options)
    assert last.returncode == 0, last.stderr
    check_finished(local(tmp_path), 25)
    after = {t.number: t.values for t in trials(local(tmp_path))}
    assert all(after[number] == values for number, values in before.items())
    assert summary(tmp_path)["trained"] == 25


def test_an_interrupted_search_says_how_to_go_on(tmp_path: Path) -> None:
    process = start(tmp_path, "search.n_trials=3", "train.epochs=9000", "search.workers=2")
    until = time.monotonic() + 120
    while sum(t.state == TrialState.RUNNING for t in trials(local(tmp_path))) < 2 and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "0 of 3 trials are done; the same command goes on" in errors
    assert "Traceback" not in errors
    states = Counter(t.state for t in trials(local(tmp_path)))
    assert states[TrialState.RUNNING] == 0
    assert states[TrialState.WAITING] == 2


def test_time_ends_a_search(tmp_path: Path) -> None:
    done = run(tmp_path, "search.n_trials=1000", "search.timeout=8", "search.finetune=1", "finetune.epochs=1")
    assert done.returncode == 0, done.stderr
    found = summary(tmp_path)
    assert 0 < found["trained"] + found["pruned"] < 1000
    assert found["seconds"] < 60


def test_workers_share_a_study_and_outlive_each_other(tmp_path: Path) -> None:
    options = ("search.n_trials=16", "train.epochs=40", "search.workers=3", "search.pruner=none")
    process = start(tmp_path, *options)
    until = time.monotonic() + 120
    while len({t.user_attrs.get("owner") for t in trials(local(tmp_path))} - {None}) < 3 and time.monotonic() < until:
        time.sleep(0.1)
    os.kill(children(process)[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert "a worker was killed by signal 9; the others did its work" in errors
    check_finished(local(tmp_path), 16)
    owners = {t.user_attrs["owner"] for t in trials(local(tmp_path)) if kind(t) == "trained"}
    assert len(owners) >= 2


def test_workers_stop_when_their_parent_is_killed(tmp_path: Path) -> None:
    process = start(tmp_path, "search.n_trials=50", "train.epochs=40", "search.workers=2")
    wait_for(local(tmp_path), 1, process)
    worker = children(process)[0]
    process.kill()
    process.wait()
    until = time.monotonic() + 60
    while Path(f"/proc/{worker}").exists() and time.monotonic() < until:
        time.sleep(0.1)
    assert not Path(f"/proc/{worker}").exists()


class Server:
    """A PostgreSQL server that is stopped and started."""

    def __init__(self, binaries: Path, folder: Path, user: str | None) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"postgresql+psycopg://tester@127.0.0.1:{port}/postgres"
        self._ready = [str(binaries / "pg_isready"), "-h", "127.0.0.1", "-p", str(port)]
        self._command = [
            str(binaries / "postgres"), "-D", str(folder / "data"), "-p", str(port), "-k", str(folder), "-h",
            "127.0.0.1",
        ]  # fmt: skip
        self._folder, self._user = folder, user
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, user=self._user, cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + 60
        while subprocess.run(self._ready, capture_output=True).returncode and time.monotonic() < until:
            time.sleep(0.1)

    def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A PostgreSQL server of its own, run by an ordinary user, with an empty database."""
    pytest.importorskip("psycopg", reason="needs psycopg: pip install 'edgesearch[postgresql]'")
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs:
        pytest.skip("needs PostgreSQL: no /usr/lib/postgresql/*/bin/initdb; apt install postgresql")
    binaries = programs[-1].parent
    user = None
    if os.geteuid() == 0:
        user = next(name for name in ("postgres", "nobody") if name in {entry.pw_name for entry in pwd.getpwall()})
    folder = Path(tempfile.mkdtemp(prefix="postgresql"))
    if user is not None:
        shutil.chown(folder, user)
    subprocess.run(
        [str(binaries / "initdb"), "-D", str(folder / "data"), "-U", "tester", "--auth=trust", "--no-sync"],
        user=user, check=True, capture_output=True, cwd=folder,
    )  # fmt: skip
    running = Server(binaries, folder, user)
    try:
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def postgresql(server: Server) -> str:
    return server.url


@pytest.mark.slow
@pytest.mark.postgresql
def test_a_search_rides_out_a_server_that_is_stopped(tmp_path: Path, server: Server) -> None:
    options = (
        "search.n_trials=8", "train.epochs=25", "search.pruner=none", f"search.storage={server.url}",
        "search.heartbeat_seconds=1", "search.study=outage", "search.workers=2",
    )  # fmt: skip
    process = start(tmp_path, *options)
    wait_for(server.url, 2, process, "outage")
    server.stop()
    time.sleep(6)  # twice what a heartbeat is given
    server.start()
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert errors.count("does not answer") == 1
    assert errors.count("answers again after") == 1
    assert "Traceback" not in errors
    check_finished(server.url, 8, "outage")
    assert not [t for t in trials(server.url, "outage") if t.system_attrs.get(RETRIED)]


@pytest.mark.slow
@pytest.mark.postgresql
def test_four_processes_on_an_empty_postgresql_of_which_two_are_killed(tmp_path: Path, postgresql: str) -> None:
    options = (
        "search.n_trials=12", "train.epochs=25", "search.pruner=none", f"search.storage={postgresql}",
        "search.heartbeat_seconds=1",
    )  # fmt: skip
    started = [start(tmp_path / str(k), *options) for k in range(4)]
    wait_for(postgresql, 2, started[0])
    for process in started[:2]:
        process.kill()
    for process in started[:2]:
        process.wait()
    for process in started[2:]:
        _, errors = process.communicate(timeout=280)
        assert process.returncode == 0, errors
    check_finished(postgresql, 12)
    best = [summary(tmp_path / str(k))["best"] for k in (2, 3)]
    assert best[0]["program_sha256"] == best[1]["program_sha256"]
