"""Small programs written by hand, against the same sums in plain Python integers."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from edgesearch.errors import DataError, ModelFileError
from edgesearch.numerics.approximation import approximate
from edgesearch.numerics.format import Format, Ints
from edgesearch.numerics.interpreter import input_integers, run
from edgesearch.numerics.operations import Affine, Apply, Combine, Operation, Term, piecewise_linear
from edgesearch.numerics.program import Constant, IntegerProgram, Value

S8, S16 = Format(8, 4), Format(16, 10)


def stored(number: Fraction, format: Format) -> int:
    return min(max(math.floor(number * Fraction(2) ** format.fraction + Fraction(1, 2)), format.low), format.high)


def number(integer: Any, format: Format) -> Fraction:
    return Fraction(int(integer)) / Fraction(2) ** format.fraction


def recurrent(steps: int = 4) -> IntegerProgram:
    """h' = h / 2 * decay + M x + N h + b, logits = F h."""
    rng = np.random.default_rng(0)
    weight, bias, decay = Format(4, 2), Format(16, 13), Format(16, 15)
    constants = {
        "M": Constant(rng.integers(weight.low, weight.high + 1, (2, 3)), weight),
        "N": Constant(rng.integers(weight.low, weight.high + 1, (2, 2)), weight),
        "b": Constant(rng.integers(bias.low, bias.high + 1, 2), bias),
        "decay": Constant(np.array([23170]), decay),
        "F": Constant(rng.integers(-128, 128, (3, 2)), Format(8, 5)),
    }
    return IntegerProgram(
        steps=steps,
        values={"input": Value(3, S8), "h": Value(2, S16), "p": Value(2, Format(16, 9)), "h_next": Value(2, S16),
                "logits": Value(3, Format(16, 8))},
        constants=constants,
        tables={},
        states={"h": "h_next"},
        step=(Affine("p", (("M", "input"), ("N", "h")), "b"),
              Combine("h_next", (Term(("decay", "h"), power=-1), Term(("p",))))),
        head=(Affine("logits", (("F", "h"),)),),
        logits="logits",
    )  # fmt: skip


def by_hand(program: IntegerProgram, x: Ints) -> tuple[list[tuple[int, int]], list[int]]:
    """How many results of p and h_next saturated at each step of one window (T, 3) of `recurrent`, and its logits."""
    f = {name: program.format(name) for name in (*program.values, *program.constants)}
    c = {name: [list(map(Fraction, row)) for row in np.atleast_2d(constant.integers * f[name].step).tolist()]
         for name, constant in program.constants.items()}  # fmt: skip
    h, saturated = [Fraction(0)] * 2, []

    def held(sums: list[Fraction], of: str) -> tuple[list[Fraction], int]:
        integers, wide = [stored(s, f[of]) for s in sums], Format(60, f[of].fraction)
        beyond = sum(stored(s, wide) != integer for s, integer in zip(sums, integers, strict=True))
        return [number(integer, f[of]) for integer in integers], beyond

    def product(row: list[Fraction], vector: list[Fraction]) -> Fraction:
        return sum((w * v for w, v in zip(row, vector, strict=True)), Fraction(0))

    for frame in x.tolist():
        given = [number(v, f["input"]) for v in frame]
        sums = [product(c["M"][i], given) + product(c["N"][i], h) + c["b"][0][i] for i in (0, 1)]
        p, first = held(sums, "p")
        h, second = held([c["decay"][0][0] / 2 * h[i] + p[i] for i in (0, 1)], "h")
        saturated.append((first, second))
    return saturated, [stored(product(row, h), f["logits"]) for row in c["F"]]


def test_a_recurrent_program_and_its_saturations() -> None:
    program = recurrent()
    x = np.random.default_rng(1).integers(S8.low, S8.high + 1, (4, 50, 3))
    outcome = run(program, x)
    expected = [by_hand(program, x[:, n]) for n in range(50)]
    assert outcome.logits.tolist() == [logits for _, logits in expected]
    counts = np.array([saturated for saturated, _ in expected]).sum(axis=0)
    assert [outcome.saturations[name].tolist() for name in ("p", "h_next")] == counts.T.tolist()
    assert counts.sum(axis=0).min() > 0
    assert outcome.saturations["logits"].shape == (1,)


