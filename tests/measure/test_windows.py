"""Programs that read a whole window: convolution, pooling and linear layers, in C, in integers and fake-quantised."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgesearch.compress.executor import Executor
from edgesearch.compress.graph import Graph
from edgesearch.measure.compiled import compare, variants
from edgesearch.numerics.format import Format
from edgesearch.numerics.listing import listing
from edgesearch.numerics.operations import Affine, Convolve, Geometry, Pool
from edgesearch.numerics.program import Constant, IntegerProgram, Value

T, D, CLASSES = 9, 7, 5
FIRST = Geometry(1, T, D, (3, 3), padding=(1, 1))
HALVED = Geometry(4, *FIRST.places, (2, 2), stride=(2, 2))
SECOND = Geometry(4, *HALVED.places, (3, 2), stride=(2, 1), padding=(1, 0))
GLOBAL = Geometry(4, *SECOND.places, SECOND.places)


def area(geometry: Geometry, channels: int) -> int:
    return channels * geometry.places[0] * geometry.places[1]


SIZES = {"c1": area(FIRST, 4), "p1": area(HALVED, 4), "c2": area(SECOND, 4), "p2": 4, "y": CLASSES}
HEAD = (
    Convolve("c1", "window", "K1", FIRST, "b1", 1, 0.0),
    Pool("p1", "c1", HALVED, "max"),
    Convolve("c2", "p1", "K2", SECOND, None, 4),
    Pool("p2", "c2", GLOBAL, "sum"),
    Affine("y", (("F", "p2"),), "fb"),
)
SHAPES = {"K1": (4, 1, 3, 3), "b1": (4,), "K2": (4, 1, 3, 2), "F": (CLASSES, 4), "fb": (CLASSES,)}


def network(weight_bits: int, activation_bits: int) -> IntegerProgram:
    """Weights over their whole range, so that every operation saturates now and then."""
    generator = np.random.default_rng(weight_bits)
    a, w, b = Format(activation_bits, activation_bits - 4), Format(weight_bits, weight_bits - 2), Format(16, 12)
    formats = {name: b if len(shape) == 1 else w for name, shape in SHAPES.items()}
    constants = {
        name: Constant(generator.integers(formats[name].low, formats[name].high + 1, shape), formats[name])
        for name, shape in SHAPES.items()
    }
    values = {"input": Value(D, a)} | {name: Value(size, a) for name, size in SIZES.items()}
    return IntegerProgram(T, values | {"y": Value(CLASSES, Format(16, 6))}, constants, {}, {}, (), HEAD, "y")


def windows(program: IntegerProgram, rows: int) -> np.ndarray:
    given = program.values["input"].format
    return np.random.default_rng(0).integers(given.low, given.high + 1, (T, rows, D))


@pytest.mark.parametrize("activation_bits", [8, 16])
@pytest.mark.parametrize("weight_bits", [2, 4, 8, 16])
def test_c_equals_the_interpreter(weight_bits: int, activation_bits: int, tmp_path: Path) -> None:
    program = network(weight_bits, activation_bits)
    x = windows(program, 40)
    compare(program, x, variants() if weight_bits == 8 else variants()[1:2])
    program.save(tmp_path / "program.npz")
    again = IntegerProgram.load(tmp_path / "program.npz")
    np.testing.assert_array_equal(again.run(x).logits, program.run(x).logits)
    assert "c1[252]" in listing(again)


def test_the_interpreter_equals_torch() -> None:
    program = network(4, 8)
    graph = Graph(T, sizes={"input": D} | SIZES, head=list(HEAD), logits="y")
    for name, constant in program.constants.items():
        numbers = torch.from_numpy(constant.format.numbers(constant.integers))
        graph.parameters[name] = lambda numbers=numbers: numbers  # type: ignore[misc]
    formats = {name: value.format for name, value in program.values.items()}
    formats |= {name: constant.format for name, constant in program.constants.items()}
    x = windows(program, 30)
    numbers = torch.from_numpy(program.values["input"].format.numbers(x))
    logits = Executor(graph, formats)(numbers).numpy()
    np.testing.assert_array_equal(logits, program.format("y").numbers(program.run(x).logits))


def test_costs_are_those_of_the_layers() -> None:
    program = network(8, 8)
    full = {name: int(np.count_nonzero(program.constants[name].integers)) for name in ("K1", "K2", "F")}
    places = [FIRST.places[0] * FIRST.places[1], SECOND.places[0] * SECOND.places[1]]
    assert program.macs == full["K1"] * places[0] + full["K2"] * places[1] + full["F"]
    assert program.flash_bytes == 36 + 24 + 20 + 2 * (4 + CLASSES)


@st.composite
def slides(draw: st.DrawFn) -> IntegerProgram:
    """A convolution over the window, one in groups, a pooling, a dense layer; any strides and paddings."""

    def geometry(channels: int, height: int, width: int) -> Geometry:
        padding = draw(st.integers(0, 2)), draw(st.integers(0, 2))
        kernel = draw(st.integers(1, height + 2 * padding[0])), draw(st.integers(1, width + 2 * padding[1]))
        return Geometry(channels, height, width, kernel, (draw(st.integers(1, 3)), draw(st.integers(1, 3))), padding)

    steps, features, channels = draw(st.integers(1, 8)), draw(st.integers(1, 8)), draw(st.integers(1, 4))
    first = geometry(1, steps, features)
    second = geometry(channels, *first.places)
    kernel = draw(st.integers(1, second.places[0])), draw(st.integers(1, second.places[1]))
    pool = Geometry(channels, *second.places, kernel, (draw(st.integers(1, 2)), draw(st.integers(1, 2))))
    sizes = {"c1": area(first, channels), "c2": area(second, channels), "p": area(pool, channels), "y": 3}
    head = (
        Convolve("c1", "window", "K1", first, "b1", 1, draw(st.sampled_from([None, 0.0]))),
        Convolve("c2", "c1", "K2", second, None, channels),
        Pool("p", "c2", pool, draw(st.sampled_from(["max", "sum"]))),
        Affine("y", (("F", "p"),)),
    )
    shapes = {"K1": (channels, 1, *first.kernel), "b1": (channels,), "K2": (channels, 1, *second.kernel)}
    shapes |= {"F": (3, sizes["p"])}
    generator = np.random.default_rng(draw(st.integers(0, 99)))
    a, w, b = Format(8, 4), Format(draw(st.sampled_from([4, 8])), 2), Format(16, 8)
    constants = {
        name: Constant(generator.integers(form.low, form.high + 1, shape), form)
        for name, shape in shapes.items()
        for form in [b if name == "b1" else w]
    }
    values = {"input": Value(features, a)} | {name: Value(size, a) for name, size in sizes.items()}
    return IntegerProgram(steps, values | {"y": Value(3, Format(16, 4))}, constants, {}, {}, (), head, "y")


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(slides())
def test_any_stride_and_padding_runs_in_c(program: IntegerProgram) -> None:
    given_format = program.values["input"].format
    shape = (program.steps, 10, program.inputs)
    x = np.random.default_rng(0).integers(given_format.low, given_format.high + 1, shape)
    compare(program, x, variants()[:1])
