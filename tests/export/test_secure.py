"""The secure export, run with numpy in the open, against the interpreter; who has what in its folder."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings

from edgesearch.errors import ConfigError
from edgesearch.export import oblivious
from edgesearch.export.rounds import apart, grouped
from edgesearch.export.secure import data, source
from edgesearch.export.segments import segments
from edgesearch.numerics.approximation import approximate
from edgesearch.numerics.format import Format, Ints, round_shift
from edgesearch.numerics.operations import Apply
from edgesearch.numerics.program import IntegerProgram
from tests.compress.test_quantizer import CELLS, Shape
from tests.compress.test_structure import CONVOLUTIONAL, program, weights_of
from tests.measure import test_windows
from tests.measure.test_compiled import DRAWN, PROGRAMS, Case, program_of, windows


def check(integer: IntegerProgram, x: Ints) -> None:
    """Run program.py on x (T, N, D) with numpy."""
    module: dict[str, Any] = {}
    exec(compile(source(integer), "program.py", "exec"), module)  # noqa: S102
    model = {name: constant.integers for name, constant in integer.constants.items()}
    assert {name: array.shape for name, array in model.items()} == module["SHAPES"]
    logits = module["run"](np, model, np.ascontiguousarray(x.transpose(1, 0, 2)))
    np.testing.assert_array_equal(logits, integer.run(x).logits)


def network(k: int) -> IntegerProgram:
    spec = CONVOLUTIONAL[k]
    return program(spec, weights_of(spec), torch.randn(spec.steps, 30, spec.input_size), None)


@pytest.mark.parametrize("low", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_every_cell(cell: tuple[str, bool], low: bool) -> None:
    for bits in (8, 16):
        integer = program_of(Case(cell, Shape(7, low, 2), 8, bits, True))
        check(integer, windows(integer))


@settings(max_examples=12, deadline=None, derandomize=True, database=None)
@given(DRAWN)
def test_any_model(case: Case) -> None:
    integer = program_of(case)
    check(integer, windows(integer, seed=case.seed))


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_written_by_hand(name: str) -> None:
    check(PROGRAMS[name], windows(PROGRAMS[name]))


@pytest.mark.parametrize("k", range(len(CONVOLUTIONAL)), ids=lambda k: CONVOLUTIONAL[k].cell)
def test_networks(k: int) -> None:
    integer = network(k)
    check(integer, windows(integer))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(test_windows.slides())
def test_any_stride_and_padding(integer: IntegerProgram) -> None:
    check(integer, windows(integer, 12))


@pytest.mark.parametrize("shift", [-3, 0, 1, 13, 40, 60])
def test_rounding_and_holding_at_the_edges(shift: int) -> None:
    top = 2 ** (57 if shift < 0 else 61) - 2**60 // 2 * (shift == 60)
    edges = [sign * (base + k) for base in (0, 2**31, 2**40, top - 3) for k in (-1, 0, 1) for sign in (-1, 1)]
    x = np.array([edges])
    np.testing.assert_array_equal(oblivious.rounded(x, shift), round_shift(x, shift))
    for low, high in ((-128, 127), (0, 2**31 - 1), (-5, -5)):
        np.testing.assert_array_equal(oblivious.held(np, x, low, high), np.clip(x, low, high))


@pytest.mark.parametrize("function", ["sigmoid", "tanh"])
@pytest.mark.parametrize("to", [Format(16, 14), Format(8, 7), Format(16, 15), Format(12, 3)], ids=str)
@pytest.mark.parametrize("error", [1e-3, 0.02])
def test_tables_on_every_input(function: str, to: Format, error: float) -> None:
    table = approximate(function, Format(16, 11), to, error)
    every = np.arange(-(2**15), 2**15)[None]
    np.testing.assert_array_equal(oblivious.applied(np, every, vars(segments(table))), table(every))


def test_operations_share_their_rounds() -> None:
    integer = program_of(Case(("lstm", False), Shape(7, False, 1), 8, 16, False))
    free, bound = apart(integer)
    groups = grouped(integer, bound)
    assert len(free) + len(bound) == len(integer.step)
    assert sorted(o.out for g in groups for o in g.operations) == sorted(o.out for o in bound)
    assert max(len(group.operations) for group in groups if isinstance(group.operations[0], Apply)) == 3
    known = {"input", *integer.constants, *integer.states, *(o.out for o in free)}
    for group in groups:
        assert all(known.issuperset(o.reads) for o in group.operations)
        known |= {o.out for o in group.operations}


def test_the_folder_keeps_constants_out_of_the_program(tmp_path: Path) -> None:
    integer = program_of(Case(("fastgrnn", False), Shape(7, True, 1), 8, 16, True))
    folder = tmp_path / "secure"
    integer.export(folder, "secure")
    assert {path.name for path in folder.glob("[!.]*")} == {"program.py", "model.npz", "README.md"}
    with np.load(folder / "model.npz", allow_pickle=False) as model:
        stored = {name: model[name] for name in model.files}
    assert stored.keys() == integer.constants.keys()
    for name, constant in integer.constants.items():
        assert stored[name].dtype == np.int64
        np.testing.assert_array_equal(stored[name], constant.integers)
    # the structure is the same for other constants of the same ranges
    text = (folder / "program.py").read_text(encoding="utf-8")
    assert source(IntegerProgram(**{**vars_of(integer), "constants": reversed_rows(integer)})) == text
    imported = {
        alias.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import) for alias in node.names
    }
    assert imported == {"numpy", "sys"}
    x = windows(integer, 12)
    (folder / "data.npz").write_bytes(data(integer, x))
    command = [sys.executable, "program.py", "model.npz", "data.npz"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(integer.run(x).logits)
    (folder / "notes").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="with notes; give another folder"):
        integer.export(folder, "secure")


def vars_of(integer: IntegerProgram) -> dict[str, Any]:
    names = ("steps", "values", "constants", "tables", "states", "step", "head", "logits", "about")
    return {name: getattr(integer, name) for name in names}


def reversed_rows(integer: IntegerProgram) -> dict[str, Any]:
    return {name: type(c)(c.integers[::-1].copy(), c.format) for name, c in integer.constants.items()}


def test_words_about_a_model_end_no_string() -> None:
    integer = program_of(Case(("fastrnn", False), Shape(2, False, 1), 8, 8, False))
    integer.about["classes"] = 'a """ *) {} \\ b'
    check(integer, windows(integer, 11))
