"""Hard thresholding keeps exactly the largest entries."""

import pytest
import torch

from edgesearch.cells.classifier import build_classifier
from edgesearch.cells.spec import ModelSpec
from edgesearch.compress.threshold import keep_largest, meets, nonzeros, sparse_tensors


@pytest.mark.parametrize("kept", [1, 5, 11, 12])
def test_exactly_the_largest_magnitudes_stay(kept: int) -> None:
    weights = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    mask = keep_largest(weights, kept)
    assert mask.sum() == kept
    smallest_kept = weights.abs()[mask == 1].min()
    assert (weights.abs()[mask == 0] < smallest_kept).all()


def test_ties_do_not_keep_more() -> None:
    assert keep_largest(torch.ones(4, 4), 7).sum() == 7


def test_a_model_meets_its_spec_only_when_cut() -> None:
    spec = ModelSpec("fastgrnn", 4, 6, 8, 3, wRank=4, wSparsity=0.5, uSparsity=0.25)
    model = build_classifier(spec)
    tensors = sparse_tensors(spec)
    assert [t.name for t in tensors] == ["rnn.cells.0.W1", "rnn.cells.0.W2", "rnn.cells.0.U"]
    assert not meets(model, tensors)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for t in tensors:
            parameters[t.name].mul_(keep_largest(parameters[t.name], t.nonzeros))
    assert meets(model, tensors)
    assert nonzeros(model) == spec.nonzeros == spec.parameters - 12 - 16 - 16
