"""Whole sequences: layers and directions of one cell, called like torch.nn.GRU and torch.nn.LSTM."""

from collections.abc import Iterable
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from edgesearch.cells import fused
from edgesearch.cells.cell import (
    FastGRNNCell,
    FastRNNCell,
    GRUCell,
    LSTMCell,
    RNNCell,
    State,
    UGRNNCell,
)
from edgesearch.cells.nonlinear import Function
from edgesearch.cells.torch_weights import convert_torch_state
from edgesearch.errors import ConfigError


class RNN(nn.Module):
    """`num_layers` layers of a cell over a sequence.

    Args:
        input_size: D, features of a frame.
        hidden_size: H, units of each layer and direction.
        num_layers: stacked layers.
        batch_first: sequences are (B, T, D) instead of (T, B, D).
        dropout: probability of dropping an output between layers while training, in [0, 1).
        bidirectional: run a second set of cells from the last frame to the first.
        wRank: rank of the input matrices, None for full rank.
        uRank: rank of the recurrent matrices, None for full rank.
        gate_nonlinearity: a name of `NONLINEARITIES` or a callable.
        update_nonlinearity: the same for the candidate.
        backend: `auto`, `fused` or `eager`; see `RNNCell`.

    Raises:
        ConfigError: an argument out of range.
    """

    cell_class: ClassVar[type[RNNCell]]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        wRank: int | None = None,
        uRank: int | None = None,
        gate_nonlinearity: str | Function | None = "sigmoid",
        update_nonlinearity: str | Function = "tanh",
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise ConfigError(f"cell.num_layers must be at least 1, got {num_layers}; set cell.num_layers=1")
        if not 0 <= dropout < 1:
            raise ConfigError(f"cell.dropout must be at least 0 and less than 1, got {dropout}; set cell.dropout=0")
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.batch_first, self.bidirectional, self.dropout = batch_first, bidirectional, dropout
        self.directions = 2 if bidirectional else 1
        widths = [input_size] + [hidden_size * self.directions] * (num_layers - 1)
        self.cells = nn.ModuleList(
            self.cell_class(
                width, hidden_size, wRank, uRank, gate_nonlinearity, update_nonlinearity, backend,
                device=device, dtype=dtype, **options,
            )
            for width in widths
            for _ in range(self.directions)
        )  # fmt: skip

    def forward(self, x: Tensor, hx: Any = None, lengths: Tensor | None = None) -> tuple[Tensor, Any]:
        """Run every layer over the sequence.

        Args:
            x: (T, B, D), (B, T, D) with batch_first, or (T, D) for one sequence.
            hx: initial state (num_layers * directions, B, H), without B for one sequence; for the LSTM a pair
                (h, c) of them; None for zeros.
            lengths: (B,) int64, frames of each sequence from 0 to T: beyond them its state stays and its output is
                zero, and the second direction starts at its last frame; None for T frames each.

        Returns:
            output (T, B, directions * H) in the layout of `x`, and the last state in the form of `hx`.

        Raises:
            ValueError: x, hx or lengths has another shape or type.
        """
        if not isinstance(x, Tensor) or x.dim() not in (2, 3) or x.size(-1) != self.input_size:
            found = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(f"a sequence is a tensor (T, B, {self.input_size}) or (T, {self.input_size}), got {found}")
        single = x.dim() == 2
        frames = x.unsqueeze(1) if single else x.transpose(0, 1) if self.batch_first else x
        if frames.size(0) == 0:
            raise ValueError("a sequence has at least one time step, got 0")
        if lengths is not None and (lengths.dtype != torch.int64 or lengths.shape != frames.shape[1:2]):
            given = f"{tuple(lengths.shape)} of {lengths.dtype}"
            raise ValueError(f"lengths are int64 of shape ({frames.size(1)},), one a sequence, got {given}")
        outputs, last = self._layers(frames, self._initial(hx, frames, single), lengths)
        if single or self.batch_first:
            outputs = outputs.squeeze(1) if single else outputs.transpose(0, 1)
        stacked = tuple(s[0].unsqueeze(0) if len(s) == 1 else torch.stack(s) for s in zip(*last, strict=True))
        if single:
            stacked = tuple(s.squeeze(1) for s in stacked)
        return outputs, stacked if len(stacked) == 2 else stacked[0]

    def _initial(self, hx: Any, frames: Tensor, single: bool) -> list[State] | None:
        if hx is None:
            return None
        states = tuple(hx) if self.cell_class.kind.states == 2 else (hx,)
        if len(states) != self.cell_class.kind.states or not all(isinstance(s, Tensor) for s in states):
            wanted = "a pair (h, c)" if self.cell_class.kind.states == 2 else "one tensor"
            raise ValueError(f"the initial state of {type(self).__name__} is {wanted}, got {type(hx).__name__}")
        if single:
            states = tuple(s.unsqueeze(1) for s in states)
        expected = (len(self.cells), frames.size(1), self.hidden_size)
        for s in states:
            if tuple(s.shape) != expected:
                raise ValueError(f"an initial state is {expected}, got {tuple(s.shape)}")
        return [tuple(s[index] for s in states) for index in range(len(self.cells))]

    def _layers(self, frames: Tensor, states: list[State] | None, lengths: Tensor | None) -> tuple[Tensor, list[State]]:
        last = []
        for index, cell in enumerate(cast(Iterable[RNNCell], self.cells)):
            direction = index % self.directions
            if direction == 0:
                layer_input, parts = frames, []
            run = fused.run if fused.usable(cell, layer_input, cell.backend) else unroll
            state = states[index] if states else None
            output, state = run(cell, layer_input, state, backward=direction == 1, lengths=lengths)
            parts.append(output)
            last.append(state)
            if direction == self.directions - 1:
                frames = parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)
                if self.dropout and index + 1 < len(self.cells):
                    frames = nn.functional.dropout(frames, self.dropout, self.training)
        return frames, last

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        if f"{prefix}weight_ih_l0" in state_dict:
            convert_torch_state(state_dict, prefix, cast(list[RNNCell], list(self.cells)), self.directions)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        """Sizes, for print(model)."""
        return (
            f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}, bidirectional={self.bidirectional}"
        )


