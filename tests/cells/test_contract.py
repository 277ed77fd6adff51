"""What holds for every cell, full and low rank."""

from typing import Any

import pytest
import torch
from torch import Tensor

from edgesearch.cells.cell import CELLS, RNNCell
from edgesearch.cells.classifier import Classifier, build_classifier
from edgesearch.cells.rnn import RNNS
from edgesearch.cells.spec import ModelSpec
from edgesearch.errors import ConfigError

VARIANTS = [*((name, {}) for name in CELLS), ("gru", {"reset_after": False})]
SIZES = [(1, 1, 1, 1), (5, 2, 3, 4), (3, 4, 7, 33)]


def random_sequence(T: int, B: int, D: int) -> Tensor:
    return torch.randn(T, B, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def spread(module: torch.nn.Module) -> None:
    """Replace initial values by larger random ones, so that every term matters."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=p.dtype) * 0.5)


@pytest.mark.parametrize(
    ("name", "options"), VARIANTS, ids=lambda v: v if isinstance(v, str) else "-".join(v) or "plain"
)
class TestCellContract:
    @pytest.mark.parametrize("sizes", SIZES, ids=str)
    @pytest.mark.parametrize("low_rank", [False, True])
    def test_steps_equal_the_unrolled_sequence(
        self, name: str, options: dict[str, Any], sizes: tuple[int, ...], low_rank: bool
    ) -> None:
        T, B, D, H = sizes
        ranks: dict[str, Any] = {"wRank": min(D, H, 2), "uRank": min(H, 3)} if low_rank else {}
        rnn = RNNS[name](D, H, **ranks, **options, dtype=torch.float64)
        spread(rnn)
        x = random_sequence(T, B, D)
        output, last = rnn(x)
        cell, state = rnn.cells[0], None
        for t in range(T):
            state = cell(x[t], state)
            h = state[0] if isinstance(state, tuple) else state
            torch.testing.assert_close(h, output[t], rtol=1e-13, atol=1e-13)
        finals = last if isinstance(last, tuple) else (last,)
        states = state if isinstance(state, tuple) else (state,)
        for ours, theirs in zip(finals, states, strict=True):
            torch.testing.assert_close(ours[0], theirs, rtol=1e-13, atol=1e-13)
        assert output.shape == (T, B, H)

    def test_low_rank_at_full_rank_equals_full_rank(self, name: str, options: dict[str, Any]) -> None:
        T, B, D, H = 4, 3, 6, 5
        full = RNNS[name](D, H, **options, dtype=torch.float64)
        low = RNNS[name](D, H, wRank=5, uRank=5, **options, dtype=torch.float64)
        spread(low)
        state = low.state_dict()
        merged = {k: v for k, v in state.items() if k[-2:] not in ("W1", "W2", "U1", "U2")}
        merged |= {f"cells.0.{m}": state[f"cells.0.{m}1"] @ state[f"cells.0.{m}2"] for m in ("W", "U")}
        full.load_state_dict(merged)
        x = random_sequence(T, B, D)
        torch.testing.assert_close(low(x)[0], full(x)[0], rtol=1e-12, atol=1e-12)

    @pytest.mark.parametrize("low_rank", [False, True])
    def test_gradients(self, name: str, options: dict[str, Any], low_rank: bool) -> None:
        ranks: dict[str, Any] = {"wRank": 2, "uRank": 2} if low_rank else {}
        rnn = RNNS[name](3, 4, **ranks, **options, dtype=torch.float64)
        spread(rnn)
        names = [n for n, _ in rnn.named_parameters()]

        def outputs(x: Tensor, *parameters: Tensor) -> Any:
            result, last = torch.func.functional_call(rnn, dict(zip(names, parameters, strict=True)), (x,))
            return (result, *last) if isinstance(last, tuple) else (result, last)

        inputs = (
            random_sequence(3, 2, 3).requires_grad_(),
            *(p.detach().clone().requires_grad_() for p in rnn.parameters()),
        )
        assert torch.autograd.gradcheck(outputs, inputs)

    @pytest.mark.parametrize("low_rank", [False, True])
    def test_a_training_step_changes_every_parameter(self, name: str, options: dict[str, Any], low_rank: bool) -> None:
        spec = spec_of(name, options, low_rank)
        model = build_classifier(spec)
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        optimizer = torch.optim.Adam(model.parameters())
        x, y = random_sequence(4, 8, 3).float(), torch.arange(8) % 2
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        assert {"FC", "FCbias"} <= before.keys()
        for n, p in model.named_parameters():
            assert not torch.equal(p, before[n]), n

    @pytest.mark.parametrize("low_rank", [False, True])
    @pytest.mark.parametrize("bidirectional", [False, True])
    def test_the_spec_names_and_counts_the_parameters(
        self, name: str, options: dict[str, Any], low_rank: bool, bidirectional: bool
    ) -> None:
        spec = spec_of(name, options, low_rank, num_layers=2, bidirectional=bidirectional)
        model = build_classifier(spec)
        found = {n: tuple(p.shape) for n, p in model.named_parameters()}
        assert {t.name: t.shape for t in spec.tensors()} == found
        assert spec.parameters == sum(p.numel() for p in model.parameters())

    def test_the_state_dict_round_trips(self, name: str, options: dict[str, Any]) -> None:
        spec = spec_of(name, options, low_rank=True)
        first, second = build_classifier(spec), build_classifier(spec)
        second.load_state_dict(first.state_dict())
        x = random_sequence(5, 2, 3).float()
        assert torch.equal(first(x), second(x))

    def test_layouts_of_sequences(self, name: str, options: dict[str, Any]) -> None:
        rnn = RNNS[name](3, 4, num_layers=2, bidirectional=True, **options, dtype=torch.float64)
        first = RNNS[name](3, 4, num_layers=2, bidirectional=True, batch_first=True, **options, dtype=torch.float64)
        first.load_state_dict(rnn.state_dict())
        x = random_sequence(5, 2, 3)
        output, _ = rnn(x)
        torch.testing.assert_close(first(x.transpose(0, 1))[0], output.transpose(0, 1))
        single, state = rnn(x[:, 0])
        torch.testing.assert_close(single, output[:, 0])
        assert (state[0] if isinstance(state, tuple) else state).shape == (4, 4)

    def test_a_sequence_can_be_cut_and_continued(self, name: str, options: dict[str, Any]) -> None:
        rnn = RNNS[name](3, 4, num_layers=2, **options, dtype=torch.float64)
        x = random_sequence(6, 2, 3)
        whole, _ = rnn(x)
        head, state = rnn(x[:2])
        tail, _ = rnn(x[2:], state)
        torch.testing.assert_close(torch.cat((head, tail)), whole)

    def test_wrong_shapes_are_refused(self, name: str, options: dict[str, Any]) -> None:
        rnn = RNNS[name](3, 4, **options)
        for bad in (torch.zeros(5, 2, 4), torch.zeros(3), torch.zeros(0, 2, 3)):
            with pytest.raises(ValueError, match="sequence"):
                rnn(bad)
        state = torch.zeros(1, 3, 4)
        with pytest.raises(ValueError, match="initial state"):
            rnn(torch.zeros(5, 2, 3), (state, state) if name == "lstm" else state)
        with pytest.raises(ValueError, match="initial state"):
            rnn(torch.zeros(5, 2, 3), (state,) if name == "lstm" else (state, state))
        with pytest.raises(TypeError, match="unexpected keyword"):
            RNNS[name](3, 4, wSparsity=0.5)

    def test_initial_values(self, name: str, options: dict[str, Any]) -> None:
        torch.manual_seed(0)
        cell: RNNCell = CELLS[name](50, 60, **options)
        scalars = {"alpha": -3.0, "beta": 3.0, "zeta": 1.0, "nu": -4.0, "Bhh": 0.0}
        for n, p in cell.named_parameters():
            if n in ("W", "U"):
                assert abs(float(p.detach().std()) - 0.1) < 0.005, n
                assert abs(float(p.detach().mean())) < 0.01, n
            else:
                assert torch.equal(p, torch.full_like(p, scalars.get(n, 1.0))), n


def spec_of(name: str, options: dict[str, Any], low_rank: bool, **more: Any) -> ModelSpec:
    ranks = {"wRank": 2, "uRank": 2} if low_rank else {}
    defaults: dict[str, Any] = {"reset_after": True} if name == "gru" else {}
    gate = None if name == "fastrnn" else "sigmoid"
    return ModelSpec(name, 4, 3, 5, 2, gate_nonlinearity=gate, **(defaults | options | ranks | more))


def test_a_callable_nonlinearity_is_used() -> None:
    rnn = RNNS["fastgrnn"](2, 3, update_nonlinearity=torch.sin, gate_nonlinearity=lambda a: a * 0.0 + 1.0)
    output, _ = rnn(torch.ones(1, 1, 2))
    cell = rnn.cells[0]
    assert isinstance(cell, RNNCell)
    expected = torch.sigmoid(torch.tensor(-4.0)) * torch.sin(torch.ones(1, 2) @ cell.W + 1.0)
    torch.testing.assert_close(output[0], expected)


def test_dropout_acts_between_layers_and_only_in_training() -> None:
    rnn = RNNS["ugrnn"](2, 8, num_layers=2, dropout=0.9)
    x = torch.randn(4, 3, 2)
    assert not torch.equal(rnn(x)[0], rnn(x)[0])
    rnn.eval()
    assert torch.equal(rnn(x)[0], rnn(x)[0])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"wRank": 4}, r"cell.wRank must be at least 1 and at most min\(D, H\) = 3, got 4; set cell.wRank=null"),
        ({"uRank": 6}, r"cell.uRank must be at least 1 and at most min\(H, H\) = 5, got 6"),
        ({"wRank": 0}, "cell.wRank must be at least 1"),
        ({"num_layers": 0}, "cell.num_layers"),
        ({"dropout": 1.0}, "cell.dropout"),
        ({"reset_after": True}, "reset_after belongs to the GRU"),
        ({"backend": "magic"}, "cell.backend must be one of auto, fused, eager"),
        ({"update_nonlinearity": "softplus"}, "a nonlinearity is a callable or one of"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        RNNS["fastgrnn"](3, 5, **arguments)


def test_the_head_reads_both_directions() -> None:
    model = Classifier(RNNS["gru"](2, 3, bidirectional=True), 4)
    x = torch.randn(5, 2, 2)
    output, _ = model.rnn(x)
    expected = torch.cat((output[-1, :, :3], output[0, :, 3:]), dim=1) @ model.FC + model.FCbias
    torch.testing.assert_close(model(x), expected)
    torch.testing.assert_close(model(x[:, 1]), expected[1])
