"""GRU and LSTM against torch.nn: the same weights give the same outputs, states and gradients."""

import pytest
import torch
from torch import Tensor, nn

import edgesearch
from edgesearch.cells.cell import RNNCell
from edgesearch.errors import ModelFileError

PAIRS = [(nn.GRU, edgesearch.GRU), (nn.LSTM, edgesearch.LSTM)]


def total(output: Tensor, state: Tensor | tuple[Tensor, Tensor]) -> Tensor:
    states = state if isinstance(state, tuple) else (state,)
    weights = torch.linspace(0.5, 2, output.numel(), dtype=output.dtype).view_as(output)
    return (output * weights).sum() + sum(s.square().sum() for s in states)


@pytest.mark.parametrize(("theirs", "ours"), PAIRS)
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_outputs_states_and_gradients_agree(
    theirs: type[nn.GRU] | type[nn.LSTM],
    ours: type[edgesearch.GRU] | type[edgesearch.LSTM],
    layers: int,
    bidirectional: bool,
    batch_first: bool,
    bias: bool,
) -> None:
    torch.manual_seed(0)
    D, H, B = 5, 7, 3
    reference = theirs(
        D, H, layers, bias=bias, batch_first=batch_first, bidirectional=bidirectional, dtype=torch.float64
    )
    model = ours(D, H, layers, batch_first, bidirectional=bidirectional, dtype=torch.float64)
    model.load_state_dict(reference.state_dict())
    h0 = torch.randn(layers * (2 if bidirectional else 1), B, H, dtype=torch.float64)
    hx = (h0, h0 * 0.5) if ours is edgesearch.LSTM else h0
    x = torch.randn(B if batch_first else 6, 6 if batch_first else B, D, dtype=torch.float64)
    x1, x2 = x.clone().requires_grad_(), x.clone().requires_grad_()

    output1, state1 = reference(x1, hx)
    output2, state2 = model(x2, hx)
    torch.testing.assert_close(output2, output1, rtol=0, atol=1e-10)
    for a, b in zip(state2, state1, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)

    total(output1, state1).backward()
    total(output2, state2).backward()
    torch.testing.assert_close(x2.grad, x1.grad, rtol=0, atol=1e-10)
    index = layers - 1
    last = model.cells[index * (2 if bidirectional else 1)]
    assert isinstance(last, RNNCell)
    weight_ih = getattr(reference, f"weight_ih_l{index}")
    weight_hh = getattr(reference, f"weight_hh_l{index}")
    torch.testing.assert_close(last.W.grad, weight_ih.grad.t(), rtol=0, atol=1e-10)
    torch.testing.assert_close(last.U.grad, weight_hh.grad.t(), rtol=0, atol=1e-10)
    if bias:
        first = last.kind.biases[0]
        expected = getattr(reference, f"bias_ih_l{index}").grad[:H]
        torch.testing.assert_close(getattr(last, first).grad, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["GRUCell", "LSTMCell"])
def test_single_steps_have_the_form_of_torchs_cells(name: str) -> None:
    theirs, ours = getattr(nn, name)(3, 4), getattr(edgesearch, name)(3, 4)
    for x in (torch.zeros(2, 3), torch.zeros(3)):
        a, b = theirs(x), ours(x)
        assert [s.shape for s in a] == [s.shape for s in b]
        again = ours(x, b)
        assert [s.shape for s in again] == [s.shape for s in b]


def test_weights_that_do_not_fit_are_refused() -> None:
    state = nn.GRU(3, 4).state_dict()
    with pytest.raises(ModelFileError, match="reset_after"):
        edgesearch.GRU(3, 4, reset_after=False).load_state_dict(dict(state))
    with pytest.raises(ModelFileError, match="full-rank"):
        edgesearch.GRU(3, 4, wRank=2).load_state_dict(dict(state))
    with pytest.raises(ModelFileError, match="full-rank"):
        edgesearch.FastGRNN(3, 4).load_state_dict(dict(state))
    with pytest.raises(ModelFileError, match="weight_ih_l1, got none"):
        edgesearch.GRU(3, 4, num_layers=2).load_state_dict(dict(state))
    with pytest.raises(ModelFileError, match="proj_size"):
        edgesearch.LSTM(3, 4).load_state_dict(nn.LSTM(3, 4, proj_size=2).state_dict())
