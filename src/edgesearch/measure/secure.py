"""An exported program run over secret shares by SecretFlow SPU: a folder of `export=secure` in, logits and costs out.

SPU pins older versions of numpy and jax, so it runs in an environment of its own, and `spu_runner` beside this module
is the script that runs there.
"""

import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from edgesearch.atomic import scratch_folder
from edgesearch.config.cache import cache_dir
from edgesearch.errors import ConfigError, SecretDifferenceError, ToolError
from edgesearch.numerics.format import Ints

PACKAGE = "spu==0.9.5"
VARIABLE = "EDGESEARCH_SECURE_PYTHON"
PARTIES = {"semi2k": 2, "aby3": 3}
_VERSIONS = ("3.11", "3.10")
_RUNNER = Path(__file__).with_name("spu_runner.py")
_SENT = re.compile(r"Link details: total send bytes (\d+), recv bytes \d+, send actions (\d+)")


@dataclass(frozen=True)
class Job:
    """What a runner does: party `rank`, or all parties where it is None; `model` and `data` are told their owners."""

    protocol: str
    addresses: tuple[str, ...]
    rank: int | None
    program: str
    model: str | None
    data: str | None
    rows: int
    batch: int
    logits: str
    told: str


@dataclass(frozen=True)
class SecureRun:
    """What a run over secret shares gave and cost.

    Attributes:
        logits: (rows, C), as revealed to the owner of the data.
        seconds: sharing, computing and revealing all rows; compiling and starting are not in it.
        compile_seconds: making SPU's bytecode, once.
        rounds: messages that the busiest party sends in a batch, as SPU's link counts them; at least the rounds.
        sent_bytes: of all parties, computing all rows, as SPU's link counts them.
        shared_bytes: of all parties, sharing the model once and every row, and revealing the logits.
    """

    logits: Ints
    seconds: float
    compile_seconds: float
    rounds: int
    sent_bytes: int
    shared_bytes: int


def environment(install: bool) -> Path:
    """Return the interpreter of SPU's environment: EDGESEARCH_SECURE_PYTHON, or that in the user's cache.

    Raises:
        ConfigError: there is none, and `install` does not ask for one.
        ToolError: it could not be made.
    """
    named = os.environ.get(VARIABLE)
    if named:
        if not Path(named).is_file():
            raise ConfigError(
                f"{VARIABLE} must name a Python interpreter with {PACKAGE}, got {named}; correct the path"
            )
        return Path(named)
    folder = cache_dir() / PACKAGE.replace("==", "-")
    if not (folder / "bin" / "python").is_file():
        if not install:
            raise ConfigError(
                f"task=secure needs an environment with {PACKAGE}, got none in {folder}; set secure.install=true, or "
                f"{VARIABLE} to an interpreter that has it"
            )
        _install(folder)
    return folder / "bin" / "python"


