"""Flash, RAM and MACs against sums written out by hand and against programs really compiled."""

from dataclasses import replace

import pytest
import torch

from edgesearch.budget import FLOAT32, Size, Widths, edgeml_bytes, model_size, over_budget
from edgesearch.budget.size import macs
from edgesearch.cells.classifier import build_classifier
from edgesearch.cells.conv import ConvSpec
from edgesearch.cells.spec import KINDS, ModelSpec
from edgesearch.compress import calibrate as compress
from edgesearch.compress.channels import frame_bits
from edgesearch.compress.finetune import calibrated, raw_graph
from edgesearch.compress.program import compile_program
from edgesearch.compress.threshold import keep_largest
from edgesearch.data.frames import Frames
from edgesearch.errors import ConfigError
from edgesearch.export.layout import ram_bytes
from tests.conftest import composed

FULL = ModelSpec("fastgrnn", steps=16, input_size=16, hidden_size=32, classes=10)


def test_full_rank_fastgrnn_by_hand() -> None:
    assert FULL.parameters == 16 * 32 + 32 * 32 + 2 * 32 + 2 + 32 * 10 + 10 == 1932
    assert model_size(FULL, FLOAT32).flash_bytes == 4 * 1932
    tables = 66 + 138  # eleven segments of the sigmoid and 23 of tanh, three coefficients of 16 bits each
    assert model_size(FULL, Widths(8, 16)).flash_bytes == (512 + 1024 + 320) + 2 * (64 + 2 + 10 + 2 * 16) + tables
    linear = replace(FULL, gate_nonlinearity="quantSigm", update_nonlinearity="quantTanh")
    assert model_size(linear, Widths(4, 8)).flash_bytes == (512 + 1024 + 320) // 2 + 2 * (64 + 2 + 10 + 2 * 16)
    assert model_size(FULL, FLOAT32).ram_bytes == 4 * (16 + 32 + 32 + 10)
    assert macs(FULL) == 16 * (512 + 1024 + 3 * 32) + 320
    assert edgeml_bytes(FULL) == 7728


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (ModelSpec("fastrnn", 5, 3, 4, 2, gate_nonlinearity=None), 5 * (12 + 16 + 2 * 4) + 8),
        (ModelSpec("ugrnn", 5, 3, 4, 2), 5 * (2 * (12 + 16) + 2 * 4) + 8),
        (ModelSpec("gru", 5, 3, 4, 2, reset_after=True), 5 * (3 * (12 + 16) + 3 * 4) + 8),
        (ModelSpec("lstm", 5, 3, 4, 2), 5 * (4 * (12 + 16) + 3 * 4) + 8),
        (ModelSpec("lstm", 5, 3, 4, 2, wRank=2, uRank=3), 5 * (3 * 2 + 2 * 16 + 4 * 3 + 3 * 16 + 3 * 4) + 8),
        (ModelSpec("gru", 5, 3, 4, 2, uRank=2, reset_after=True), 5 * (36 + 4 * 2 + 2 * 12 + 3 * 4) + 8),
        (ModelSpec("gru", 5, 3, 4, 2, uRank=2), 5 * (36 + 2 * 4 * 2 + 2 * 12 + 3 * 4) + 8),
        (ModelSpec("fastgrnn", 5, 3, 4, 2, num_layers=2), 5 * (12 + 16 + 12 + 16 + 16 + 12) + 8),
        (ModelSpec("fastgrnn", 5, 3, 4, 2, bidirectional=True), 5 * 2 * (12 + 16 + 12) + 16),
        (ModelSpec("fastgrnn", 5, 3, 4, 2, wSparsity=0.5, uSparsity=0.75), 5 * (6 + 4 + 12) + 8),
    ],
)
def test_macs_of_every_cell_by_hand(spec: ModelSpec, expected: int) -> None:
    assert macs(spec) == expected


@pytest.mark.parametrize(
    ("spec", "values"),
    [
        (ModelSpec("lstm", 5, 3, 4, 2), 3 + 2 * 4 + 4 * 4 + 2),
        (ModelSpec("gru", 5, 3, 4, 2, wRank=2, uRank=3), 3 + 4 + 3 * 4 + 3 + 2),
        (ModelSpec("fastgrnn", 5, 3, 4, 2, num_layers=3), 3 + 3 * 4 + 4 + 2),
        (ModelSpec("fastgrnn", 5, 3, 4, 2, bidirectional=True), 5 * 3 + 2 * 4 + 4 + 2),
        (ModelSpec("fastgrnn", 5, 3, 4, 2, bidirectional=True, num_layers=2), 5 * 3 + 5 * 8 + 4 * 4 + 4 + 2),
    ],
)
def test_ram_by_hand(spec: ModelSpec, values: int) -> None:
    assert model_size(spec, FLOAT32).ram_bytes == 4 * values


