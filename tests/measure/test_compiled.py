"""The exported C, compiled and run, against the interpreter in every unit of every operation."""

import itertools
import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesearch.atomic import told
from edgesearch.compress.quantizer import Quantizer
from edgesearch.config.schema import NONLINEARITIES
from edgesearch.errors import DifferenceError
from edgesearch.export.c import files
from edgesearch.measure.compiled import Variant, _obstacle, compare, variants
from edgesearch.numerics.approximation import approximate
from edgesearch.numerics.format import Format, Ints
from edgesearch.numerics.interpreter import run
from edgesearch.numerics.operations import Affine, Apply, Combine, Term
from edgesearch.numerics.packing import ENCODINGS
from edgesearch.numerics.program import Constant, IntegerProgram, Value
from tests.compress.test_quantizer import CELLS, Shape, classifier, sequences

VARIANTS = variants()
FAST = [v for v in VARIANTS if "-O2" in v.flags][:1]


class Case(NamedTuple):
    cell: tuple[str, bool]
    shape: Shape
    weights: int
    activations: int
    sparse: bool
    gate: str = "sigmoid"
    update: str = "tanh"
    seed: int = 0


def program_of(case: Case) -> IntegerProgram:
    """A quantised random model whose input format goes far beyond the data that its other formats were made for."""
    model = classifier(case.cell, case.shape, case.gate, case.update, case.seed)
    for k, parameter in enumerate(model.parameters()):
        if case.sparse and parameter.numel() > case.shape.hidden:
            parameter.data.mul_(torch.rand_like(parameter) < (0.35, 0.04)[(k + case.seed) % 2])
    quantizer = Quantizer(model, case.weights, activation_bits=case.activations, range="max")
    quantizer.model(sequences())
    seen = quantizer.ranges.observed["input"]
    seen.largest, seen.sample = 6 * seen.largest, 6 * seen.sample
    quantizer.ranges.frames = None
    return quantizer.program


def windows(program: IntegerProgram, count: int = 40, seed: int = 0) -> Ints:
    """Integers over the whole input format: random ones, the extremes, and small ones."""
    format = program.values["input"].format
    x = np.random.default_rng(seed).integers(format.low, format.high + 1, (program.steps, count, program.inputs))
    x[:, 0], x[:, 1], x[:, 2] = format.low, format.high, 0
    x[:, 3:10] >>= 3
    return x


SHAPES = [Shape(h, low, layers) for h in (1, 7, 33, 100) for low in (False, True) for layers in (1, 2)]
EVERY = list(itertools.product(CELLS, SHAPES, (4, 8, 16), (8, 16), (False, True)))
CASES = [Case(*EVERY[k])._replace(seed=int(k)) for k in np.random.default_rng(0).permutation(len(EVERY))[:120]]


def test_the_cases_cover_every_pair_of_choices() -> None:
    choices = [(*c[:1], *c[2:5], *c.shape) for c in CASES]
    for a, b in itertools.combinations(range(len(choices[0])), 2):
        assert len({(c[a], c[b]) for c in choices}) == len({c[a] for c in choices}) * len({c[b] for c in choices})


@pytest.mark.parametrize("case", CASES, ids=lambda c: "-".join(map(str, (*c.cell, *c.shape, *c[2:5]))))
def test_c_equals_the_interpreter(case: Case) -> None:
    program = program_of(case)
    x = windows(program)
    assert sum(int(counts.sum()) for counts in run(program, x).saturations.values()) > 0
    assert [a.tolist() for a in compare(program, x, FAST).values()] == [run(program, x).answers.tolist()]


def test_the_cases_store_matrices_in_every_way() -> None:
    programs = [program_of(case) for case in CASES if case.sparse and case.activations == 16]
    matrices = [c for p in programs for c in p.constants.values() if c.integers.ndim == 2]
    assert {(m.encoding, m.format.bits) for m in matrices} == set(itertools.product(ENCODINGS, (4, 8, 16)))


