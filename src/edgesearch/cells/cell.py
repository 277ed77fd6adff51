"""The five cells, one step at a time. Row vectors: x is (B, D), h is (B, H), matrices multiply from the right.

Equations: Kusupati et al., "FastGRNN: A Fast, Accurate, Stable and Tiny Kilobyte Sized Gated Recurrent Neural
Network", NeurIPS 2018 (FastRNN, FastGRNN); Collins et al., "Capacity and Trainability in Recurrent Neural Networks",
ICLR 2017 (UGRNN); Cho et al. 2014 (GRU); Hochreiter & Schmidhuber 1997 (LSTM). The gates of a cell share one matrix
W (D, blocks * H) or, at low rank, a first factor W1 (D, R) and second factors side by side in W2 (R, blocks * H).
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from edgesearch.cells.nonlinear import Function, nonlinearity
from edgesearch.cells.spec import KINDS, CellKind, LayerSpec, biases
from edgesearch.config.schema import BACKENDS
from edgesearch.errors import ConfigError

State = tuple[Tensor, ...]


class RNNCell(nn.Module, ABC):
    """One layer and direction: its parameters, its input product and its step.

    Args:
        input_size: D, features of a frame.
        hidden_size: H, units.
        wRank: rank of the input matrix, None for full rank, at most min(D, H).
        uRank: rank of the recurrent matrix, None for full rank, at most H.
        gate_nonlinearity: a name of `NONLINEARITIES` or a callable; ignored by FastRNN, which has no gate.
        update_nonlinearity: the same for the candidate state.
        backend: what runs whole sequences: `fused` (the op of cuda/, an error where it cannot run), `eager` (this
            module's steps), or `auto`, fused where it can be.
        reset_after: the GRU's form (see `GRUCell`, where it is True by default); False for every other cell.

    Raises:
        ConfigError: a size, rank, nonlinearity or backend that cannot be.
    """

    kind: ClassVar[CellKind]
    W: Tensor
    W1: Tensor
    W2: Tensor
    U: Tensor
    U1: Tensor
    U2: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        wRank: int | None = None,
        uRank: int | None = None,
        gate_nonlinearity: str | Function | None = "sigmoid",
        update_nonlinearity: str | Function = "tanh",
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        reset_after: bool = False,
    ) -> None:
        super().__init__()
        if backend not in BACKENDS:
            raise ConfigError(
                f"cell.backend must be one of {', '.join(BACKENDS)}, got {backend}; set cell.backend=auto"
            )
        self.spec = LayerSpec(self.kind, input_size, hidden_size, wRank, uRank, reset_after)
        self.input_size, self.hidden_size = input_size, hidden_size
        self.backend = backend
        self.gate = nonlinearity(gate_nonlinearity or "sigmoid")
        self.update = nonlinearity(update_nonlinearity)
        gate_name = gate_nonlinearity or "sigmoid"
        self.nonlinearities: tuple[str, str] | None = None
        if isinstance(gate_name, str) and isinstance(update_nonlinearity, str):
            self.nonlinearities = (gate_name, update_nonlinearity)
        self.bias_names = biases(self.kind, reset_after)
        for tensor in self.spec.tensors():
            self.register_parameter(tensor.name, nn.Parameter(torch.empty(tensor.shape, device=device, dtype=dtype)))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw matrices from 0.1 * N(0, 1); biases 1 (the GRU's second candidate bias 0); scalars as in the paper."""
        initial = dict(self.kind.scalars)
        for tensor in self.spec.tensors():
            parameter = self.get_parameter(tensor.name)
            if tensor.role == "matrix":
                parameter.normal_(std=0.1)
            else:
                parameter.fill_(initial.get(tensor.name, 0.0 if tensor.name == "Bhh" else 1.0))

    def input_product(self, x: Tensor) -> Tensor:
        """Return x W, (..., D) to (..., blocks * H): all steps at once, since no state enters."""
        return x @ self.W if self.spec.wRank is None else x @ self.W1 @ self.W2

    def _add_recurrent(self, wx: Tensor, h: Tensor) -> Tensor:
        return torch.addmm(wx, h, self.U) if self.spec.uRank is None else torch.addmm(wx, h @ self.U1, self.U2)

    @abstractmethod
    def constants(self) -> tuple[Any, ...]:
        """Return what does not change from step to step, computed once a sequence."""

    @abstractmethod
    def step(self, wx: Tensor, state: State, constants: tuple[Any, ...]) -> State:
        """Return the next state from the input product (B, blocks * H) of one frame and the state before it."""

    def zero_state(self, batch: int, like: Tensor) -> State:
        """Return the state at the start of a sequence: zeros (B, H), one a state vector."""
        return tuple(like.new_zeros(batch, self.hidden_size) for _ in range(self.kind.states))

    def forward(self, x: Tensor, hx: Any = None) -> Any:
        """Take one step, as torch.nn.GRUCell and LSTMCell do.

        Args:
            x: (B, D), or (D,) for one frame.
            hx: the state before the step, (B, H) or (H,); for the LSTM a pair (h, c); None for zeros.

        Returns:
            The state after the step, in the form of `hx`.
        """
        if x.dim() not in (1, 2) or x.size(-1) != self.input_size:
            raise ValueError(f"a frame is (B, {self.input_size}) or ({self.input_size},), got {tuple(x.shape)}")
        single = x.dim() == 1
        frames = x.unsqueeze(0) if single else x
        if hx is None:
            state = self.zero_state(frames.size(0), frames)
        else:
            state = tuple(hx) if self.kind.states == 2 else (hx,)
            state = tuple(s.unsqueeze(0) for s in state) if single else state
        state = self.step(self.input_product(frames), state, self.constants())
        state = tuple(s.squeeze(0) for s in state) if single else state
        return state if self.kind.states == 2 else state[0]

    def extra_repr(self) -> str:
        """Sizes and ranks, for print(model)."""
        return f"{self.input_size}, {self.hidden_size}, wRank={self.spec.wRank}, uRank={self.spec.uRank}"


class FastRNNCell(RNNCell):
    """c = u(x W + h U + B); h' = s(beta) h + s(alpha) c."""

    kind = KINDS["fastrnn"]
    B: Tensor
    alpha: Tensor
    beta: Tensor

    def constants(self) -> tuple[Any, ...]:
        """B, s(alpha), s(beta)."""
        return self.B, torch.sigmoid(self.alpha), torch.sigmoid(self.beta)

    def step(self, wx: Tensor, state: State, constants: tuple[Any, ...]) -> State:
        """See the class."""
        B, alpha, beta = constants
        (h,) = state
        c = self.update(self._add_recurrent(wx, h) + B)
        return (beta * h + alpha * c,)


class FastGRNNCell(RNNCell):
    """p = x W + h U; z = g(p + Bg); c = u(p + Bh); h' = z * h + (s(zeta) (1 - z) + s(nu)) * c."""

    kind = KINDS["fastgrnn"]
    Bg: Tensor
    Bh: Tensor
    zeta: Tensor
    nu: Tensor

    def constants(self) -> tuple[Any, ...]:
        """Bg, Bh, s(zeta), s(nu)."""
        return self.Bg, self.Bh, torch.sigmoid(self.zeta), torch.sigmoid(self.nu)

    def step(self, wx: Tensor, state: State, constants: tuple[Any, ...]) -> State:
        """See the class."""
        Bg, Bh, zeta, nu = constants
        (h,) = state
        p = self._add_recurrent(wx, h)
        z = self.gate(p + Bg)
        c = self.update(p + Bh)
        return (z * h + (zeta * (1.0 - z) + nu) * c,)


class UGRNNCell(RNNCell):
    """z = g(x W1 + h U1 + Bg); c = u(x W2 + h U2 + Bh); h' = z * h + (1 - z) * c."""

    kind = KINDS["ugrnn"]
    Bg: Tensor
    Bh: Tensor

    def constants(self) -> tuple[Any, ...]:
        """Both biases side by side."""
        return (torch.cat((self.Bg, self.Bh)),)

    def step(self, wx: Tensor, state: State, constants: tuple[Any, ...]) -> State:
        """See the class."""
        (h,) = state
        gate, update = (self._add_recurrent(wx, h) + constants[0]).chunk(2, dim=1)
        z = self.gate(gate)
        return (z * h + (1.0 - z) * self.update(update),)


class GRUCell(RNNCell):
    """r = g(x W1 + h U1 + Br); z = g(x W2 + h U2 + Bg); h' = z * h + (1 - z) * c, with one of two candidates.

    `reset_after=True`, torch's form: c = u(x W3 + Bh + r * (h U3 + Bhh)).
    `reset_after=False`, Cho's and EdgeML's: c = u(x W3 + (r * h) U3 + Bh).
    """

    kind = KINDS["gru"]
    Br: Tensor
    Bg: Tensor
    Bh: Tensor
    Bhh: Tensor

    def __init__(self, input_size: int, hidden_size: int, *args: Any, reset_after: bool = True, **options: Any) -> None:
        super().__init__(input_size, hidden_size, *args, reset_after=reset_after, **options)

    def constants(self) -> tuple[Any, ...]:
        """The recurrent matrix by gates and candidate, the gates' biases, the candidate's, and its second one."""
        U = self.U if self.spec.uRank is None else self.U2
        gates = 2 * self.hidden_size
        second = self.Bhh if self.spec.reset_after else None
        return U[:, :gates], U[:, gates:], torch.cat((self.Br, self.Bg)), self.Bh, second

    def step(self, wx: Tensor, state: State, constants: tuple[Any, ...]) -> State:
        """See the class."""
        U_gates, U_candidate, B_gates, Bh, Bhh = constants
        (h,) = state
        low_rank = self.spec.uRank is not None
        gates = 2 * self.hidden_size
        shared = h @ self.U1 if low_rank else h
        r, z = self.gate(torch.addmm(wx[:, :gates], shared, U_gates) + B_gates).chunk(2, dim=1)
        if self.spec.reset_after:
            recurrent = r * torch.addmm(Bhh, shared, U_candidate)
        else:
            reset = r * h
            recurrent = (reset @ self.U1 if low_rank else reset) @ U_candidate
        c = self.update(wx[:, gates:] + recurrent + Bh)
        return (z * h + (1.0 - z) * c,)


class LSTMCell(RNNCell):
    """i, f, o = g(...); k = u(...); c' = f * c + i * k; h' = o * u(c'). The state is the pair (h, c)."""

    kind = KINDS["lstm"]
    Bi: Tensor
    Bf: Tensor
    Bc: Tensor
    Bo: Tensor

    def constants(self) -> tuple[Any, ...]:
        """The four biases side by side, in the order i, f, k, o."""
        return (torch.cat((self.Bi, self.Bf, self.Bc, self.Bo)),)

    def step(self, wx: Tensor, state: State, constants: tuple[Any, ...]) -> State:
        """See the class."""
        h, c = state
        i, f, k, o = (self._add_recurrent(wx, h) + constants[0]).chunk(4, dim=1)
        c = self.gate(f) * c + self.gate(i) * self.update(k)
        return self.gate(o) * self.update(c), c


CELLS: dict[str, type[RNNCell]] = {
    "fastrnn": FastRNNCell,
    "fastgrnn": FastGRNNCell,
    "ugrnn": UGRNNCell,
    "gru": GRUCell,
    "lstm": LSTMCell,
}
