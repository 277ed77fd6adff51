"""EdgeML folders: forward and gradients against the written-down equations, round trips, damaged files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import edgesearch
from edgesearch.cells.classifier import build_classifier
from edgesearch.cells.spec import ModelSpec
from edgesearch.errors import ConfigError, EdgesearchWarning, ModelFileError
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


def trained(cell: str, ranks: tuple[int | None, int | None], dtype: torch.dtype = torch.float32) -> Any:
    """A classifier with weights of every size up to about 3."""
    gate = None if cell == "fastrnn" else "sigmoid"
    spec = ModelSpec(cell, T, D, H, C, wRank=ranks[0], uRank=ranks[1], gate_nonlinearity=gate)
    model = build_classifier(spec).to(dtype)
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator, dtype=dtype))
    return model


def quantised_by_the_rules(folder: Path, m: int, scalar_scale: int) -> dict[str, np.ndarray]:
    """The reference project's byte files of a folder of float files, number by number.

    A matrix or bias is W*, U* or B*, the head FC*, and what else is no mean or std a scalar. Weights times the scale
    (m + 1/2) / limit are rounded, halves to even; the scale of matrices and biases is rounded too. Beyond m is m,
    below -m is -(m + 1).
    """
    floats = {path.stem: np.load(path) for path in folder.glob("*.npy") if path.stem not in ("mean", "std")}
    assert {array.dtype for array in floats.values()} == {np.dtype(np.float32)}
    kind = "int8" if m <= 127 else "int16" if m <= 32767 else "int32"
    limits = {"weights": np.float32(0), "head": np.float32(0)}
    for name, array in floats.items():
        if name[0] in "WUB" or name.startswith("FC"):
            group = "weights" if name[0] in "WUB" else "head"
            limits[group] = max(limits[group], *(abs(value) for value in array.flat))
    scales = {group: np.float32(2 * m + 1) / (np.float32(2) * limit) for group, limit in limits.items()}
    scales["weights"] = np.rint(scales["weights"])
    files = {
        "paramScaleFactor": np.array(int(scales["weights"]), "int32"),
        "classifierScaleFactor": np.array(scales["head"], "float32"),
        "scalarScaleFactor": np.array(scalar_scale),
    }
    for name, array in floats.items():
        if name[0] in "WUB" or name.startswith("FC"):
            scale = scales["weights" if name[0] in "WUB" else "head"]
            integers = [int(np.rint(np.float32(scale * value))) for value in array.flat]
            held = [m if q > m else -(m + 1) if q < -m else q for q in integers]
            files[f"q{name}"] = np.array(held, kind).reshape(array.shape)
        else:
            squashed = np.float32(1) / (np.float32(1) + np.exp(-array))
            files[f"q{name}"] = np.rint(np.float32(scalar_scale) * squashed).astype("int32")
    return files


def assert_bytes_follow_the_rules(model: Any, folder: Path, m: int, scalar_scale: int) -> dict[str, np.ndarray]:
    mean = np.full(T * D, 7.0)
    edgesearch.save_edgeml(model, folder, mean, mean)
    edgesearch.save_edgeml_bytes(model, folder / "QuantizedFastModel", m, scalar_scale)
    saved = {path.stem: np.load(path) for path in (folder / "QuantizedFastModel").glob("*.npy")}
    expected = quantised_by_the_rules(folder, m, scalar_scale)
    assert saved.keys() == expected.keys()
    for name, array in expected.items():
        assert (saved[name].dtype, saved[name].shape) == (array.dtype, array.shape), name
        np.testing.assert_array_equal(saved[name], array, err_msg=name)
    return saved


@pytest.mark.parametrize(("m", "scalar_scale"), [(127, 1000), (32767, 10000), (65535, 1), (100, 2**20)])
@pytest.mark.parametrize("ranks", RANKS, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_bytes_are_the_references(
    tmp_path: Path, cell: str, ranks: tuple[int | None, int | None], m: int, scalar_scale: int
) -> None:
    for dtype in (torch.float32, torch.float64):
        assert_bytes_follow_the_rules(trained(cell, ranks, dtype), tmp_path, m, scalar_scale)


@pytest.mark.parametrize("m", [127, 32767, 65535])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("cell", CELLS)
def test_the_largest_weight_keeps_its_sign(tmp_path: Path, cell: str, sign: float, m: int) -> None:
    model = trained(cell, (None, None))
    for parameter in model.parameters():
        parameter.data.clamp_(-0.5, 0.5)
    # of the limit 0.5079 the rounded scale is 251, which makes 127.48 of it; of 0.996 it is 128, and 127.49 goes beyond
    for limit in (0.5, 0.996, 1.0, 1.003):
        model.get_parameter("rnn.cells.0.W").data[2, 1] = sign * limit
        model.FC.data[1, 2] = sign * limit
        saved = assert_bytes_follow_the_rules(model, tmp_path, m, 1000)
        name = "qW" if cell in ("fastrnn", "fastgrnn") else "qW1"
        extremes = [int(saved[name][2, 1]), int(saved["qFC"][1, 2])]
        assert {int(np.sign(extreme)) for extreme in extremes} == {int(sign)}
        assert all(-(m + 1) <= extreme <= m for extreme in extremes)


def test_another_models_bytes_are_removed(tmp_path: Path) -> None:
    edgesearch.save_edgeml_bytes(trained("lstm", (2, 3)), tmp_path)
    edgesearch.save_edgeml_bytes(trained("fastrnn", (None, None)), tmp_path)
    names = {"W", "U", "B", "alpha", "beta", "FC", "FCbias"}
    scales = {f"{name}ScaleFactor" for name in ("param", "classifier", "scalar")}
    assert {path.stem for path in tmp_path.iterdir()} == {f"q{name}" for name in names} | scales


def test_bytes_that_cannot_be_are_one_line(tmp_path: Path) -> None:
    model = trained("fastgrnn", (None, None))
    model.rnn.cells[0].zeta.data.fill_(99.0)  # (2^31 - 1 times its sigmoid is 2^31 in 32-bit floats)
    for options in ({"largest": 0}, {"scalar_scale": 0}, {"scalar_scale": 2**31 - 1}):
        with pytest.raises(ConfigError, match=rf"^{next(iter(options))} must [^\n]+; (set|leave) export\.[^\n]+$"):
            edgesearch.save_edgeml_bytes(model, tmp_path, **options)
    model.rnn.cells[0].W.data[0, 0] = 1e3
    with pytest.warns(EdgesearchWarning, match="beyond 255 have a scale of 0"):
        assert_bytes_follow_the_rules(model, tmp_path, 127, 1000)
    model.rnn.cells[0].W.data[0, 0] = 1.0
    model.FC.data.zero_()
    model.FCbias.data.zero_()
    with pytest.raises(ModelFileError, match="FC, FCbias must not all be zero"):
        edgesearch.save_edgeml_bytes(model, tmp_path)


@pytest.mark.parametrize(
    ("mean", "std", "kind"),
    [(0.3, 1.7, np.float32), (101325.0, 1e4, np.float32), (1.7e9, 900.0, np.float64), (0.1, 1e-50, np.float64),
     (1e3, 1.0 / 3, np.float64), (0.5, 0.0, np.float32)],
)  # fmt: skip
def test_mean_and_std_are_as_wide_as_they_need(tmp_path: Path, mean: float, std: float, kind: Any) -> None:
    means, stds = mean + 0.1 * std * np.arange(T * D), np.full(T * D, std)
    edgesearch.save_edgeml(trained("gru", (2, 2)), tmp_path, means, stds)
    again = edgesearch.load_edgeml(tmp_path, cell="gru")
    assert again.input_mean is not None
    assert again.input_std is not None
    assert again.input_mean.numpy().dtype == again.input_std.numpy().dtype == kind
    np.testing.assert_allclose(again.input_mean.numpy(), means, rtol=0, atol=1e-6 * std)
    assert again.FC.dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("U", (20000, 0)),
        ("U", (H, H + 1)),
        ("W", (10**7, 0)),
        ("W", (D,)),
        ("FC", (0, 0)),
        ("FC", (H, C + 1)),
        ("FCbias", (1_000_000,)),
        ("FCbias", ()),
        ("Bg", (1, H + 1)),
    ],
    ids=str,
)
def test_shapes_that_disagree_build_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, shape: tuple[int, ...]
) -> None:
    write(tmp_path, random_weights("fastgrnn", D, H, C, None, None))
    np.save(tmp_path / f"{name}.npy", np.zeros(shape))
    monkeypatch.setattr("edgesearch.cells.edgeml.Classifier", lambda *given: pytest.fail("built"))
    with pytest.raises(ModelFileError, match=r"^[^\n]+$"):
        edgesearch.load_edgeml(tmp_path, cell="fastgrnn")


@pytest.mark.parametrize("name", ["FC", "W", "mean"])
def test_floats_that_torch_has_not_are_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path, random_weights("fastgrnn", D, H, C, None, None))
    np.save(tmp_path / "mean.npy", np.zeros(T * D))
    np.save(tmp_path / "std.npy", np.ones(T * D))
    assert edgesearch.load_edgeml(tmp_path, cell="fastgrnn").input_mean is not None
    np.save(tmp_path / f"{name}.npy", np.load(tmp_path / f"{name}.npy").astype(np.longdouble))
    with pytest.raises(ModelFileError, match=f"{name}.npy must hold finite floats of 16 to 64 bits"):
        edgesearch.load_edgeml(tmp_path, cell="fastgrnn")