@pytest.mark.parametrize("names", [(g, NONLINEARITIES[(k + 3) % 6]) for k, g in enumerate(NONLINEARITIES)])
@pytest.mark.parametrize("cell", CELLS)
def test_every_nonlinearity(cell: tuple[str, bool], names: tuple[str, str]) -> None:
    program = program_of(Case(cell, Shape(5), 8, 16 if len(names[0]) % 2 else 8, False, *names))
    compare(program, windows(program), FAST)


@pytest.mark.parametrize("cell", CELLS)
def test_sanitizers_find_nothing(cell: tuple[str, bool]) -> None:
    program = program_of(Case(cell, Shape(9, True, 2), 4, 16, True))
    assert len(compare(program, windows(program), [v for v in VARIANTS if v not in FAST])) >= 2


NAMES = st.sampled_from([name for name in NONLINEARITIES if name != "relu"])
DRAWN = st.builds(
    Case, st.sampled_from(CELLS), st.builds(Shape, st.integers(1, 20), st.booleans(), st.integers(1, 3)),
    st.integers(2, 16), st.integers(8, 16), st.booleans(), NAMES, NAMES, st.integers(0, 1000),
)  # fmt: skip


@settings(max_examples=15, deadline=None, derandomize=True, database=None)
@given(DRAWN)
def test_any_model(case: Case) -> None:
    program = program_of(case)
    compare(program, windows(program, seed=case.seed), FAST)


S8, S16 = Format(8, 4), Format(16, 9)
FRAME = Value(3, S8)


def hand_written(
    step: tuple[Any, ...], head: tuple[Any, ...], states: dict[str, str], frame: Value = FRAME, **constants: Ints
) -> IntegerProgram:
    """Values of 3 units in s16.9, constants in s8.4; the last operation gives the logits."""
    values = {"input": frame} | {operation.out: Value(3, S16) for operation in (*step, *head)}
    values |= {s: values.get(source, frame) for s, source in states.items()}
    tables = {o.out: approximate(o.function, S16, S16, 0.05) for o in step if isinstance(o, Apply)}
    stored = {name: Constant(numbers, S8) for name, numbers in constants.items()}
    return IntegerProgram(4, values, stored, tables, states, step, head, head[-1].out)


def sum_of(out: str, *names: str, **bounds: float) -> Combine:
    return Combine(out, tuple(Term((name,)) for name in names), **bounds)


FULL = np.arange(9).reshape(3, 3) * 20 - 75
SPARSE, B = np.diag([0, -77, 0]), np.array([5, -6, 7])
LOGITS = (sum_of("logits", "s"),)
PROGRAMS = {
    "a state read after its next value": hand_written(
        (sum_of("a", "s", "input"), sum_of("c", "s", "a"), sum_of("e", "t", "c", low=-2.0, high=50.0)),
        (sum_of("logits", "s", "t"),), {"s": "a", "t": "e"},
    ),
    "a state that only the head reads": hand_written((sum_of("a", "input", "b"),), LOGITS, {"s": "a"}, b=B),
    "two states with one next value": hand_written(
        (sum_of("a", "s", "t", "input"),), (sum_of("logits", "s", "t"),), {"s": "a", "t": "a"}
    ),
    "a state read whole and by unit": hand_written(
        (Affine("p", (("M", "s"), ("M", "input"))), Apply("k", "p", "tanh"), sum_of("a", "k", "s")),
        (Affine("logits", (("M", "s"),)),), {"s": "a"}, M=FULL,
    ),
    "one sparse matrix for two vectors": hand_written(
        (Affine("a", (("M", "s"), ("M", "input"))),), LOGITS, {"s": "a"}, M=SPARSE
    ),
    "a matrix of zeros": hand_written(
        (Affine("a", (("M", "input"), ("N", "s")), "b"),), LOGITS, {"s": "a"}, Value(40, S8),
        M=np.zeros((3, 40), np.int64), N=FULL, b=B,
    ),
    "an unsigned input": hand_written(
        (Affine("p", (("M", "input"), ("M", "s"))), sum_of("a", "p", "input")), LOGITS, {"s": "a"},
        Value(3, Format(8, 3, signed=False)), M=FULL,
    ),
    "an input of 32 bits": hand_written((sum_of("a", "s", "input"),), LOGITS, {"s": "a"}, Value(3, Format(32, 20))),
    "logits by another name": hand_written((sum_of("a", "s", "input"),), (sum_of("y", "s"),), {"s": "a"}),
}  # fmt: skip


