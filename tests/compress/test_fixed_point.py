"""A classifier's weights as 32-bit integers: where they go, what comes back."""

from typing import Any

import numpy as np
import pytest
import torch

from edgesearch.cells.classifier import Classifier, build_classifier
from edgesearch.cells.spec import ModelSpec
from edgesearch.compress.calibrate import Widths
from edgesearch.compress.finetune import raw_graph
from edgesearch.compress.fixed_point import WEIGHTS, FixedPoint, public_formats
from edgesearch.compress.program import compile_program
from edgesearch.data.frames import Frames
from edgesearch.errors import ConfigError
from edgesearch.numerics.fixed import Arithmetic, Fixed
from edgesearch.numerics.format import Format
from edgesearch.numerics.rules import Exact

T, D, H, C = 5, 4, 6, 3
MEAN, STD = torch.tensor([0.0, 1.0, -2.0, 3.0]), torch.tensor([1.0, 2.0, 0.5, 4.0])
CELLS: dict[str, dict[str, Any]] = {
    "fastgrnn": {"wRank": 2, "uRank": 3},
    "lstm": {"wRank": 2},
    "gru": {"reset_after": True},
    "ugrnn": {"num_layers": 2},
}

FRAMES = Frames.of(MEAN.numpy() + STD.numpy() * np.random.default_rng(0).normal(size=(50, D)))


def classifier(cell: str) -> Classifier:
    torch.manual_seed(1)
    return build_classifier(ModelSpec(cell, T, D, H, C, **CELLS[cell]), "eager")


def fixed_point(model: Classifier, bits: int) -> tuple[FixedPoint, dict[str, Format], Arithmetic]:
    graph, arithmetic = raw_graph(model, T, MEAN, STD), Arithmetic()
    formats = public_formats(graph, Widths(weights=bits), FRAMES, 11.0)
    return FixedPoint(model, graph, formats, 1e-3, arithmetic), formats, arithmetic


@pytest.mark.parametrize("bits", [2, 8, 16])
@pytest.mark.parametrize("cell", CELLS)
def test_the_program_of_the_shipped_weights_is_that_of_training(cell: str, bits: int) -> None:
    fixed, formats, _ = fixed_point(model := classifier(cell).double(), bits)
    trained = fixed.constants(fixed.weights)
    shipped = classifier(cell)
    shipped.load_state_dict(fixed.shipped(model.state_dict()))
    program = compile_program(raw_graph(shipped, T, MEAN, STD), formats, 1e-3)
    assert set(program.constants) == {*trained, "input_scale", "input_offset"}
    for name, integers in trained.items():
        assert (program.constants[name].integers == integers).all(), name


@pytest.mark.parametrize("cell", CELLS)
def test_weights_are_exact_and_every_one_has_a_gradient(cell: str) -> None:
    model = classifier(cell).double()
    before = torch.cat([p.detach().reshape(-1) for p in model.parameters()]).numpy()
    fixed, _, _ = fixed_point(model, 16)
    weights = fixed.weights
    assert np.abs(weights.numbers - before).max() <= 0.5 * WEIGHTS.step
    moved = Fixed(weights.integers + np.arange(len(before)), WEIGHTS)
    fixed.weights = moved
    assert (fixed.weights.integers == moved.integers).all()
    constants = fixed.constants(weights)
    ones = {name: Exact(np.full(v.shape, 1 << 58), 58, 59) for name, v in constants.items()}  # (and no bit to spare)
    gradient = fixed.gradient(ones, constants, Format(32, 20), 0, Arithmetic()).numbers
    scalars = np.zeros(len(before), bool)
    offset = 0
    for name, parameter in model.named_parameters():
        scalars[offset : offset + parameter.numel()] = name.endswith(("zeta", "nu"))
        offset += parameter.numel()
    assert (gradient[~scalars] == 1).all()
    squashed = 1 / (1 + np.exp(-weights.numbers[scalars]))
    assert np.abs(gradient[scalars] - squashed * (1 - squashed)).max(initial=0) < 1e-3


def test_what_leaves_its_range_is_held_and_counted() -> None:
    model = classifier("lstm").double()
    with torch.no_grad():
        model.FC[0, 0] = 100.0
    fixed, _, arithmetic = fixed_point(model, 16)
    assert arithmetic.overflows == {"weights": 1}
    for bits, most in ((16, 8), (8, 4), (4, 1)):
        fixed, formats, arithmetic = fixed_point(model, bits)
        top = most * (1 - 2.0 ** (1 - bits))
        assert formats["FC"].high * formats["FC"].step == float(model.FC.detach().max()) == top
        before = arithmetic.overflows.total()
        assert (fixed.constants(fixed.weights)["FC"] <= formats["FC"].high).all()
        assert arithmetic.overflows.total() == before


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ({"nosuch": 8}, "nosuch is no tensor of the model"),
        ({"l0_h": 16}, "l0_h is no tensor of the model"),
        ({"l0_z": 8}, "must have at least 12 bits, got 8 for l0_z; set .quant.named.l0_z=16"),
    ],
)
def test_names_are_checked(named: dict[str, int], words: str) -> None:
    graph = raw_graph(classifier("fastgrnn").double(), T, MEAN, STD)
    with pytest.raises(ConfigError, match=words):
        public_formats(graph, Widths(named=named), FRAMES, 11.0)
