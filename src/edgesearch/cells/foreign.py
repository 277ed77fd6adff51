"""Models that users bring: torch.nn.LSTM or GRU with a Linear on the last output, as one of our classifiers."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from edgesearch.cells.classifier import Classifier
from edgesearch.cells.rnn import GRU, LSTM
from edgesearch.errors import ConfigError

_TAKEN = (nn.LSTM, nn.GRU, nn.Linear, nn.Dropout, nn.Identity)


def as_classifier(model: nn.Module) -> Classifier:
    """Return `model` itself if it is a classifier of ours, else its weights in a new one that computes the same.

    Args:
        model: a `Classifier`, or a module that holds one torch.nn.LSTM or torch.nn.GRU (any `num_layers`, `batch_first`
            and `bias`; neither `bidirectional` nor `proj_size`) and one torch.nn.Linear, which is applied to the last
            output of the last layer, and nothing else but Dropout and Identity. Weights are float32 or float64, and
            taken as the module's forward sees them: pruned, weight- or spectral-normalised, parametrised.

    That its forward applies them so is for the caller to check.

    Raises:
        ConfigError: any other module.
    """
    if isinstance(model, Classifier):
        return model
    rnn, head = _layers(model)
    with evaluating(model), torch.no_grad():
        layers = _as_used(rnn, _names(rnn))
        dense = _as_used(head, ["weight", "bias"])
    kind = LSTM if isinstance(rnn, nn.LSTM) else GRU
    FC = dense["weight"].t().clone()
    ours = kind(
        rnn.input_size, rnn.hidden_size, rnn.num_layers, batch_first=rnn.batch_first, device=FC.device, dtype=FC.dtype
    )
    ours.load_state_dict(layers)
    made = Classifier(ours, head.out_features)
    made.FC.data = FC
    made.FCbias.data = dense["bias"].clone() if "bias" in dense else FC.new_zeros(head.out_features)
    return made


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put every part of a module in evaluation mode, and back in its own afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _layers(model: nn.Module) -> tuple[nn.LSTM | nn.GRU, nn.Linear]:
    leaves = list(dict.fromkeys(_leaves(model)))
    recurrent = [m for m in leaves if isinstance(m, nn.LSTM | nn.GRU)]
    linear = [m for m in leaves if isinstance(m, nn.Linear)]
    others = sorted({type(m).__name__ for m in leaves if not isinstance(m, _TAKEN)})
    if others:
        raise ConfigError(
            "a model is an edgesearch classifier, or holds one torch.nn.LSTM or GRU, one Linear, Dropout and Identity, "
            f"got {', '.join(others)}; build an edgesearch classifier from its weights"
        )
    for what, parts in (("LSTM or GRU", recurrent), ("Linear", linear)):
        if len(parts) != 1:
            remedy = "stack its layers with num_layers" if len(parts) > 1 and what != "Linear" else "keep one"
            raise ConfigError(f"a model holds one torch.nn.{what}, got {len(parts)}; {remedy if parts else 'add one'}")
    _check(recurrent[0], linear[0])
    return recurrent[0], linear[0]


def _leaves(module: nn.Module) -> Iterator[nn.Module]:
    """The modules that compute; what parametrises one of them is part of it."""
    children = [] if isinstance(module, nn.LSTM | nn.GRU | nn.Linear) else list(module.children())
    if not children:
        yield module
    for child in children:
        yield from _leaves(child)


def _check(rnn: nn.LSTM | nn.GRU, head: nn.Linear) -> None:
    name = "LSTM" if isinstance(rnn, nn.LSTM) else "GRU"
    if rnn.bidirectional:
        raise ConfigError(
            f"an integer program reads frames as they come, got {name}(bidirectional=True); train one direction"
        )
    if rnn.proj_size:
        raise ConfigError(f"an LSTM with projections is not taken, got proj_size={rnn.proj_size}; use proj_size=0")
    if head.in_features != rnn.hidden_size:
        raise ConfigError(
            f"the Linear must take the {name}'s last output, hidden_size={rnn.hidden_size}, got "
            f"in_features={head.in_features}; use Linear({rnn.hidden_size}, {head.out_features})"
        )
    for weights in (*(getattr(rnn, name) for name in _names(rnn)), head.weight):
        if weights.dtype not in (torch.float32, torch.float64):
            raise ConfigError(f"weights must be float32 or float64, got {weights.dtype}; call model.float()")


def _names(rnn: nn.LSTM | nn.GRU) -> list[str]:
    return [name for names in rnn._all_weights for name in names]


def _as_used(module: nn.LSTM | nn.GRU | nn.Linear, names: list[str]) -> dict[str, Tensor]:
    """The tensors that forward uses, by name; hooks may make them of others, when forward is called."""
    features = module.in_features if isinstance(module, nn.Linear) else module.input_size
    like: Tensor = getattr(module, names[0])
    module(like.new_zeros(1, 1, features))
    found = {name: getattr(module, name) for name in names}
    return {name: tensor.detach() for name, tensor in found.items() if tensor is not None}
