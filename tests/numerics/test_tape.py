"""Integer gradients of whole programs against torch's through the fake-quantised graph."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from edgesearch.cells.classifier import build_classifier
from edgesearch.cells.conv import ConvSpec
from edgesearch.cells.spec import ModelSpec
from edgesearch.compress.build import build_graph
from edgesearch.compress.calibrate import Widths, choose_tables
from edgesearch.compress.executor import Executor
from edgesearch.compress.finetune import raw_graph
from edgesearch.compress.fixed_point import public_formats
from edgesearch.compress.program import compile_program
from edgesearch.data.frames import Frames
from edgesearch.errors import ConfigError
from edgesearch.numerics.fixed import Arithmetic, Fixed
from edgesearch.numerics.format import Format
from edgesearch.numerics.program import IntegerProgram
from edgesearch.numerics.rounding import Rounding
from edgesearch.numerics.tape import Tape

T, B, D, H, C = 7, 5, 4, 6, 3
GRADIENT = Format(32, 24)
MODELS: dict[str, dict[str, Any]] = {
    "fastrnn": {"gate_nonlinearity": None},
    "fastgrnn": {},
    "fastgrnn low rank": {"wRank": 2, "uRank": 3},
    "fastgrnn piecewise linear": {"gate_nonlinearity": "quantSigm", "update_nonlinearity": "quantTanh"},
    "fastgrnn relu": {"update_nonlinearity": "relu"},
    "ugrnn": {},
    "gru": {"reset_after": True},
    "gru before": {"uRank": 3, "reset_after": False},
    "lstm": {"wRank": 2},
    "lstm two layers": {"num_layers": 2, "uRank": 2},
}


class Twin:
    """A model's program, tape, and executor in the same formats."""

    def __init__(self, name: str, rounding: Rounding | None = None) -> None:
        torch.manual_seed(3)
        spec = ModelSpec(name.split()[0], T, D, H, C, **MODELS[name])
        model = build_classifier(spec, "eager").double()
        x = 2 * torch.randn(T, B, D, dtype=torch.float64)
        graph = raw_graph(model, T, torch.zeros(D), torch.ones(D))
        formats = public_formats(
            graph, Widths(weights=16, function_error=1e-4), Frames.of(x.reshape(-1, D).numpy()), float(x.abs().max())
        )
        self.program: IntegerProgram = compile_program(graph, formats, 1e-4)
        self.executor = Executor(graph, formats, choose_tables(graph, formats, 1e-4))
        self.trained = {n: c.integers for n, c in self.program.constants.items() if not n.startswith("input_")}
        self.arithmetic = Arithmetic(rounding)
        self.tape = Tape(self.program, self.trained, self.arithmetic, GRADIENT)
        self.x = x
        self.integers = formats["input"].integers(x.numpy())

    def torch_gradients(self, y: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The gradient of the summed cross-entropy: of the logits, and of each constant."""
        seen: dict[str, torch.Tensor] = {}
        constant = self.executor._constant

        def kept(name: str) -> torch.Tensor:
            seen[name] = constant(name)
            if seen[name].requires_grad:
                seen[name].retain_grad()
            return seen[name]

        self.executor._constant = kept  # type: ignore[method-assign]
        logits = self.executor(self.x)
        logits.retain_grad()
        cross_entropy(logits, y, reduction="sum").backward()
        assert logits.grad is not None
        return logits.grad, {n: v.grad for n, v in seen.items() if v.grad is not None}


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_those_of_the_fake_quantised_model(name: str) -> None:
    twin = Twin(name)
    logits = twin.tape.forward(twin.integers, twin.trained)
    assert (logits.integers == twin.program.run(twin.integers).logits).all()
    outer, wanted = twin.torch_gradients(torch.arange(B) % C)
    found = twin.tape.backward(Fixed.of(outer.numpy(), GRADIENT))
    assert found.keys() == wanted.keys() == twin.trained.keys()
    for constant, (total, fraction, _) in found.items():
        numbers = np.asarray(total, np.float64) * 2.0**-fraction
        expected = wanted[constant].numpy().reshape(numbers.shape)
        # what is left: slopes of the table's values, off by 1e-4 of up to 1, at each of up to 7 steps
        assert np.abs(numbers - expected).max() < 2e-3 * max(np.abs(expected).max(), 1e-3), constant


@pytest.mark.parametrize("kind", ["stochastic", "pseudo"])
def test_random_rounding_changes_gradients_by_little(kind: str) -> None:
    gradients = []
    for rounding in (None, Rounding(kind, seed=1)):
        twin = Twin("fastgrnn", rounding)
        twin.tape.forward(twin.integers, twin.trained)
        found = twin.tape.backward(Fixed.of(np.linspace(-1, 1, B * C).reshape(B, C), GRADIENT))
        gradients.append({name: np.asarray(t, np.float64) * 2.0**-f for name, (t, f, _) in found.items()})
    for name, exact in gradients[0].items():
        difference = np.abs(gradients[1][name] - exact).max()
        assert difference < 1e-4
    assert any((gradients[1][name] != exact).any() for name, exact in gradients[0].items())


def test_overflows_are_counted_where_they_happen() -> None:
    twin = Twin("fastgrnn")
    top = {name: np.full_like(v, twin.program.format(name).high) for name, v in twin.trained.items()}
    logits = twin.tape.forward(np.abs(twin.integers), top)
    assert twin.arithmetic.overflows["l0_p"] > 0
    twin.tape.forward(twin.integers, twin.trained)
    twin.tape.backward(Fixed(np.full_like(logits.integers, GRADIENT.high), GRADIENT))
    assert twin.arithmetic.overflows["gradients"] > 0


def test_gradients_too_large_for_64_bits_are_exact() -> None:
    """The largest gradient and weights everywhere: what passes on is held, not wrapped around."""
    twin = Twin("fastgrnn piecewise linear")
    twin.tape.forward(twin.integers // 64, {n: np.ones_like(v) for n, v in twin.trained.items()})
    found = twin.tape.backward(Fixed(np.full((B, C), GRADIENT.high), GRADIENT))
    total, fraction, _ = found["FCbias"]
    assert fraction == GRADIENT.fraction
    assert (total == B * GRADIENT.high).all()


def test_a_convolutional_program_has_no_gradient_here() -> None:
    spec = ConvSpec("lenet5", steps=8, input_size=8, classes=C, channels=2, hidden_size=4, blocks=1)
    graph = build_graph(build_classifier(spec).double(), 8)
    formats = {name: Format(16, 8) for name in (*graph.sizes, *graph.parameters)}
    with pytest.raises(ConfigError, match="training in fixed point is for recurrent cells"):
        Tape(compile_program(graph, formats, 1e-3), (), Arithmetic(), GRADIENT)
