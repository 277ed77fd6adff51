"""Programs over secret shares: SecretFlow SPU's answers against the interpreter's, in one process and as parties."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from edgesearch.config.cache import cache_dir
from edgesearch.errors import ConfigError, SecretDifferenceError, ToolError
from edgesearch.export import oblivious
from edgesearch.export.secure import data, secure_files
from edgesearch.measure import secure
from edgesearch.measure.secure import PACKAGE, VARIABLE, check_logits, environment, run_secure
from edgesearch.numerics.format import Ints, round_shift
from edgesearch.numerics.program import IntegerProgram
from tests.compress.test_quantizer import CELLS, Shape
from tests.export.test_secure import network
from tests.measure.test_compiled import Case, program_of, windows
from tests.test_main import FAST, run

ROWS = 12  # all kinds of windows


@pytest.fixture
def python() -> Path:
    if not os.environ.get(VARIABLE):
        pytest.skip(f"needs an environment with {PACKAGE}: {VARIABLE} names none")
    return environment(False)


def folder_of(program: IntegerProgram, x: Ints, folder: Path) -> Path:
    for name, content in (secure_files(program) | {"data.npz": data(program, x)}).items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


@pytest.mark.secure
@pytest.mark.parametrize("protocol", ["semi2k", "aby3"])
@pytest.mark.parametrize("cell", [*CELLS, "lenet5"], ids=str)
def test_shares_give_the_interpreters_logits(
    cell: tuple[str, bool] | str, protocol: str, python: Path, tmp_path: Path
) -> None:
    program = network(0) if isinstance(cell, str) else program_of(Case(cell, Shape(3, True, 1), 8, 16, True))
    x = windows(program, ROWS)
    found = run_secure(python, folder_of(program, x, tmp_path), protocol, ROWS, 8, processes=False, timeout=200)
    check_logits(found.logits, program.run(x).logits, protocol)
    assert found.rounds > 0
    assert found.sent_bytes > found.shared_bytes > 8 * sum(c.integers.size for c in program.constants.values())


@pytest.mark.secure
@pytest.mark.parametrize("protocol", ["semi2k", "aby3"])
def test_parties_that_are_processes_read_their_own_file_alone(protocol: str, python: Path, tmp_path: Path) -> None:
    program = program_of(Case(("fastgrnn", False), Shape(3, False, 1), 8, 16, False, "quantSigm", "quantTanh"))
    x = windows(program, 11)
    folder = folder_of(program, x, tmp_path)
    (tmp_path / "jobs").mkdir()
    jobs = secure._jobs(folder, protocol, 11, 11, tmp_path / "jobs" / "logits.npy", processes=True)
    told = [json.loads(own.with_suffix(".json").read_text(encoding="utf-8")) for own in jobs]
    owned = [[kind for kind in ("model", "data") if job[kind] is not None] for job in told]
    assert owned == [["model"], ["data"], []][: len(jobs)]
    found = run_secure(python, folder, protocol, 11, 11, processes=True, timeout=200)
    check_logits(found.logits, program.run(x).logits, protocol)


EDGES = """
def run(xp, m, x, loop=None):
    x = x[:, 0] + m["zero"]
    held_there = [held(xp, x, low, high) for low, high in ((-128, 127), (0, 2**31 - 1), (-5, -5))]
    rounded_there = [rounded(x, shift) for shift in (1, 7, 13, 31, 40, 59)]
    return xp.concatenate([*held_there, *rounded_there, xp.max(x, axis=1, keepdims=True)], axis=1)
