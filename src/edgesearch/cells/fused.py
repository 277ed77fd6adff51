"""The fused op: a whole sequence through one layer and direction in one call, forward and backward.

`edgesearch::rnn_forward`, `rnn_backward` and their derivative are registered by the libraries that `build` makes from
cuda/; here they get their shapes for tracing (fake kernels). The eager cells are the reference.
"""

import warnings
from functools import cache
from typing import Any

import torch
from torch import Tensor

from edgesearch.atomic import told
from edgesearch.cells.build import CUDA_KERNELS, DERIVATIVE, OP, BuildError, Library, built
from edgesearch.cells.cell import RNNCell, State
from edgesearch.config.schema import NONLINEARITIES
from edgesearch.errors import ConfigError, EdgesearchWarning

_CELLS = {"fastrnn": 0, "fastgrnn": 1, "ugrnn": 2, "gru": 3, "lstm": 5}
_GRU_AFTER, _LSTM = 4, 5
_NONLINEARITIES = {name: number for number, name in enumerate(NONLINEARITIES)}
_SAVED_BLOCKS = (1, 1, 2, 3, 4, 4)
_DTYPES = (torch.float32, torch.float64)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _loaded(required: bool, cuda: bool = False) -> bool:
    """Build and load the op if that has not happened; warn once, or raise if it is `required`."""
    reason = problem(cuda)
    if reason is not None:
        if required:
            raise ConfigError(f"cell.backend=fused cannot be had: {reason}; or set cell.backend=eager")
        _warn(reason)
    return reason is None


def problem(cuda: bool) -> str | None:
    """Return what stands in the way of the op on a CPU, or on a GPU if `cuda`; None where it is built and loaded."""
    return _load_op() or (_load_cuda() if cuda else None)


@cache
def _warn(reason: str) -> None:
    warnings.warn(f"{reason}; using the eager cells, which are slower", EdgesearchWarning, stacklevel=2)


@cache
def _load_op() -> str | None:
    """Load the op with its CPU kernels and its derivative, and return None, or what stands in the way."""
    reason = _load(OP, DERIVATIVE)
    if reason is None:
        torch.library.register_fake("edgesearch::rnn_forward", _fake_forward)
        torch.library.register_fake("edgesearch::rnn_backward", _fake_backward)
    return reason


@cache
def _load_cuda() -> str | None:
    """Load the CUDA kernels and return None, or what stands in the way."""
    return _load(CUDA_KERNELS)


def _load(*libraries: Library) -> str | None:
    try:
        for path in [built(library) for library in libraries]:
            torch.ops.load_library(str(path))  # type: ignore[no-untyped-call]
    except BuildError as error:
        return str(error)
    except OSError as error:
        return told(error)
    return None


def usable(cell: RNNCell, x: Tensor, backend: str) -> bool:
    """Tell whether the fused op runs this layer on this input; with backend `fused`, raise `ConfigError` if not."""
    if backend == "eager":
        return False
    if cell.nonlinearities is not None and x.dtype in _DTYPES and (x.is_cpu or x.is_cuda):
        return bool(_loaded(backend == "fused", x.is_cuda))
    if backend == "fused":
        found = "a callable nonlinearity" if cell.nonlinearities is None else f"{x.dtype} on {x.device.type}"
        raise ConfigError(
            f"cell.backend=fused takes named nonlinearities in float32 or float64 on CPU or CUDA, got {found}; "
            "set cell.backend=eager"
        )
    return False


def run(
    cell: RNNCell, frames: Tensor, state: State | None, *, backward: bool = False, lengths: Tensor | None = None
) -> tuple[Tensor, State]:
    """Run a layer over frames (T, B, D) from `state` (None for zeros), from the last frame to the first if `backward`.

    With lengths (B,) a row keeps its state at steps at and beyond its length, and its output there is zero.

    Returns:
        every h (T, B, H) at the place of its frame, and the state after the last step taken.
    """
    assert cell.nonlinearities is not None
    kind = _GRU_AFTER if cell.spec.reset_after else _CELLS[cell.kind.name]
    gate, update = (_NONLINEARITIES[name] for name in cell.nonlinearities)
    lstm = kind == _LSTM
    W = _tensor(cell, "W") if cell.spec.wRank is None else cell.W1 @ cell.W2
    U = _tensor(cell, "U") if cell.spec.uRank is None else cell.U1 @ cell.U2
    biases = [_tensor(cell, name) for name in cell.bias_names]
    biases += [None] * (4 - len(biases))
    scalars = [_tensor(cell, name) for name, _ in cell.kind.scalars] or [None, None]
    h0 = state[0] if state is not None else None
    c0 = state[1] if state is not None and lstm else None
    tensors = (frames, h0, c0, W, U, *biases, *scalars)
    learning = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    output, h, c, _, _ = torch.ops.edgesearch.rnn_forward.default(
        *tensors, lengths, kind, gate, update, backward, learning
    )
    return output, (h, c) if lstm else (h,)


def _tensor(cell: RNNCell, name: str) -> Tensor | None:
    """A parameter, or what a parametrization put in its place; a module's attributes are slow to look up."""
    found = cell._parameters.get(name)
    return getattr(cell, name) if found is None else found


def _fake_forward(x: Tensor, h0: Any, c0: Any, W: Tensor, U: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    cell, save = rest[-5], rest[-1]
    (T, B, _), H = x.shape, U.shape[0]
    lstm = cell == _LSTM
    padded = (H + 15) // 16 * 16
    pre = x.new_empty(T if save else 0, B, _SAVED_BLOCKS[cell] * padded)
    cells = x.new_empty(T if save and lstm else 0, B, H)
    return x.new_empty(T, B, H), x.new_empty(B, H), x.new_empty(B if lstm else 0, H), pre, cells


def _fake_backward(d_out: Any, d_h: Any, d_c: Any, x: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    W, U, *biases = rest[2:8]
    scalars, cell, need_x = rest[8:10], rest[-5], rest[-1]
    (T, B, D), H = x.shape, U.shape[0]
    return (
        x.new_empty(T if need_x else 0, B, D),
        x.new_empty(B, H),
        x.new_empty(B if cell == _LSTM else 0, H),
        W.new_empty(W.shape),
        U.new_empty(U.shape),
        *(x.new_empty(0 if b is None else H) for b in biases),
        *(x.new_empty(0) if s is None else s.new_empty(s.shape) for s in scalars),
    )