def test_arrays_of_one_loop_of_the_head_keep_out_of_each_others_way() -> None:
    """a and b are made in one loop and read whole by the next: they cannot take turns in one piece of memory."""
    rng = np.random.default_rng(0)
    shapes = {"P": (3, 3), "Q": (3, 3), "R": (4, 3), "S": (4, 3), "L": (3, 4), "W": (3, 3)}
    values = {"input": FRAME, **{name: Value(3, S16) for name in ("h", "p", "a", "b", "y")}, "c": Value(4, S16)}
    program = IntegerProgram(
        2, values, {name: Constant(rng.integers(-90, 91, shape), S8) for name, shape in shapes.items()}, {}, {"h": "p"},
        (Affine("p", (("W", "input"),)),),
        (Affine("a", (("P", "h"),)), Affine("b", (("Q", "h"),)), Affine("c", (("R", "a"), ("S", "b"))),
         Affine("y", (("L", "c"),))), "y",
    )  # fmt: skip
    compare(program, windows(program), variants())


@pytest.mark.parametrize(
    "name", ["memory", "sum", "oc", "ky", "ic", "row", "column", "i", "s", "frame", "logits", "group"]
)
def test_a_map_may_have_a_name_that_the_c_has(name: str) -> None:
    from tests.measure.test_windows import HEAD, T, network

    plain = network(4, 8)
    values = {(name if old == "c1" else old): value for old, value in plain.values.items()}
    head = (replace(HEAD[0], out=name), replace(HEAD[1], source=name), *HEAD[2:])
    program = replace(plain, values=values, head=head)
    x = np.random.default_rng(0).integers(-128, 128, (T, 5, plain.inputs))
    compare(program, x, FAST)


def test_arguments_that_nothing_reads_are_no_warning() -> None:
    """A step without the frame, a head without the states: both are C that compiles with -Werror."""
    counts = (Combine("a", (Term(("s",)), Term(power=-4))),)
    blind = hand_written(counts, (Combine("y", (Term(("s",)),)),), {"s": "a"})
    compare(blind, windows(blind), FAST)
    constant = hand_written(counts, (Combine("y", (Term(power=-2),)),), {"s": "a"})
    compare(constant, windows(constant), FAST)


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_written_by_hand(name: str) -> None:
    compare(PROGRAMS[name], windows(PROGRAMS[name]), FAST)


