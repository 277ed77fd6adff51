"""The nonlinearities a cell may use, by name or as any callable on tensors."""

from collections.abc import Callable

import torch
from torch import Tensor

from edgesearch.config.schema import NONLINEARITIES
from edgesearch.errors import ConfigError

Function = Callable[[Tensor], Tensor]


def quantTanh(a: Tensor) -> Tensor:
    """clamp(a, -1, 1), the piecewise-linear tanh."""
    return torch.clamp(a, -1.0, 1.0)


def quantSigm(a: Tensor) -> Tensor:
    """clamp((a + 1) / 2, 0, 1), the piecewise-linear sigmoid."""
    return torch.clamp((a + 1.0) / 2.0, 0.0, 1.0)


def quantSigm4(a: Tensor) -> Tensor:
    """clamp((a + 2) / 4, 0, 1), the piecewise-linear sigmoid with its slope at zero."""
    return torch.clamp((a + 2.0) / 4.0, 0.0, 1.0)


_FUNCTIONS: dict[str, Function] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "quantSigm": quantSigm,
    "quantSigm4": quantSigm4,
    "quantTanh": quantTanh,
}


def nonlinearity(choice: str | Function) -> Function:
    """Return the function for a name of `NONLINEARITIES`; a callable is returned as it is.

    Raises:
        ConfigError: the name is unknown.
    """
    if callable(choice):
        return choice
    if choice not in _FUNCTIONS:
        raise ConfigError(f"a nonlinearity is a callable or one of {', '.join(NONLINEARITIES)}, got {choice}; use tanh")
    return _FUNCTIONS[choice]