def run_secure(
    python: Path, folder: Path, protocol: str, rows: int, batch: int, *, processes: bool, timeout: float | None = None
) -> SecureRun:
    """Run `folder`/program.py on the first rows of its data.npz.

    Args:
        python: the interpreter of `environment`.
        folder: program.py, model.npz and data.npz.
        protocol: of `PARTIES`.
        rows: windows.
        batch: windows at once.
        processes: each party is a process on this machine, else a thread of one process.
        timeout: seconds after which it is given up.

    Raises:
        ToolError: SPU failed.
    """
    count = PARTIES[protocol]
    with scratch_folder() as scratch:
        logits = scratch / "logits.npy"
        jobs = _jobs(folder, protocol, rows, batch, logits, processes=processes)
        _run(python, jobs, timeout)
        if not all(own.with_suffix(".told").is_file() for own in jobs):
            raise ToolError(f"SPU must say what it did, got nothing from {python}; use a Python with {PACKAGE}")
        told = [json.loads(own.with_suffix(".told").read_text(encoding="utf-8")) for own in jobs]
        logs = [own.with_suffix(".log").read_text(encoding="utf-8", errors="replace") for own in jobs]
        sent = [(int(b), int(n)) for log in logs for b, n in _SENT.findall(log)]
        if len(sent) != count * -(-rows // batch):
            raise ToolError(f"SPU must say for each batch and party what it sent, got {len(sent)}; use {PACKAGE}")
        return SecureRun(
            logits=np.load(logits, allow_pickle=False),
            seconds=max(each["seconds"] for each in told),
            compile_seconds=max(each["compile_seconds"] for each in told),
            rounds=max(n for _, n in sent),
            sent_bytes=sum(b for b, _ in sent),
            shared_bytes=sum(each["shared_bytes"] for each in told),
        )


def _jobs(folder: Path, protocol: str, rows: int, batch: int, logits: Path, *, processes: bool) -> list[Path]:
    """Write a job for each party, or one for all; what a job leaves lies beside it, with other suffixes."""
    count, jobs = PARTIES[protocol], []
    addresses = _addresses(count) if processes else tuple(f"thread{rank}" for rank in range(count))
    for rank in range(count) if processes else [None]:
        own = logits.parent / str(rank)
        model = str(folder / "model.npz") if rank in (0, None) else None
        data = str(folder / "data.npz") if rank in (1, None) else None
        program, told = str(folder / "program.py"), f"{own}.told"
        job = Job(protocol, addresses, rank, program, model, data, rows, batch, str(logits), told)
        own.with_suffix(".json").write_text(json.dumps(asdict(job)), encoding="utf-8")
        jobs.append(own)
    return jobs


def check_logits(found: Ints, expected: Ints, protocol: str) -> None:
    """Compare the revealed logits with the interpreter's.

    Raises:
        SecretDifferenceError: they differ; the message counts the values and names the first.
    """
    if found.shape != expected.shape:
        raise SecretDifferenceError(f"{protocol} must give {expected.shape} logits, got {found.shape}")
    differ = np.argwhere(found != expected)
    if len(differ):
        row, k = differ[0]
        raise SecretDifferenceError(
            f"{protocol} must give the interpreter's logits, got {len(differ)} of {expected.size} that differ, first "
            f"in window {row}, class {k}: {expected[row, k]} in the interpreter, {found[row, k]} over shares"
        )


def _run(python: Path, jobs: list[Path], timeout: float | None) -> None:
    """Run a process for each job; when one fails the others are ended."""
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTHONPATH", None)
    processes = []
    try:
        for own in jobs:
            with own.with_suffix(".log").open("wb") as log:
                command = [str(python), str(_RUNNER), str(own.with_suffix(".json"))]
                processes.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment))
        left, end = dict(zip(jobs, processes, strict=True)), time.monotonic() + (timeout or math.inf)
        while left:
            for own in [own for own, process in left.items() if process.poll() is not None]:
                code = left.pop(own).returncode
                if code:
                    raise ToolError(f"SPU must run the program, got exit code {code}: {_last_line(own)}")
            if time.monotonic() > end:
                raise ToolError(f"SPU must end within {timeout:g} s, got no end; take fewer secure.rows")
            time.sleep(0.05)
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()


def _last_line(own: Path) -> str:
    text = own.with_suffix(".log").read_text("utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if re.match(r"\w*(Error|Exception)\b", line.strip())]
    if any("No module named" in line for line in lines):
        return f"{lines[-1]}; {VARIABLE} must name an interpreter with {PACKAGE}"
    return (lines or text.strip().splitlines() or ["nothing was printed"])[-1][:300]


def _addresses(count: int) -> tuple[str, ...]:
    """Addresses on this machine whose ports are free."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return tuple(f"127.0.0.1:{each.getsockname()[1]}" for each in sockets)
    finally:
        for each in sockets:
            each.close()


def _install(folder: Path) -> None:
    """Make the environment; it is complete or not there."""
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    names = [sys.executable] if running in _VERSIONS else [f"python{version}" for version in _VERSIONS]
    python = next((found for name in names if (found := shutil.which(name))), None)
    if python is None:
        raise ToolError(
            f"{PACKAGE} needs Python {' or '.join(_VERSIONS)}, got {running} and no other; install one of them"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        for command in (
            [python, "-m", "venv", str(partial)],
            [str(partial / "bin" / "python"), "-m", "pip", "install", "--quiet", PACKAGE],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
                raise ToolError(f"the environment of {PACKAGE} could not be made ({reason}); set {VARIABLE} instead")
        shutil.rmtree(folder, ignore_errors=True)  # (a damaged one)
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