@pytest.mark.parametrize("bits", [(8, 16), (4, 8), (2, 16)], ids=str)
@pytest.mark.parametrize(
    "functions", [("sigmoid", "tanh"), ("quantSigm", "quantTanh"), ("sigmoid", "sigmoid")], ids=str
)
@pytest.mark.parametrize("ranks", [(None, None), (2, 3)], ids=str)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(("cell", "after"), [*((name, False) for name in KINDS), ("gru", True)])
def test_the_closed_form_is_the_compiled_program(
    cell: str,
    after: bool,
    layers: int,
    ranks: tuple[int | None, int | None],
    functions: tuple[str, str],
    bits: tuple[int, int],
) -> None:
    gate = None if cell == "fastrnn" else functions[0]
    spec = ModelSpec(
        cell, 6, 5, 7, 3, num_layers=layers, wRank=ranks[0], uRank=ranks[1], reset_after=after,
        gate_nonlinearity=gate, update_nonlinearity=functions[1],
    )  # fmt: skip
    assert model_size(spec, Widths(*bits)) == compiled_size(spec, bits, 0.0)


@pytest.mark.parametrize("cell", ["fastgrnn", "fastrnn"])
@pytest.mark.parametrize("sparsity", [0.3, 0.6, 0.9])
def test_sparse_matrices_of_one_block_are_priced_exactly(cell: str, sparsity: float) -> None:
    gate = None if cell == "fastrnn" else "sigmoid"
    spec = ModelSpec(cell, 6, 5, 20, 3, gate_nonlinearity=gate, wSparsity=sparsity, uSparsity=sparsity)
    assert model_size(spec, Widths(8, 16)) == compiled_size(spec, (8, 16), sparsity)


def test_a_frame_that_takes_more_bits_is_priced_so() -> None:
    spec = ModelSpec("fastgrnn", 6, 5, 7, 3)
    assert model_size(spec, Widths(8, 16, frame_bits=24)) == compiled_size(spec, (8, 16), 0.0, spike=3000.0)
    lenet = ConvSpec("lenet5", 8, 5, 3, 4, 6)
    x = torch.randn(8, 50, 5, generator=torch.Generator().manual_seed(0))
    x[0, 0, 0] = 3000.0
    graph = raw_graph(build_classifier(lenet), 8, torch.zeros(5), torch.ones(5))
    program = compile_program(graph, calibrated(graph, x, compress.Widths(8, 16, "max")), 1e-3)
    assert ram_bytes(program) == model_size(lenet, Widths(8, 16, frame_bits=24)).ram_bytes
    frames = Frames.of(x.reshape(-1, 5).numpy())
    assert frame_bits(frames, (1.0,) * 5, 16, "max") == program.values["input"].format.bits == 24


def compiled_size(spec: ModelSpec, bits: tuple[int, int], sparsity: float, spike: float | None = None) -> Size:
    """Compile a model with weights of which none is rounded to zero, and read its costs off the program."""
    model = build_classifier(spec, "eager")
    generator = torch.Generator().manual_seed(0)
    parameters = dict(model.named_parameters())
    for tensor in spec.tensors():
        parameter = parameters[tensor.name]
        parameter.data = 0.5 + torch.rand(parameter.shape, generator=generator)
        if sparsity and tensor.sparsity:
            parameter.data *= keep_largest(parameter.data, tensor.nonzeros)
    D = spec.input_size
    graph = raw_graph(model, spec.steps, torch.zeros(D), torch.ones(D))
    x = torch.randn(spec.steps, 50, D, generator=generator)
    how = "error"
    if spike is not None:
        x[0, 0, 0], how = spike, "max"
    program = compile_program(graph, calibrated(graph, x, compress.Widths(*bits, how)), 1e-3)
    return Size(program.flash_bytes, ram_bytes(program), program.macs)


def test_edgemls_formula_counts_eight_bytes_a_nonzero_below_half() -> None:
    half = ModelSpec("fastgrnn", 16, 16, 32, 10, wSparsity=0.5, uSparsity=0.7)
    assert edgeml_bytes(half) == 4 * 512 + 8 * (1024 - 717) + 4 * (64 + 2 + 320 + 10)


def test_a_budget_names_what_exceeds_it() -> None:
    budget = composed("budget.flash_bytes=2000", "budget.ram_bytes=400", "budget.macs=1000").budget
    exceeded = over_budget(model_size(FULL, Widths(8, 16)), budget)
    assert exceeded == ["2276 for budget.flash_bytes=2000", "28736 for budget.macs=1000"]
    exact = composed("budget.flash_bytes=2276", "budget.ram_bytes=212", "budget.macs=28736").budget
    assert over_budget(model_size(FULL, Widths(8, 16)), exact) == []
    assert over_budget(model_size(FULL, FLOAT32), composed().budget) == []


def test_the_firmware_keeps_its_share() -> None:
    size = model_size(FULL, Widths(8, 16))
    assert over_budget(size, composed("budget=uno").budget) == []
    tight = composed("budget=uno", "budget.firmware_ram_bytes=1900").budget
    assert over_budget(size, tight) == [f"{size.ram_bytes} for budget.ram_bytes=2048 less 1900 of the firmware"]
    with pytest.raises(ConfigError, match=r"firmware_ram_bytes must be less than budget\.ram_bytes = 2048, got 2048"):
        composed("budget=uno", "budget.firmware_ram_bytes=2048")
