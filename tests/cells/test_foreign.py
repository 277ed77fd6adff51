"""Modules that users bring: the weights their forward uses, and one line for what is not taken."""

import copy
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from edgesearch.cells.foreign import as_classifier
from edgesearch.compress.quantizer import Quantizer
from edgesearch.errors import ConfigError

T, D, H, C = 6, 5, 9, 3
Recurrent = type[nn.LSTM] | type[nn.GRU]


class Net(nn.Module):
    def __init__(self, kind: Recurrent, layers: int = 1, bias: bool = True) -> None:
        super().__init__()
        self.rnn: nn.LSTM | nn.GRU = kind(D, H, layers, bias=bias)
        self.drop, self.same = nn.Dropout(0.5), nn.Identity()
        self.head = nn.Linear(H, C, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return torch.Tensor(self.head(self.same(self.drop(self.rnn(x)[0][-1]))))


def pruned(net: Net) -> None:
    prune.random_unstructured(net.rnn, "weight_ih_l0", 0.4)
    prune.l1_unstructured(net.rnn, "weight_hh_l0", 0.4)
    prune.l1_unstructured(net.head, "weight", 0.3)


def weight_normed_by_hooks(net: Net) -> None:
    for module, name in ((net.rnn, "weight_hh_l0"), (net.rnn, "bias_ih_l0"), (net.head, "weight")):
        nn.utils.weight_norm(module, name)
        module.get_parameter(f"{name}_g").data.mul_(1.7)  # (the attribute is older than that until forward runs)


def spectral_normed_by_hooks(net: Net) -> None:
    for module, name in ((net.rnn, "weight_hh_l0"), (net.head, "weight")):
        nn.utils.spectral_norm(module, name)
    for _ in range(9):
        net.train()(torch.zeros(1, 1, D))


def weight_normed(net: Net) -> None:
    for module, name in ((net.rnn, "weight_ih_l0"), (net.rnn, "weight_hh_l0"), (net.head, "weight")):
        parametrizations.weight_norm(module, name)
        module.get_parameter(f"parametrizations.{name}.original0").data.mul_(1.5)


def spectral_normed(net: Net) -> None:
    for module, name in ((net.rnn, "weight_hh_l0"), (net.head, "weight")):
        parametrizations.spectral_norm(module, name)


class Doubled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


def parametrised(net: Net) -> None:
    parametrize.register_parametrization(net.rnn, "weight_ih_l0", Doubled())
    parametrize.register_parametrization(net.head, "bias", Doubled())


def with_buffers(net: Net) -> None:
    net.rnn.register_buffer("seen", torch.zeros(3))
    net.head.register_buffer("halves", torch.zeros(2, dtype=torch.float16))
    frozen = net.rnn.get_parameter("weight_ih_l0").detach()
    del net.rnn.weight_ih_l0
    net.rnn.register_buffer("weight_ih_l0", frozen)


WAYS = (
    pruned, weight_normed_by_hooks, spectral_normed_by_hooks, weight_normed, spectral_normed, parametrised,
    with_buffers,
)  # fmt: skip


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_weights_are_those_that_forward_uses(kind: Recurrent, way: Callable[[Net], None]) -> None:
    torch.manual_seed(0)
    net = Net(kind, 2)
    way(net)
    net.train()
    net.head.eval()
    x = torch.randn(T, 200, D)
    quantizer = Quantizer(net, bits=16)
    floats = quantizer.model(x).detach()
    assert [net.training, net.rnn.training, net.drop.training, net.head.training] == [True, True, True, False]
    with torch.no_grad():
        expected = net.eval()(x)
    torch.testing.assert_close(floats, expected, rtol=0, atol=1e-5)
    found = quantizer.program.run(x.double().numpy())
    numbers = quantizer.program.format("logits").numbers(found.logits)
    np.testing.assert_allclose(numbers, expected.numpy(), rtol=0, atol=0.05)
    assert (found.answers == expected.argmax(dim=1).numpy()).mean() > 0.97


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_layers_without_biases_have_zeros(kind: Recurrent) -> None:
    net, x = Net(kind, 2, bias=False).eval(), torch.randn(T, 4, D)
    torch.testing.assert_close(as_classifier(net)(x), net(x))


def test_one_module_under_two_names_is_one() -> None:
    net, x = Net(nn.GRU).eval(), torch.randn(T, 4, D)
    net.again = net.rnn
    torch.testing.assert_close(as_classifier(net)(x), net(x))


LSTM, HEAD = nn.LSTM(D, H), nn.Linear(H, C)


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ((nn.LSTM(D, H, proj_size=4), nn.Linear(4, C)), "projections is not taken, got proj_size=4; use proj_size=0"),
        ((nn.LSTM(D, H, bidirectional=True), nn.Linear(2 * H, C)), "got LSTM(bidirectional=True); train one direction"),
        ((nn.GRU(D, H, bidirectional=True), HEAD), "got GRU(bidirectional=True); train one direction"),
        ((LSTM, nn.GRU(H, H), HEAD), "holds one torch.nn.LSTM or GRU, got 2; stack its layers with num_layers"),
        ((HEAD,), "holds one torch.nn.LSTM or GRU, got 0; add one"),
        ((LSTM, nn.Linear(H, H), HEAD), "holds one torch.nn.Linear, got 2; keep one"),
        ((LSTM,), "holds one torch.nn.Linear, got 0; add one"),
        ((LSTM, nn.Linear(H + 1, C)), "hidden_size=9, got in_features=10; use Linear(9, 3)"),
        ((LSTM, nn.ReLU(), HEAD), "Dropout and Identity, got ReLU; build"),
        ((nn.RNN(D, H), HEAD), "Dropout and Identity, got RNN; build"),
        ((nn.LSTM(D, H, dtype=torch.bfloat16), nn.Linear(H, C, dtype=torch.bfloat16)), "got torch.bfloat16; call"),
        ((nn.GRU(D, H, dtype=torch.float16), nn.Linear(H, C)), "got torch.float16; call model.float()"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_taken_is_named(layers: tuple[nn.Module, ...], words: str) -> None:
    with pytest.raises(ConfigError) as told:
        as_classifier(nn.ModuleList(copy.deepcopy(layer) for layer in layers))
    assert words in str(told.value)
    assert "\n" not in str(told.value)


def agreement(net: nn.Module, x: Tensor, bits: int) -> tuple[float, float, list[str]]:
    """Share of equal answers of program and module, the largest difference of their logits, and what was warned of."""
    quantizer = Quantizer(net, bits)
    quantizer.model(x)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        program = quantizer.program
        quantizer.program  # noqa: B018  (what is told once is not told again)
    with torch.no_grad():
        expected = net.eval()(x).numpy()
    found = program.run(x.double().numpy())
    difference = np.abs(program.format("logits").numbers(found.logits) - expected).max()
    answers = float((found.answers == expected.argmax(axis=1)).mean())
    return answers, float(difference), [str(warning.message) for warning in said]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_units_of_channels_cost_nothing(kind: Recurrent, bits: int) -> None:
    torch.manual_seed(0)
    plain, x = Net(kind).eval(), torch.randn(T, 500, D)
    scale = torch.tensor([1e-3, 1.0, 1e3, 1.0, 1.0])
    scaled = copy.deepcopy(plain)
    scaled.rnn.get_parameter("weight_ih_l0").data.div_(scale)
    answers, difference, _ = agreement(plain, x, bits)
    with_units, units_difference, said = agreement(scaled, x * scale, bits)
    assert with_units >= answers - 0.01
    assert units_difference <= 1.5 * difference
    assert said == []


@pytest.mark.parametrize(("mean", "told"), [(5.0, False), (337.0, True), (2e6, True)])
def test_a_channel_that_wants_an_offset_is_named(mean: float, told: bool) -> None:
    torch.manual_seed(0)
    net, x = Net(nn.LSTM).double().eval(), torch.randn(T, 500, D).double()
    normalised = as_classifier(net)
    normalised.input_mean = torch.tensor([0.0, 0.0, 300 * mean, 0.0, 0.0]).double()
    normalised.input_std = torch.tensor([1.0, 1.0, 300.0, 1.0, 1.0]).double()
    raw = x * normalised.input_std + normalised.input_mean
    net.rnn.get_parameter("weight_ih_l0").data.div_(normalised.input_std)
    net.rnn.get_parameter("bias_ih_l0").data.sub_(net.rnn.get_parameter("weight_ih_l0") @ normalised.input_mean)
    answers, _, said = agreement(net, raw, 8)
    assert len(said) == told
    assert answers > 0.97 or told
    for words in said:
        assert words.startswith("channel 2 (from 0) has a mean of")
        assert words.endswith("; normalise the input, or set input_mean and input_std of an edgesearch classifier")
    quantizer = Quantizer(normalised, 8)
    quantizer.model(raw)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("error")
        found = quantizer.program.run(raw.numpy()).answers
        assert (found == net(raw).argmax(dim=1).numpy()).mean() > 0.97
