"""ONNX files run by onnxruntime against the eager classifier."""

from pathlib import Path
from typing import Any

import pytest
import torch

from edgesearch.cells.cell import CELLS
from edgesearch.cells.classifier import Classifier
from edgesearch.cells.rnn import RNNS
from edgesearch.config.schema import NONLINEARITIES
from edgesearch.export.onnx import export_onnx

onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")

VARIANTS: list[tuple[str, dict[str, Any]]] = [*((name, {}) for name in CELLS), ("gru", {"reset_after": False})]


def check(model: Classifier, folder: Path, D: int, operators: set[str]) -> None:
    import onnx

    export_onnx(model, folder / "model.onnx")
    found = {node.op_type for node in onnx.load(folder / "model.onnx").graph.node}
    assert operators <= found
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    for T, B in ((1, 1), (7, 3)):
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
