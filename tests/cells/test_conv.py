"""Convolutional cells: their sizes by hand and as compiled, floats against the program, any shape of window."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from edgesearch.budget import FLOAT32, Widths, model_size
from edgesearch.cells.classifier import build_classifier, classifier_spec
from edgesearch.cells.conv import ConvClassifier, ConvSpec
from edgesearch.compress import calibrate
from edgesearch.compress.calibrate import choose_formats, choose_tables, observe
from edgesearch.compress.executor import Executor
from edgesearch.compress.finetune import raw_graph
from edgesearch.compress.program import compile_program
from edgesearch.errors import ConfigError
from edgesearch.export.layout import ram_bytes
from edgesearch.measure.compiled import compare, variants
from edgesearch.numerics.interpreter import input_integers
from tests.conftest import composed

LENET = ConvSpec("lenet5", 8, 8, 10, channels=8)
DSCNN = ConvSpec("dscnn", 49, 10, 12, channels=64)


def untrained(spec: ConvSpec) -> ConvClassifier:
    torch.manual_seed(0)
    model = build_classifier(spec)
    assert isinstance(model, ConvClassifier)
    for name, buffer in model.named_buffers():
        buffer.copy_(torch.rand_like(buffer) + (0.5 if name.endswith("var") else 0.0))
    for parameter in model.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter, 0.5, 0.3)
    return model.eval()


def test_lenet5_by_hand() -> None:
    conv, dense = 9 * 8 + 8 + 9 * 8 * 8 + 8, (8 * 2 * 2) * 64 + 64 + 64 * 10 + 10
    assert LENET.parameters == conv + dense
    found = model_size(LENET, Widths(8, 16))
    assert found.flash_bytes == (9 * 8 + 9 * 8 * 8 + 32 * 64 + 640) + 2 * (8 + 8 + 64 + 10) + 2 * 2 * 8
    assert found.macs == 64 * 9 * 8 + 16 * 9 * 8 * 8 + 32 * 64 + 640 + 64
    assert found.ram_bytes == 2 * (8 + 64) + 4 + 2 * (512 + 128) + 2 * 10
    assert model_size(LENET, FLOAT32).flash_bytes == 4 * LENET.parameters


def test_dscnn_is_in_the_size_class_of_the_benchmark() -> None:
    """MLPerf Tiny's keyword spotter has 24,908 parameters with this window, some of which fold into others."""
    assert 23_000 < DSCNN.parameters < 25_000
    assert model_size(DSCNN, Widths(8, 8)).macs == pytest.approx(2.66e6, rel=0.1)


@pytest.mark.parametrize(
    "spec", [LENET, ConvSpec("lenet5", 49, 24, 10, 4, 16), ConvSpec("dscnn", 16, 16, 10, 8, blocks=2)]
)
@pytest.mark.parametrize("widths", [(8, 16), (8, 8), (4, 8)])
def test_the_closed_form_is_the_program(spec: ConvSpec, widths: tuple[int, int]) -> None:
    model = untrained(spec)
    for parameter in model.parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)  # nothing is rounded to zero
    program = compiled(model, *widths)[0]
    closed = model_size(spec, Widths(*widths))
    assert ram_bytes(program) == closed.ram_bytes
    if spec.cell == "lenet5":  # (folded weights of dscnn can be small)
        assert (program.flash_bytes, program.macs) == (closed.flash_bytes, closed.macs)
    assert program.flash_bytes <= closed.flash_bytes
    assert program.macs <= closed.macs


def compiled(model: ConvClassifier, weight_bits: int, activation_bits: int) -> tuple[Any, Any, Any, Any]:
    spec = model.spec
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(spec.steps, 40, spec.input_size, generator=generator)
    mean, std = (
        torch.randn(spec.input_size, generator=generator),
        torch.rand(spec.input_size, generator=generator) + 0.5,
    )
    raw = x * std + mean
    graph = raw_graph(model, spec.steps, mean, std)
    formats = choose_formats(graph, observe(graph, [raw]), calibrate.Widths(weight_bits, activation_bits))
    return compile_program(graph, formats, 1e-3), (graph, formats), x, raw


@pytest.mark.parametrize("spec", [LENET, ConvSpec("dscnn", 16, 16, 10, 8, blocks=2)], ids=["lenet5", "dscnn"])
def test_floats_fake_quantisation_integers_and_c_agree(spec: ConvSpec) -> None:
    model = untrained(spec)
    program, (graph, formats), x, raw = compiled(model, 16, 16)
    with torch.no_grad():
        floats = model(x).double()
        torch.testing.assert_close(Executor(graph)(raw), floats, rtol=1e-4, atol=1e-4)
        fake = Executor(graph, formats, choose_tables(graph, formats, 1e-3))(raw).numpy()
    integers = input_integers(program, raw.double().numpy())
    found = program.run(integers)
    np.testing.assert_array_equal(program.format("logits").numbers(found.logits), fake)
    scale = float(floats.abs().max())
    assert np.abs(fake - floats.numpy()).max() < 0.02 * scale
    compare(program, integers, variants()[:1])


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    cell=st.sampled_from(["lenet5", "dscnn"]),
    steps=st.integers(1, 14),
    features=st.integers(1, 12),
    channels=st.integers(1, 6),
    hidden=st.integers(1, 9),
    blocks=st.integers(1, 2),
    widths=st.sampled_from([(8, 16), (4, 8), (2, 8), (16, 16)]),
)
def test_any_window_runs_in_c(
    cell: str, steps: int, features: int, channels: int, hidden: int, blocks: int, widths: tuple[int, int]
) -> None:
    spec = ConvSpec(cell, steps, features, 3, channels, hidden, blocks)
    program, _, _, raw = compiled(untrained(spec), *widths)
    assert ram_bytes(program) == model_size(spec, Widths(*widths)).ram_bytes
    compare(program, input_integers(program, raw.double().numpy()), variants()[:1])


def test_normalisation_folds_into_the_weights() -> None:
    model = untrained(ConvSpec("dscnn", 6, 6, 3, 4, blocks=1))
    stage = model.spec.stages[0]
    weights, bias = model.folded(stage)
    x = torch.randn(5, 1, 6, 6)
    g = stage.geometry
    expected = model._stage(stage, x)
    found = torch.conv2d(x, weights, bias, g.stride, g.padding).relu()
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["cell=lenet5", "cell.wRank=2"], "cell.wRank belongs to recurrent cells"),
        (["cell=dscnn", "cell.bidirectional=true"], "set cell.bidirectional=false"),
        (["cell=lenet5", "cell.channels=null"], "needs cell.channels"),
        (["cell=lstm", "cell.channels=4"], "belongs to lenet5 and dscnn"),
    ],
)
def test_keys_of_the_other_family_are_refused(overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        composed(*overrides)


def test_the_spec_follows_the_configuration() -> None:
    config = composed("cell=lenet5", "cell.channels=5", "cell.hidden_size=7", "schedule.sparsity=0.75")
    spec = classifier_spec(config.cell, config.schedule, steps=8, input_size=8, classes=10)
    assert isinstance(spec, ConvSpec)
    assert (spec.channels, spec.hidden_size) == (5, 7)
    assert [t.name for t in spec.tensors() if t.sparsity] == ["F1"]
    assert spec.nonzeros < spec.parameters
