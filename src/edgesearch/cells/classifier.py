"""A recurrent network with a dense head on its last state: the model that is trained, sized and shipped."""

from typing import Any, overload

import torch
from torch import Tensor, nn

from edgesearch.cells.conv import CONVOLUTIONAL, ConvClassifier, ConvSpec
from edgesearch.cells.rnn import RNN, RNNS
from edgesearch.cells.spec import ModelSpec, model_spec
from edgesearch.config import CellConfig, ScheduleConfig


class Classifier(nn.Module):
    """logits = h_T FC + FCbias, where h_T is the last state of the last layer (both directions side by side).

    Args:
        rnn: the recurrent layers.
        classes: C.

    The head starts from N(0, 1), as in the reference project; unlike there it is trained. `input_mean` and `input_std`
    (T * D,) are set by `load_edgeml` where the files hold them; `forward` expects input that is normalised already.
    """

    def __init__(self, rnn: RNN, classes: int) -> None:
        super().__init__()
        self.rnn = rnn
        self.input_mean: Tensor | None = None
        self.input_std: Tensor | None = None
        width = rnn.hidden_size * rnn.directions
        like = next(rnn.parameters())
        self.FC = nn.Parameter(torch.randn(width, classes, device=like.device, dtype=like.dtype))
        self.FCbias = nn.Parameter(torch.randn(classes, device=like.device, dtype=like.dtype))

    @property
    def classes(self) -> int:
        """C, the number of classes."""
        return self.FCbias.numel()

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, C) of sequences (T, B, D), (B, T, D) if batch_first, or logits (C,) of one (T, D)."""
        _, state = self.rnn(x)
        h = state[0] if isinstance(state, tuple) else state
        last = h[-1] if self.rnn.directions == 1 else torch.cat((h[-2], h[-1]), dim=-1)
        return nn.functional.linear(last, self.FC.t(), self.FCbias)


AnyClassifier = Classifier | ConvClassifier
AnySpec = ModelSpec | ConvSpec


@overload
def build_classifier(spec: ModelSpec, backend: str = "auto") -> Classifier: ...
@overload
def build_classifier(spec: AnySpec, backend: str = "auto") -> AnyClassifier: ...
def build_classifier(spec: AnySpec, backend: str = "auto") -> AnyClassifier:
    """Return a freshly initialised classifier for `spec`, drawing from torch's global generator."""
    if isinstance(spec, ConvSpec):
        return ConvClassifier(spec)
    options: dict[str, Any] = {"reset_after": spec.reset_after} if spec.cell == "gru" else {}
    rnn = RNNS[spec.cell](
        spec.input_size,
        spec.hidden_size,
        num_layers=spec.num_layers,
        dropout=spec.dropout,
        bidirectional=spec.bidirectional,
        wRank=spec.wRank,
        uRank=spec.uRank,
        gate_nonlinearity=spec.gate_nonlinearity,
        update_nonlinearity=spec.update_nonlinearity,
        backend=backend,
        **options,
    )
    return Classifier(rnn, spec.classes)


def classifier_spec(
    cell: CellConfig, schedule: ScheduleConfig, *, steps: int, input_size: int, classes: int
) -> AnySpec:
    """Return the spec of the classifier that `cell` and `schedule` describe on data of the given shape.

    Raises:
        ConfigError: a rank above min(D, H).
    """
    if cell.name not in CONVOLUTIONAL:
        return model_spec(cell, schedule, steps=steps, input_size=input_size, classes=classes)
    assert cell.channels is not None
    return ConvSpec(
        cell=cell.name,
        steps=steps,
        input_size=input_size,
        classes=classes,
        channels=cell.channels,
        hidden_size=cell.hidden_size,
        blocks=cell.num_layers,
        dropout=cell.dropout,
        sparsity=schedule.sparsity if cell.name == "lenet5" else 0.0,
        kept=tuple(sorted((cell.kept or {}).items())),
    )
