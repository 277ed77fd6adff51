"""Widths narrowed by group: alone until accuracy is lost, together until it is back."""

import pytest
import torch

from edgesearch.cells.classifier import build_classifier
from edgesearch.cells.conv import ConvSpec
from edgesearch.cells.spec import ModelSpec
from edgesearch.compress.calibrate import Ranges, Widths, observe
from edgesearch.compress.finetune import raw_graph
from edgesearch.compress.graph import Graph
from edgesearch.compress.groups import groups, narrow
from edgesearch.numerics.program import IntegerProgram


def prepared(spec: ModelSpec | ConvSpec) -> tuple[Graph, Ranges]:
    torch.manual_seed(0)
    D = spec.input_size
    graph = raw_graph(build_classifier(spec), spec.steps, torch.zeros(D), torch.ones(D))
    return graph, observe(graph, [torch.randn(spec.steps, 30, D)])


def test_the_groups_of_each_family() -> None:
    conv, _ = prepared(ConvSpec("lenet5", 6, 6, 3, 2, 4))
    assert {name: set(found) for name, found in groups(conv).items()} == {
        "conv": {"K1", "K2"},
        "dense": {"F1", "F2"},
        "activations": {"input", "x", "K1_out", "P1", "K2_out", "P2", "F1_out"},
    }
    recurrent, _ = prepared(ModelSpec("lstm", 6, 5, 4, 3, wRank=2))
    found = groups(recurrent)
    assert set(found["W"]) == {"l0_W1", *(f"l0_W2_{block}" for block in range(4))}
    assert set(found["U"]) == {f"l0_U_{block}" for block in range(4)}
    assert found["head"] == ("FC",)
    assert set(found["state"]) == {"l0_h_next", "l0_c_next"}
    assert {"input", "x", "l0_i", "l0_f", "l0_o"} <= set(found["gates"])


def bits(program: IntegerProgram, *names: str) -> int:
    return min(program.format(name).bits for name in names)


@pytest.mark.parametrize(
    ("cost", "margin", "chosen"),
    [
        ({}, 0.0, {"conv": 2, "dense": 2, "activations": 8}),
        ({"conv": 4}, 0.05, {"conv": 8, "dense": 2, "activations": 8}),
        ({"conv": 4, "dense": 8, "activations": 8}, 0.05, {"conv": 8, "dense": 16, "activations": 16}),
    ],
)
def test_a_group_is_narrowed_until_it_costs_too_much(
    cost: dict[str, int], margin: float, chosen: dict[str, int]
) -> None:
    """`cost`: the width from which on a group loses a tenth."""
    graph, ranges = prepared(ConvSpec("lenet5", 6, 6, 3, 2, 4))
    names = {"conv": ("K1",), "dense": ("F1",), "activations": ("K1_out",)}

    def accuracy(program: IntegerProgram) -> float:
        return 0.9 - 0.1 * sum(bits(program, *names[group]) <= width for group, width in cost.items())

    found = narrow(graph, ranges, Widths(), accuracy, 0.9, margin)
    assert found.chosen == chosen
    assert found.accuracy >= 0.9 - margin
    assert {found.bits[name] for name in ("K1", "K2")} == {chosen["conv"]}
    assert found.formats["F2"].bits == chosen["dense"]


def test_what_is_too_narrow_together_is_widened_where_it_helps_most() -> None:
    graph, ranges = prepared(ConvSpec("lenet5", 6, 6, 3, 2, 4))

    def accuracy(program: IntegerProgram) -> float:
        narrow_ones = (bits(program, "K1") == 2) + (bits(program, "F1") == 2)
        return 0.9 if narrow_ones < 2 else 0.7

    found = narrow(graph, ranges, Widths(), accuracy, 0.9, 0.01)
    assert found.accuracy_at["conv"][2] == found.accuracy_at["dense"][2] == 0.9
    assert sorted((found.chosen["conv"], found.chosen["dense"])) == [2, 4]
    assert found.accuracy == 0.9