def test_one_sum_rounds_once_halves_upwards_and_saturates() -> None:
    program = IntegerProgram(
        1, {"input": Value(1, Format(8, 2)), "y": Value(1, Format(4, 0))},
        {"w": Constant(np.array([[1]]), Format(8, 1))}, {}, {}, (), (Affine("y", (("w", "window"),)),), "y",
    )  # fmt: skip
    x = np.array([-128, -68, -12, -4, -3, 3, 4, 11, 12, 59, 60, 127])
    outcome = run(program, x.reshape(1, -1, 1))
    assert outcome.logits[:, 0].tolist() == [-8, -8, -1, 0, 0, 0, 1, 1, 2, 7, 7, 7]
    assert outcome.saturations["y"].tolist() == [3]


EXACT: dict[str, Callable[[Fraction], Fraction]] = {
    "relu": lambda a: max(a, Fraction(0)),
    "quantTanh": lambda a: min(max(a, Fraction(-1)), Fraction(1)),
    "quantSigm": lambda a: min(max((a + 1) / 2, Fraction(0)), Fraction(1)),
    "quantSigm4": lambda a: min(max((a + 2) / 4, Fraction(0)), Fraction(1)),
}


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("source", [Format(8, 4), Format(8, 0), Format(8, -2), Format(8, 9)], ids=str)
@pytest.mark.parametrize("to", [Format(8, 7), Format(16, 14), Format(8, 7, signed=False), Format(8, 2)], ids=str)
def test_piecewise_linear_functions_over_every_input(name: str, source: Format, to: Format) -> None:
    program = IntegerProgram(
        1,
        {"input": Value(1, source), "y": Value(1, to)},
        {},
        {},
        {},
        (),
        (piecewise_linear("y", (Term(("window",)),), name),),
        "y",
    )
    x = np.arange(source.low, source.high + 1)
    found = run(program, x.reshape(1, -1, 1)).logits[:, 0]
    assert found.tolist() == [stored(EXACT[name](number(v, source)), to) for v in x]


def test_scalars_spread_over_units_and_terms_subtract() -> None:
    z, one = Format(16, 14), Format(8, 3)
    program = IntegerProgram(
        1,
        {"input": Value(3, z), "y": Value(3, Format(16, 12))},
        {"s": Constant(np.array([-5]), one), "v": Constant(np.array([9, -7, 100]), one)},
        {}, {}, (),
        (Combine("y", (Term(("s", "window"), negative=True), Term(("v",), power=-2), Term(power=1))),),
        "y",
    )  # fmt: skip
    x = np.random.default_rng(2).integers(z.low, z.high + 1, (1, 20, 3))
    expected = [
        [
            stored(-number(-5, one) * number(row[k], z) + number(v, one) / 4 + 2, Format(16, 12))
            for k, v in enumerate((9, -7, 100))
        ]
        for row in x[0]
    ]
    assert run(program, x).logits.tolist() == expected


def test_tables_are_applied_and_observed_in_order() -> None:
    table = approximate("tanh", S16, Format(16, 14), 1e-3)
    program = IntegerProgram(
        2, {"input": Value(1, S16), **{name: Value(1, Format(16, 14)) for name in "hyz"}}, {}, {"y": table}, {"h": "y"},
        (Apply("y", "input", "tanh"),), (Combine("z", (Term(("h",)),)),), "z",
    )  # fmt: skip
    seen: list[tuple[int, str, int]] = []
    run(program, np.array([300, -2000]).reshape(2, 1, 1), lambda t, o, found: seen.append((t, o.out, int(found[0, 0]))))
    assert [s[:2] for s in seen] == [(0, "y"), (1, "y"), (-1, "z")]
    assert all(
        abs(y / 2**14 - math.tanh(x / 2**10)) <= 1e-3 for (_, _, y), x in zip(seen, (300, -2000, -2000), strict=True)
    )


