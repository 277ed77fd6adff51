"""The EzPC text, translated to plaintext C++ by its syntax and run, against the interpreter."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgesearch.errors import ConfigError
from edgesearch.export.ezpc import client, ezpc_files
from edgesearch.export.ezpc_text import Names
from edgesearch.numerics.format import Ints
from edgesearch.numerics.program import IntegerProgram
from tests.compress.test_quantizer import Shape
from tests.compress.test_structure import CONVOLUTIONAL
from tests.export.ezpc_to_cpp import to_cpp
from tests.export.test_secure import network
from tests.measure import test_windows
from tests.measure.test_compiled import PROGRAMS, Case, program_of, windows

CASES = {
    "fastgrnn, tables": Case(("fastgrnn", False), Shape(7, False, 1), 8, 16, False),
    "fastgrnn, lines": Case(("fastgrnn", False), Shape(7, True, 2), 4, 16, False, "quantSigm", "quantTanh"),
    "fastrnn, relu": Case(("fastrnn", False), Shape(5, False, 1), 8, 16, False, "quantSigm4", "relu"),
    "lstm, sparse": Case(("lstm", False), Shape(7, False, 1), 8, 16, True),
    "lstm, low rank": Case(("lstm", False), Shape(9, True, 1), 16, 16, False),
    "gru": Case(("gru", True), Shape(7, False, 1), 8, 8, False),
    "ugrnn": Case(("ugrnn", False), Shape(7, False, 1), 8, 16, False),
}


def ran(program: IntegerProgram, x: Ints, folder: Path) -> Ints:
    """The logits (N, C) that the translated text gives for windows (T, N, D)."""
    made = ezpc_files(program)
    (folder / "model.cpp").write_text(to_cpp(made["model.ezpc"]), encoding="utf-8")
    (folder / "server.txt").write_text(made["server.txt"], encoding="utf-8")
    command = ["g++", "-std=c++17", "-O1", "-fwrapv", "-fsanitize=bounds", "-fno-sanitize-recover=all"]
    subprocess.run([*command, "-o", str(folder / "model"), str(folder / "model.cpp")], check=True)
    rows = []
    for row in range(x.shape[1]):
        (folder / "client.txt").write_text(client(x[:, row]), encoding="utf-8")
        command = [str(folder / name) for name in ("model", "server.txt", "client.txt")]
        rows.append(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    return np.array(rows, np.int64)


@pytest.mark.parametrize("name", CASES)
def test_cells(name: str, tmp_path: Path) -> None:
    program = program_of(CASES[name])
    x = windows(program, 12)
    np.testing.assert_array_equal(ran(program, x, tmp_path), program.run(x).logits)


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_written_by_hand(name: str, tmp_path: Path) -> None:
    x = windows(PROGRAMS[name], 11)
    np.testing.assert_array_equal(ran(PROGRAMS[name], x, tmp_path), PROGRAMS[name].run(x).logits)


def test_convolutions_and_poolings(tmp_path: Path) -> None:
    program = test_windows.network(4, 8)
    x = test_windows.windows(program, 10)
    np.testing.assert_array_equal(ran(program, x, tmp_path), program.run(x).logits)


@pytest.mark.parametrize("k", range(len(CONVOLUTIONAL)), ids=lambda k: CONVOLUTIONAL[k].cell)
def test_networks(k: int, tmp_path: Path) -> None:
    program = network(k)
    x = windows(program, 11)
    np.testing.assert_array_equal(ran(program, x, tmp_path), program.run(x).logits)


def test_the_folder_has_a_window_and_its_logits(tmp_path: Path) -> None:
    program = program_of(CASES["gru"])
    program.export(tmp_path / "ezpc", "ezpc")
    files = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "ezpc").glob("[!.]*")}
    assert files.keys() == {"model.ezpc", "server.txt", "client.txt", "expected.txt", "README.md"}
    window = np.array(files["client.txt"].split(), np.int64).reshape(program.steps, 1, program.inputs)
    assert files["expected.txt"].split() == [str(v) for v in program.run(window).logits[0]]
    (tmp_path / "ezpc" / "notes").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="with notes; give another folder"):
        program.export(tmp_path / "ezpc", "ezpc")


def test_names_have_letters_and_digits_and_stay_apart() -> None:
    names = Names(["l0_h_next", "l0_hNext", "input", "x", "_", "total", "K1"])
    assert names["l0_h_next"] == "l0HNext"
    assert all(own.isalnum() and own[0].isalpha() for own in names.values())
    assert len({own.lower() for own in names.values()}) == len(names)