def unroll(
    cell: RNNCell, frames: Tensor, state: State | None, *, backward: bool = False, lengths: Tensor | None = None
) -> tuple[Tensor, State]:
    """Run one cell over frames (T, B, D) from `state` (None for zeros), from the last to the first if `backward`.

    With lengths (B,) a row keeps its state at steps at and beyond its length, and its output there is zero.

    Returns:
        every h (T, B, H) at the place of its frame, and the state after the last step taken.
    """
    products = cell.input_product(frames).unbind(0)
    constants = cell.constants()
    state = cell.zero_state(frames.size(1), frames) if state is None else state
    outputs = []
    for t in reversed(range(len(products))) if backward else range(len(products)):
        after = cell.step(products[t], state, constants)
        if lengths is None:
            state = after
            outputs.append(state[0])
        else:
            active = (lengths > t).unsqueeze(1)
            state = tuple(torch.where(active, new, old) for new, old in zip(after, state, strict=True))
            outputs.append(torch.where(active, state[0], 0.0))
    return torch.stack(outputs[::-1] if backward else outputs), state


class FastRNN(RNN):
    """FastRNN over sequences; see `FastRNNCell` for the equations and `RNN` for the arguments."""

    cell_class = FastRNNCell


class FastGRNN(RNN):
    """FastGRNN over sequences; see `FastGRNNCell` for the equations and `RNN` for the arguments."""

    cell_class = FastGRNNCell


class UGRNN(RNN):
    """UGRNN over sequences; see `UGRNNCell` for the equations and `RNN` for the arguments."""

    cell_class = UGRNNCell


class GRU(RNN):
    """GRU over sequences; see `GRUCell`. `load_state_dict` also takes the weights of torch.nn.GRU."""

    cell_class = GRUCell


class LSTM(RNN):
    """LSTM over sequences; see `LSTMCell`. `load_state_dict` also takes the weights of torch.nn.LSTM."""

    cell_class = LSTMCell


RNNS: dict[str, type[RNN]] = {"fastrnn": FastRNN, "fastgrnn": FastGRNN, "ugrnn": UGRNN, "gru": GRU, "lstm": LSTM}