@pytest.mark.parametrize(
    ("bits", "weight", "units"),
    [(8, 8, 6000), (16, 8, 6000), (16, 16, 6000), (28, 8, 6000), (28, 16, 6000), (16, 31, 6000), (28, 31, 2)],
)
def test_large_sums_that_nearly_cancel_are_exact(bits: int, weight: int, units: int) -> None:
    rng = np.random.default_rng(3)
    source, w = Format(bits, 0), Format(weight, 0)
    half = rng.integers(w.high - 9, w.high + 1, units // 2)
    matrix = np.concatenate((half, rng.integers(-1, 2, units // 2) - half)).reshape(1, -1)
    fraction = bits - 16
    program = IntegerProgram(
        1, {"input": Value(units, source), "y": Value(1, Format(32, -fraction))},
        {"M": Constant(matrix, w)}, {}, {}, (), (Affine("y", (("M", "window"),)),), "y",
    )  # fmt: skip
    expected = stored(Fraction(source.high * sum(matrix[0].tolist())), Format(32, -fraction))
    x = np.full((1, 3, units), source.high)
    assert run(program, x).logits.tolist() == [[expected]] * 3


def test_states_change_together() -> None:
    values = {name: Value(1, S8) for name in ("input", "a", "b", "a_next", "b_next", "y")}
    step = (Combine("a_next", (Term(("input",)),)), Combine("b_next", (Term(("a",)),)))
    head = (Combine("y", (Term(("b",)), Term(("a",)))),)
    program = IntegerProgram(3, values, {}, {}, {"b": "b_next", "a": "a_next"}, step, head, "y")
    outcome = run(program, np.array([3, 20, 40]).reshape(3, 1, 1))
    assert outcome.logits.tolist() == [[60]]
    assert {name: state.tolist() for name, state in outcome.states.items()} == {"a": [[40]], "b": [[20]]}


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros((4, 2, 4), np.int64), r"takes integers \(4, N, 3\), got \(4, 2, 4\)"),
        (np.zeros((3, 2, 3), np.int64), "got"),
        (np.zeros((4, 3), np.int64), "got"),
        (np.full((4, 1, 3), 128), r"-128\.\.127 \(s8\.4\), got 128"),
        (np.full((4, 1, 3), -129), "got -129"),
    ],
)
def test_integers_that_do_not_fit_are_refused(x: Ints, words: str) -> None:
    with pytest.raises(DataError, match=words):
        run(recurrent(), x)


def test_input_numbers_become_integers_or_are_refused() -> None:
    program, x = recurrent(), np.tile([0.03125, -0.03125, 1e9], (4, 1, 1))
    assert input_integers(program, x).tolist() == [[[1, 0, 127]]] * 4
    with pytest.raises(DataError, match="finite"):
        input_integers(program, np.full((4, 1, 3), np.nan))
    with pytest.raises(DataError, match=r"windows \(4, N, 3\)"):
        input_integers(program, x[:2])


def test_no_windows_give_no_answers() -> None:
    outcome = run(recurrent(), np.zeros((4, 0, 3), np.int64))
    assert (outcome.logits.shape, outcome.answers.shape) == ((0, 3), (0,))


def test_the_first_largest_logit_answers() -> None:
    program = IntegerProgram(
        1, {"input": Value(3, S8), "y": Value(3, S8)}, {}, {}, {}, (), (Combine("y", (Term(("window",)),)),), "y"
    )
    x = np.array([[1, 5, 5], [7, 7, 7], [-3, -2, -1]]).reshape(1, 3, 3)
    assert run(program, x).answers.tolist() == [1, 0, 2]


@pytest.mark.parametrize(
    ("operations", "words"),
    [
        ((Combine("y", (Term(("q",)),)),), "y reads 'q', which nothing gives"),
        ((Combine("y", (Term(("input",)),)),), "y reads 'input', which nothing gives"),
        ((Affine("y", (("M", "window"),)),), r"M must be \(2, 3\), got \(3, 3\)"),
        ((Combine("y", (Term(("window",)),)),), "must have 2 units, got 3 of window"),
        ((Apply("y", "window", "tanh"),), "each applied function has a table, and no other, got y"),
        ((), "the logits 'y' are not computed"),
    ],
)
def test_programs_that_make_no_sense_are_refused(operations: tuple[Operation, ...], words: str) -> None:
    constants = {"M": Constant(np.ones((3, 3), np.int64), S8)} if "M" in words else {}
    with pytest.raises(ModelFileError, match=words):
        IntegerProgram(1, {"input": Value(3, S8), "y": Value(2, S8)}, constants, {}, {}, (), operations, "y")


def test_sums_beyond_62_bits_are_refused() -> None:
    values = {"input": Value(1, Format(16, 0)), "y": Value(1, Format(16, 0))}
    for fraction, words in ((55, "a sum must fit into 62 bits"), (70, "must lie within 62 bits")):
        tiny = Constant(np.array([32767]), Format(16, fraction))
        with pytest.raises(ModelFileError, match=words):
            IntegerProgram(1, values, {"b": tiny}, {}, {}, (), (Combine("y", (Term(("window",)), Term(("b",)))),), "y")