@pytest.mark.parametrize(
    ("array", "at", "where"),
    [
        ("b", 1, "sequence 1, step 0, operation a, unit 1"),
        ("U", 5, "sequence 299, step 2, operation p, unit 1"),
        ("F", 8, "sequence 299, operation logits, unit 2"),
    ],
)
def test_the_first_difference_is_named(array: str, at: int, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    U = np.array([[1, 2, 3], [4, 5, 6], [0, 0, 7]])
    program = hand_written(
        (Affine("p", (("U", "s"), ("W", "input"))), Combine("a", (Term(("p",)), Term(("b", "input"))))),
        (Affine("logits", (("F", "s"),)),), {"s": "a"}, U=U, W=np.eye(3, dtype=np.int64) * 16, F=FULL, b=B,
    )  # fmt: skip
    x = np.zeros((4, 301, 3), np.int64)
    x[0, 1, 1] = x[1, 299, 2] = x[0, 300, 2] = 100
    compare(program, x, FAST)
    made = files(program)
    start = made["model.c"].index(f" model_{array}_[] MODEL_PLACE = {{")
    parts = re.split(r"(-?\d+)", made["model.c"][start:])
    parts[2 * at + 1] = str(int(parts[2 * at + 1]) + 1)
    edited = made | {"model.c": made["model.c"][:start] + "".join(parts)}
    monkeypatch.setattr("edgesearch.measure.compiled.files", lambda _: edited)
    with pytest.raises(DifferenceError) as caught:
        compare(program, x, FAST)
    words = rf"{FAST[0].name} differs first in (.*): (-?\d+) in the interpreter, (-?\d+) in C"
    found = re.fullmatch(words, str(caught.value))
    assert found is not None, caught.value
    assert (found[1], found[2] == found[3]) == (where, False)


EXPORTED = {
    "dense": Case(("gru", True), Shape(7, False, 2), 8, 8, False),
    "sparse": Case(("lstm", False), Shape(33, False, 1), 4, 16, True),
    "factors": Case(("fastgrnn", False), Shape(33, True, 1), 16, 16, True),
    "lines": Case(("ugrnn", False), Shape(7, False, 1), 8, 16, False, "quantSigm4", "relu"),
}


def made(folder: Path) -> subprocess.CompletedProcess[str]:
    command = ["make", "-C", str(folder), "--no-print-directory", "clean", "test"]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]})


@pytest.mark.parametrize("name", [*EXPORTED, *PROGRAMS])
def test_the_folder_compiles_without_warnings_and_tests_itself(name: str, tmp_path: Path) -> None:
    program = PROGRAMS[name] if name in PROGRAMS else program_of(EXPORTED[name])
    program.export(tmp_path / "c")
    done = made(tmp_path / "c")
    assert (done.stderr, done.returncode) == ("", 0)
    assert "windows, no difference" in done.stdout
    assert {"-std=c99", "-pedantic", "-Wall", "-Wextra"} <= set(done.stdout.split())


def test_the_folder_notices_another_logit(tmp_path: Path) -> None:
    program_of(EXPORTED["dense"]).export(tmp_path / "c")
    golden = tmp_path / "c" / "test" / "golden.h"
    before, numbers = golden.read_text(encoding="utf-8").split("golden_logits[] = {")
    changed = re.sub(r"-?\d+", lambda found: str(int(found[0]) ^ 1), numbers, count=1)
    golden.write_text(f"{before}golden_logits[] = {{{changed}", encoding="utf-8")
    assert "window 0, class 0" in made(tmp_path / "c").stdout


@pytest.mark.parametrize("name", EXPORTED)
def test_the_model_has_only_integers_and_no_division(name: str, tmp_path: Path) -> None:
    program_of(EXPORTED[name]).export(tmp_path / "c")
    for file in ("model.c", "model.h"):
        text = (tmp_path / "c" / file).read_text(encoding="utf-8")
        text = re.sub(r"#if !defined\(MODEL_NO_FLOAT\).*?#endif", "", text, flags=re.DOTALL)
        code = re.sub(r"/\*.*?\*/|^#include.*?$", "", text, flags=re.DOTALL | re.MULTILINE)
        assert re.findall(r"\b(?:float|double|malloc|calloc|alloca)\b|[/%]|\d\.\d", code) == []
        assert "//" not in text


def test_a_compiler_without_room_is_no_missing_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "cc"
    script.write_text("#!/bin/sh\necho 'cc: error: /tmp/x.o: No space left on device' >&2\nexit 1\n")
    script.chmod(0o755)
    with pytest.raises(OSError, match="No space left") as caught:
        _obstacle.__wrapped__(Variant(str(script), ("-O2",)))
    assert "set TMPDIR" in told(caught.value)
