"""EdgeML folders: forward and gradients against the written-down equations, round trips, damaged files."""

from pathlib import Path

import numpy as np
import pytest
import torch

import edgesearch
from edgesearch.cells.classifier import build_classifier
from edgesearch.cells.spec import ModelSpec
from edgesearch.errors import ModelFileError
from tests.cells.reference import FUNCTIONS, Weights, logits, random_weights

CELLS = ("fastrnn", "fastgrnn", "ugrnn", "gru", "lstm")
RANKS = ((None, None), (2, None), (None, 3), (2, 3))
T, B, D, H, C = 6, 3, 5, 7, 4


def write(folder: Path, weights: Weights) -> None:
    for name, value in weights.items():
        np.save(folder / f"{name}.npy", value.detach().numpy())


def sequences() -> torch.Tensor:
    return torch.randn(T, B, D, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


@pytest.mark.parametrize("ranks", RANKS, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_forward_and_gradients_equal_the_equations(
    tmp_path: Path, cell: str, ranks: tuple[int | None, int | None]
) -> None:
    weights = random_weights(cell, D, H, C, *ranks)
    write(tmp_path, weights)
    model = edgesearch.load_edgeml(tmp_path, cell=cell)
    x = sequences().requires_grad_()
    torch.testing.assert_close(model(x), logits(cell, weights, x), rtol=1e-12, atol=1e-12)

    model(x).square().sum().backward()
    ours = x.grad
    assert ours is not None
    for value in weights.values():
        value.requires_grad_()
    x2 = sequences().requires_grad_()
    logits(cell, weights, x2).square().sum().backward()
    assert x2.grad is not None
    torch.testing.assert_close(ours, x2.grad, rtol=1e-10, atol=1e-10)

    with torch.no_grad():
        for p in model.parameters():
            assert p.grad is not None
            p.copy_(p.grad)
    edgesearch.save_edgeml(model, tmp_path / "gradients")
    for name, value in weights.items():
        saved = torch.from_numpy(np.load(tmp_path / "gradients" / f"{name}.npy"))
        assert value.grad is not None
        torch.testing.assert_close(saved, value.grad.float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("gate", ["sigmoid", "quantSigm", "quantSigm4", "relu"])
@pytest.mark.parametrize("update", sorted(FUNCTIONS))
def test_every_nonlinearity(tmp_path: Path, gate: str, update: str) -> None:
    weights = random_weights("fastgrnn", D, H, C, None, None)
    write(tmp_path, weights)
    model = edgesearch.load_edgeml(tmp_path, cell="fastgrnn", gate_nonlinearity=gate, update_nonlinearity=update)
    x = sequences()
    torch.testing.assert_close(model(x), logits("fastgrnn", weights, x, gate, update), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("ranks", RANKS, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_a_saved_model_is_the_same_model(tmp_path: Path, cell: str, ranks: tuple[int | None, int | None]) -> None:
    gate = None if cell == "fastrnn" else "sigmoid"
    spec = ModelSpec(cell, T, D, H, C, wRank=ranks[0], uRank=ranks[1], gate_nonlinearity=gate)
    model = build_classifier(spec)
    mean, std = np.arange(T * D, dtype=np.float32), np.ones(T * D, dtype=np.float32)
    edgesearch.save_edgeml(model, tmp_path, mean, std)
    again = edgesearch.load_edgeml(tmp_path, cell=cell)
    for (name, ours), (_, theirs) in zip(model.named_parameters(), again.named_parameters(), strict=True):
        assert torch.equal(ours, theirs), name
    assert again.input_mean is not None
    assert torch.equal(again.input_mean, torch.from_numpy(mean))
    assert np.load(tmp_path / "FCbias.npy").shape == (1, C)
    assert not list(tmp_path.glob("*.partial")) + list(tmp_path.glob(".*"))


def test_a_folder_holds_one_model(tmp_path: Path) -> None:
    full = edgesearch.Classifier(edgesearch.FastGRNN(D, H), C)
    low = edgesearch.Classifier(edgesearch.FastGRNN(D, H, wRank=2, uRank=3), C)
    for first, second in ((full, low), (low, full)):
        edgesearch.save_edgeml(first, tmp_path, np.zeros(T * D), np.ones(T * D))
        edgesearch.save_edgeml(second, tmp_path)
        again = edgesearch.load_edgeml(tmp_path, cell="fastgrnn")
        assert again.input_mean is None
        assert torch.equal(again(sequences().float()), second(sequences().float()))
    np.save(tmp_path / "W1.npy", np.zeros((D, 2), dtype=np.float32))
    with pytest.raises(ModelFileError, match="got both"):
        edgesearch.load_edgeml(tmp_path, cell="fastgrnn")
    with pytest.raises(ValueError, match="belong together"):
        edgesearch.save_edgeml(full, tmp_path, mean=np.zeros(T * D))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("W", np.float32(1)),
        ("W", np.zeros(D, np.float32)),
        ("zeta", np.zeros(2, np.float32)),
        ("FC", np.zeros((H + 1, C))),
    ],
)
def test_files_of_another_shape_are_an_error(tmp_path: Path, name: str, value: np.ndarray) -> None:
    write(tmp_path, random_weights("fastgrnn", D, H, C, None, None))
    np.save(tmp_path / f"{name}.npy", value)
    with pytest.raises(ModelFileError):
        edgesearch.load_edgeml(tmp_path, cell="fastgrnn")


def test_big_endian_files_load(tmp_path: Path) -> None:
    weights = random_weights("lstm", D, H, C, 2, None)
    for name, value in weights.items():
        np.save(tmp_path / f"{name}.npy", value.numpy().astype(">f8"))
    x = sequences()
    torch.testing.assert_close(edgesearch.load_edgeml(tmp_path, cell="lstm")(x), logits("lstm", weights, x))


def test_damaged_folders_are_clear_errors(tmp_path: Path) -> None:
    weights = random_weights("fastgrnn", D, H, C, None, None)
    with pytest.raises(ModelFileError, match=r"got none in .*check cell and folder"):
        edgesearch.load_edgeml(tmp_path, cell="fastgrnn")
    with pytest.raises(ModelFileError, match="cell must be one of"):
        edgesearch.load_edgeml(tmp_path, cell="elman")
    write(tmp_path, weights | {"Bh": torch.zeros(1, H + 1)})
    with pytest.raises(ModelFileError, match="do not fit together"):
        edgesearch.load_edgeml(tmp_path, cell="fastgrnn")
    write(tmp_path, weights | {"zeta": torch.full((1, 1), torch.nan)})
    with pytest.raises(ModelFileError, match="finite floats"):
        edgesearch.load_edgeml(tmp_path, cell="fastgrnn")
    np.save(tmp_path / "zeta.npy", np.array([[object()]]), allow_pickle=True)
    with pytest.raises(ModelFileError, match="without pickle"):
        edgesearch.load_edgeml(tmp_path, cell="fastgrnn")
    (tmp_path / "zeta.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(ModelFileError, match=r"zeta\.npy"):
        edgesearch.load_edgeml(tmp_path, cell="fastgrnn")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (edgesearch.FastGRNN(D, H, num_layers=2), "one layer"),
        (edgesearch.FastGRNN(D, H, bidirectional=True), "one layer"),
        (edgesearch.GRU(D, H), "reset_after"),
    ],
)
def test_what_the_format_cannot_hold_is_refused(tmp_path: Path, model: edgesearch.FastGRNN, words: str) -> None:
    with pytest.raises(ModelFileError, match=words):
        edgesearch.save_edgeml(edgesearch.Classifier(model, C), tmp_path / "out")
    assert not (tmp_path / "out").exists()
