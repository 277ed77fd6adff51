"""ONNX files run by onnxruntime against the eager classifier."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgesearch.cells.cell import CELLS
from edgesearch.cells.classifier import AnyClassifier, Classifier
from edgesearch.cells.conv import ConvClassifier, ConvSpec
from edgesearch.cells.rnn import RNNS
from edgesearch.config.schema import NONLINEARITIES
from edgesearch.export.onnx import export_onnx
from edgesearch.export.onnx_input import Scaling

onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")

VARIANTS: list[tuple[str, dict[str, Any]]] = [*((name, {}) for name in CELLS), ("gru", {"reset_after": False})]


def check(model: AnyClassifier, folder: Path, D: int, operators: set[str], steps: tuple[int, int] = (1, 7)) -> None:
    import onnx

    export_onnx(model, folder / "model.onnx")
    found = {node.op_type for node in onnx.load(folder / "model.onnx").graph.node}
    assert operators <= found
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    for T, B in zip(steps, (1, 3), strict=True):
        x = torch.randn(T, B, D)
        (logits,) = session.run(None, {"x": x.numpy()})
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(logits), model(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sizes", [{}, {"wRank": 2, "uRank": 3}, {"num_layers": 2, "bidirectional": True}], ids=str)
@pytest.mark.parametrize(
    ("name", "options"), VARIANTS, ids=lambda v: v if isinstance(v, str) else "-".join(v) or "plain"
)
def test_every_cell(name: str, options: dict[str, Any], sizes: dict[str, Any], tmp_path: Path) -> None:
    native = name == "lstm" or (name == "gru" and not options)
    model = Classifier(RNNS[name](4, 5, backend="eager", **sizes, **options), 3)
    check(model, tmp_path, 4, {name.upper()} if native else {"Scan"})


@pytest.mark.parametrize("name", NONLINEARITIES)
def test_every_nonlinearity(name: str, tmp_path: Path) -> None:
    rnn = RNNS["lstm"](4, 5, backend="eager", gate_nonlinearity=name, update_nonlinearity=name)
    check(Classifier(rnn, 3), tmp_path, 4, {"Scan"})


@pytest.mark.parametrize(("T", "D"), [(8, 8), (13, 5), (3, 1)])
@pytest.mark.parametrize("cell", ["lenet5", "dscnn"])
def test_convolutional_networks(cell: str, T: int, D: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = ConvClassifier(ConvSpec(cell, T, D, 3, channels=4, hidden_size=6, blocks=2))
    for _ in range(3):  # (moves the means and variances that are folded)
        model(2 * torch.randn(T, 20, D) + 1)
    check(model.eval(), tmp_path, D, {"Conv", "Gemm", "Relu"}, steps=(T, T))


UNITS: dict[str, tuple[list[float], list[float], Any]] = {
    "Pa, deg C, g, V": ([101325.0, 20.0, 0.0, 3.3], [300.0, 5.0, 1e-3, 0.1], np.float32),
    "epoch seconds": ([1.7e9, 20.0, 0.0, -4e-5], [900.0, 5.0, 1e3, 6e-6], np.float64),
}


def check_raw(model: AnyClassifier, folder: Path, T: int, units: str) -> None:
    """Raw frames in, the logits of frames that were normalised outside out."""
    mean, std, kind = (np.asarray(values) if isinstance(values, list) else values for values in UNITS[units])
    raw = (mean + std * np.random.default_rng(0).normal(size=(T, 6, len(mean)))).astype(kind)
    export_onnx(model, folder / "model.onnx", Scaling(mean.astype(kind), std.astype(kind)))
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].type == ("tensor(double)" if kind is np.float64 else "tensor(float)")
    (logits,) = session.run(None, {"x": raw})
    normalised = ((raw.astype(np.float64) - mean.astype(kind)) / std.astype(kind)).astype(np.float32)
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(logits), model(torch.from_numpy(normalised)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize(
    ("name", "options"), VARIANTS, ids=lambda v: v if isinstance(v, str) else "-".join(v) or "plain"
)
def test_recurrent_models_take_raw_frames(name: str, options: dict[str, Any], units: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    check_raw(Classifier(RNNS[name](4, 5, backend="eager", **options), 3), tmp_path, 7, units)
    check_raw(Classifier(RNNS[name](4, 5, num_layers=2, bidirectional=True, **options), 3), tmp_path, 2, units)


@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("cell", ["lenet5", "dscnn"])
def test_convolutional_networks_take_raw_frames(cell: str, units: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = ConvClassifier(ConvSpec(cell, 9, 4, 3, channels=4, hidden_size=6, blocks=2))
    for _ in range(3):  # (moves the means and variances that are folded)
        model(2 * torch.randn(9, 20, 4) + 1)
    check_raw(model.eval(), tmp_path, 9, units)
