"""Flash, RAM and MACs against sums written out by hand and against matrices really packed."""

import itertools

import numpy as np
import pytest

from edgesearch.budget import FLOAT32, Widths, edgeml_bytes, matrix_bytes, model_size, over_budget
from edgesearch.budget.size import macs
from edgesearch.cells.spec import ModelSpec, TensorSpec
from tests.conftest import composed

FULL = ModelSpec("fastgrnn", steps=16, input_size=16, hidden_size=32, classes=10)


def test_full_rank_fastgrnn_by_hand() -> None:
    assert FULL.parameters == 16 * 32 + 32 * 32 + 2 * 32 + 2 + 32 * 10 + 10 == 1932
    assert model_size(FULL, FLOAT32).flash_bytes == 4 * 1932
    assert model_size(FULL, Widths(8, 16)).flash_bytes == (512 + 1024 + 320) + 2 * (64 + 2 + 10)
    assert model_size(FULL, Widths(4, 8)).flash_bytes == (512 + 1024 + 320) // 2 + 64 + 2 + 10
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
    assert model_size(spec, Widths(8, 16)).ram_bytes == 2 * values


def packed_sizes(matrix: np.ndarray, bits: int) -> dict[str, int]:
    """Really lay out a matrix in the three encodings and count the bytes."""
    rows, columns = matrix.shape
    nonzero = matrix != 0
    flags = np.packbits(nonzero.reshape(-1)).size
    values = np.packbits(np.ones((int(nonzero.sum()), bits), dtype=np.uint8).reshape(-1)).size
    counts = np.asarray(nonzero.sum(axis=1), dtype=np.uint8 if columns < 256 else np.uint16).nbytes
    indices = np.asarray(np.nonzero(nonzero)[1], dtype=np.uint8 if columns <= 256 else np.uint16).nbytes
    dense = np.packbits(np.ones((rows * columns, bits), dtype=np.uint8).reshape(-1)).size
    return {"dense": dense, "bitmap": flags + values, "index": counts + indices + values}


@pytest.mark.parametrize("shape", [(1, 1), (7, 33), (100, 255), (9, 256), (5, 300)], ids=str)
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.7, 0.95])
@pytest.mark.parametrize("bits", [2, 4, 8, 16, 32])
def test_the_cheapest_encoding_is_priced_as_packed(shape: tuple[int, int], sparsity: float, bits: int) -> None:
    tensor = TensorSpec("W", shape, "matrix", sparsity)
    rng = np.random.default_rng(0)
    matrix = np.zeros(tensor.size)
    matrix[rng.permutation(tensor.size)[: tensor.nonzeros]] = 1
    sizes = packed_sizes(matrix.reshape(shape), bits)
    cost, encoding = matrix_bytes(tensor, bits)
    assert cost == min(sizes.values()) == sizes[encoding]


def test_every_encoding_is_the_cheapest_somewhere() -> None:
    found = {
        matrix_bytes(TensorSpec("W", (32, 32), "matrix", sparsity), bits)[1]
        for sparsity, bits in itertools.product((0.0, 0.5, 0.95), (4, 8, 32))
    }
    assert found == {"dense", "bitmap", "index"}


def test_edgemls_formula_counts_eight_bytes_a_nonzero_below_half() -> None:
    half = ModelSpec("fastgrnn", 16, 16, 32, 10, wSparsity=0.5, uSparsity=0.7)
    assert edgeml_bytes(half) == 4 * 512 + 8 * (1024 - 717) + 4 * (64 + 2 + 320 + 10)


def test_a_budget_names_what_exceeds_it() -> None:
    budget = composed("budget.flash_bytes=2000", "budget.ram_bytes=400", "budget.macs=1000").budget
    exceeded = over_budget(model_size(FULL, Widths(8, 16)), budget)
    assert exceeded == ["2008 for budget.flash_bytes=2000", "26432 for budget.macs=1000"]
    exact = composed("budget.flash_bytes=2008", "budget.ram_bytes=180", "budget.macs=26432").budget
    assert over_budget(model_size(FULL, Widths(8, 16)), exact) == []
    assert over_budget(model_size(FULL, FLOAT32), composed().budget) == []