"""


@pytest.mark.secure
@pytest.mark.parametrize("protocol", ["semi2k", "aby3"])
def test_shares_round_and_hold_at_the_edges(protocol: str, python: Path, tmp_path: Path) -> None:
    ends = [sign * (base + k) for base in (3, 2**31, 2**40, 2**60, 2**61 - 2) for k in (-1, 0, 1) for sign in (-1, 1)]
    x = np.array([[ends, ends[::-1]]])  # (T, N, D)
    arithmetic = Path(oblivious.__file__).read_text(encoding="utf-8")
    sizes = f"STEPS, INPUTS, CLASSES = 1, {len(ends)}, {9 * len(ends) + 1}\nSHAPES = {{'zero': (1,)}}\n"
    (tmp_path / "program.py").write_text(f"{arithmetic}\n{sizes}\n{EDGES}", encoding="utf-8")
    np.savez(tmp_path / "model.npz", zero=np.zeros(1, np.int64))
    np.savez(tmp_path / "data.npz", windows=x.transpose(1, 0, 2))
    found = run_secure(python, tmp_path, protocol, 2, 2, processes=False, timeout=200)
    parts = [np.clip(x[0], low, high) for low, high in ((-128, 127), (0, 2**31 - 1), (-5, -5))]
    parts += [round_shift(x[0], shift) for shift in (1, 7, 13, 31, 40, 59)]
    check_logits(found.logits, np.concatenate([*parts, x[0].max(axis=1, keepdims=True)], axis=1), protocol)


@pytest.mark.secure
def test_a_broken_program_is_one_line(python: Path, tmp_path: Path) -> None:
    program = program_of(Case(("fastrnn", False), Shape(2, False, 1), 8, 8, False))
    folder = folder_of(program, windows(program, 11), tmp_path)
    (folder / "program.py").write_text("SHAPES = STEPS", encoding="utf-8")
    with pytest.raises(ToolError, match="got exit code 1: NameError: name 'STEPS' is not defined"):
        run_secure(python, folder, "semi2k", 11, 11, processes=True, timeout=200)


@pytest.mark.secure
@pytest.mark.usefixtures("python")
def test_the_task_says_what_shares_cost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, capsys, *FAST, f"outputs_dir={tmp_path}")[0] == 0
    folder = next(tmp_path.glob("digits/fastgrnn/*"))
    settings = ("secure.rows=5", "secure.batch=3", "secure.protocol=both")
    code, out, err = run(monkeypatch, capsys, "task=secure", f"run={folder}", *settings)
    assert code == 0, err
    assert "0 of 50" in out
    runs = json.loads((folder / "export" / "secure" / "secure.json").read_text(encoding="utf-8"))["runs"]
    assert [(each["protocol"], each["parties"], each["rows"]) for each in runs] == [("semi2k", 2, 5), ("aby3", 3, 5)]
    assert runs[0]["accuracy"] == runs[1]["accuracy"]


def test_an_environment_has_to_be_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv(VARIABLE, str(tmp_path / "python"))
    with pytest.raises(ConfigError, match=f"{VARIABLE} must name a Python interpreter with {PACKAGE}, got .*correct"):
        environment(False)
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(ConfigError, match=r"got none in .*; set secure.install=true"):
        environment(False)
    (cache_dir() / "spu-0.9.5").mkdir(parents=True)  # (what is left of a damaged one)
    with pytest.raises(ConfigError, match=r"got none in .*; set secure.install=true"):
        environment(False)
    (cache_dir() / "spu-0.9.5" / "bin").mkdir()
    (cache_dir() / "spu-0.9.5" / "bin" / "python").touch()
    assert environment(False) == cache_dir() / "spu-0.9.5" / "bin" / "python"


def test_an_interpreter_without_spu_is_named(tmp_path: Path) -> None:
    program = program_of(Case(("fastrnn", False), Shape(2, False, 1), 8, 8, False))
    folder = folder_of(program, windows(program, 11), tmp_path)
    with pytest.raises(ToolError, match=f"No module named '(jax|spu)'; {VARIABLE} must name"):
        run_secure(Path(sys.executable), folder, "semi2k", 11, 11, processes=False, timeout=100)


def test_a_difference_is_counted_and_named() -> None:
    expected = np.arange(6).reshape(2, 3)
    check_logits(expected, expected, "semi2k")
    with pytest.raises(
        SecretDifferenceError, match="got 1 of 6 that differ, first in window 1, class 2: 5 in"
    ) as caught:
        check_logits(expected - np.array([[0, 0, 0], [0, 0, 1]]), expected, "semi2k")
    assert caught.value.exit_code == 2
    with pytest.raises(SecretDifferenceError, match=r"must give \(2, 3\) logits, got \(1, 3\)"):
        check_logits(expected[:1], expected, "aby3")
