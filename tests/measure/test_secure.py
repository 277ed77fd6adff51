"""Programs over secret shares: SecretFlow SPU's answers against the interpreter's, in one process and as parties."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from edgesearch.config.cache import cache_dir
from edgesearch.errors import ConfigError, SecretDifferenceError, ToolError
from edgesearch.export.secure import data, secure_files
from edgesearch.measure.secure import PACKAGE, VARIABLE, check_logits, environment, run_secure
from edgesearch.numerics.format import Ints
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
    found = run_secure(python, folder_of(program, x, tmp_path), protocol, 11, 11, processes=True, timeout=200)
    check_logits(found.logits, program.run(x).logits, protocol)


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
    (cache_dir() / "spu-0.9.5").mkdir(parents=True)
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
