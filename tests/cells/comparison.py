"""What the fused op is compared with: the eager cells in float64, row by row where lengths differ."""

from typing import Any

import pytest
import torch
from torch import Tensor

from edgesearch.cells.cell import CELLS, RNNCell, State
from edgesearch.cells.rnn import unroll

VARIANTS: list[tuple[str, dict[str, Any]]] = [*((name, {}) for name in CELLS), ("gru", {"reset_after": False})]
EVERY_CELL = pytest.mark.parametrize(
    ("name", "options"), VARIANTS, ids=lambda v: v if isinstance(v, str) else "-".join(v) or "plain"
)
SIZES = [(1, 1, 1, 1), (5, 3, 4, 7), (4, 40, 5, 33), (3, 73, 17, 100), (6, 2, 16, 32)]


def make(name: str, D: int, H: int, **options: Any) -> RNNCell:
    """A float64 cell with weights large enough that every term matters and small enough that none saturates."""
    cell = CELLS[name](D, H, dtype=torch.float64, **options)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in cell.parameters():
            draw = torch.randn(p.shape, generator=generator, dtype=p.dtype)
            p.copy_(draw * (0.7 / p.shape[0] ** 0.5 if p.numel() > p.shape[-1] else 0.5))
    return cell


def inputs(cell: RNNCell, T: int, B: int) -> tuple[Tensor, State, tuple[Tensor, ...]]:
    """Frames, initial state, and weights for the outputs and last states whose weighted sum is differentiated."""
    generator = torch.Generator().manual_seed(4)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    H, states = cell.hidden_size, cell.kind.states
    return (
        draw(T, B, cell.input_size),
        tuple(draw(B, H) for _ in range(states)),
        (draw(T, B, H), *(draw(B, H) for _ in range(states))),
    )


def results(
    run: Any, cell: RNNCell, T: int, B: int, dtype: torch.dtype, device: str = "cpu", **options: Any
) -> dict[str, Tensor]:
    """Outputs, last states and every gradient."""
    cell = cell.to(dtype)
    x, state, weights = inputs(cell, T, B)
    x = x.to(device, dtype).requires_grad_()
    state = tuple(s.to(device, dtype).requires_grad_() for s in state)
    cell.zero_grad()
    output, last = run(cell, x, state, **options)
    sum((part * w.to(part)).sum() for part, w in zip((output, *last), weights, strict=True)).backward()
    found = {"output": output, **{f"last {k}": s for k, s in enumerate(last)}}
    gradients = {"x": x.grad, **{f"state {k}": s.grad for k, s in enumerate(state)}}
    gradients |= {name: p.grad for name, p in cell.named_parameters()}
    found |= {f"gradient of {name}": value for name, value in gradients.items() if value is not None}
    return {name: value.detach().double().clone() for name, value in found.items()}


def assert_close(ours: dict[str, Tensor], theirs: dict[str, Tensor], outputs: float, gradients: float) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        bound = gradients if name.startswith("gradient") else outputs
        # scalars sum thousands of terms of both signs: what is small is measured against a unit
        scale = max(float(value.norm()), 1.0 if value.numel() == 1 else 0.0)
        assert float((ours[name] - value).norm()) <= bound * scale, name


class RowByRow:
    """Runs each row of a batch for itself, up to its length; outputs beyond are zero."""

    def __init__(self, lengths: Tensor) -> None:
        self.lengths = lengths

    def __call__(self, cell: RNNCell, x: Tensor, state: State, backward: bool) -> tuple[Tensor, State]:
        outputs, lasts = [], []
        T, H = x.size(0), cell.hidden_size
        for b, length in enumerate(self.lengths.tolist()):
            start = tuple(s[b : b + 1] for s in state)
            row = x[:length, b : b + 1]
            output, last = unroll(cell, row, start, backward=backward) if length else (x.new_zeros(0, 1, H), start)
            outputs.append(torch.cat((output, x.new_zeros(T - length, 1, H))))
            lasts.append(last)
        return torch.cat(outputs, dim=1), tuple(torch.cat(parts) for parts in zip(*lasts, strict=True))
