"""Where integers lose: one value is spoilt, and that one is named with its kind."""

import re

import pytest
import torch

from edgesearch.cells.classifier import build_classifier
from edgesearch.cells.spec import ModelSpec
from edgesearch.compress.calibrate import Widths, choose_formats, choose_tables, observe
from edgesearch.compress.finetune import raw_graph
from edgesearch.compress.lost import most_lost
from edgesearch.numerics.format import Format
from tests.conftest import composed

T, D, H = 6, 3, 8


@pytest.mark.parametrize(
    ("name", "spoilt", "kind", "remedy"),
    [
        ("l0_W", Format(8, 0), "resolution", "+quant.named.l0_W=16, quant.weight_bits=16 or task=finetune"),
        ("l0_U", Format(8, 12), "saturation", "quant.range=max"),
        ("FC", Format(4, 0), "resolution", "+quant.named.FC=16, quant.weight_bits=8 or task=finetune"),
        ("l0_h_next", Format(8, 1), "resolution", "quant.activation_bits=16 or task=finetune"),
        ("l0_h_next", Format(16, 18), "saturation", "quant.range=max"),
        ("input", Format(8, 0), "resolution", "quant.activation_bits=16 or task=finetune"),
        ("input", Format(16, 16), "saturation", "quant.range=max"),
        ("logits", Format(16, 16), "saturation", "quant.range=max"),
        ("l0_z", Format(16, 1, signed=False), "resolution", "quant.function_error=0.0001"),
    ],
    ids=lambda value: str(value),
)
def test_the_spoilt_value_is_named(name: str, spoilt: Format, kind: str, remedy: str) -> None:
    torch.manual_seed(0)
    model = build_classifier(ModelSpec("fastgrnn", T, D, H, 4), "eager")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0 if parameter.dim() == 2 and parameter.numel() > 1 else 1.0)
    x = 3 * torch.randn(T, 64, D)
    graph = raw_graph(model, T, torch.zeros(D), torch.ones(D))
    formats = choose_formats(graph, observe(graph, [x]), Widths(16, 16, function_error=1e-4))
    formats |= dict.fromkeys((name, *(s for s, source in graph.states.items() if source == name)), spoilt)
    found = most_lost(graph, formats, choose_tables(graph, formats, 1e-4), x)
    assert (found.name, found.kind, found.remedy) == (name, kind, remedy)
    for override in re.findall(r"\+?quant\.[\w.]+=[\w.]+", remedy):
        composed(override)
