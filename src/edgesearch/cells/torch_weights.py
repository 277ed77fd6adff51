"""Weights of torch.nn.GRU and torch.nn.LSTM, converted in place to the names and layout of our cells."""

from typing import Any

import torch
from torch import Tensor

from edgesearch.cells.cell import RNNCell
from edgesearch.errors import ModelFileError


def convert_torch_state(state: dict[str, Any], prefix: str, cells: list[RNNCell], directions: int) -> None:
    """Replace torch's `weight_ih_l0`, ... under `prefix` by `cells.0.W`, ...; a module without biases gets zeros.

    Torch keeps matrices transposed and two biases a gate. Their sum is ours, except for the GRU's candidate, whose
    second bias lies inside the product with the reset gate.

    Raises:
        ModelFileError: our module is not the torch form (another cell, low rank, reset_after=False, projections).
    """
    for index, cell in enumerate(cells):
        spec = cell.spec
        if spec.kind.name not in ("gru", "lstm") or spec.wRank or spec.uRank:
            raise ModelFileError("torch.nn weights fit a full-rank GRU or LSTM only; set wRank=None and uRank=None")
        if spec.kind.name == "gru" and not spec.reset_after:
            raise ModelFileError("torch.nn.GRU resets after the product; build GRU(..., reset_after=True)")
        suffix = f"_l{index // directions}" + ("_reverse" if index % directions else "")
        if f"{prefix}weight_ih{suffix}" not in state:
            raise ModelFileError(
                f"the torch.nn weights must have weight_ih{suffix}, got none; build as many layers as there"
            )
        if f"{prefix}weight_hr{suffix}" in state:
            raise ModelFileError("torch.nn.LSTM with proj_size has no counterpart here; use proj_size=0")
        for name, value in _layer(state, prefix, suffix, cell).items():
            state[f"{prefix}cells.{index}.{name}"] = value


def _layer(state: dict[str, Any], prefix: str, suffix: str, cell: RNNCell) -> dict[str, Tensor]:
    W = state.pop(f"{prefix}weight_ih{suffix}").t().contiguous()
    U = state.pop(f"{prefix}weight_hh{suffix}").t().contiguous()
    zeros = torch.zeros_like(W[0])
    b_input = state.pop(f"{prefix}bias_ih{suffix}", zeros).chunk(cell.kind.blocks)
    b_recurrent = state.pop(f"{prefix}bias_hh{suffix}", zeros).chunk(cell.kind.blocks)
    sums = [a + b for a, b in zip(b_input, b_recurrent, strict=True)]
    named = dict(zip(cell.kind.biases, sums, strict=True))
    if cell.kind.name == "gru":
        named |= {"Bh": b_input[2], "Bhh": b_recurrent[2]}
    return {"W": W, "U": U, **named}
