"""Sensors of different units in one frame, from data to compiled C: integers keep what floats know, or say so."""

import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

import edgesearch
from edgesearch.data.batches import tensors
from edgesearch.errors import DataError, EdgesearchWarning, ModelFileError
from edgesearch.numerics.program import IntegerProgram
from edgesearch.pipeline.export import export
from edgesearch.pipeline.train import train
from edgesearch.pipeline.variant import load_variant
from edgesearch.report.record import Record
from tests.conftest import composed

T, CHANNELS = 10, 3
Numbers = npt.NDArray[np.float64]
Units = Callable[[Numbers], Numbers]


def signals(rows: int, seed: int) -> tuple[Numbers, npt.NDArray[np.int64]]:
    """Windows of three channels of deviation 1, each of which carries one of a label's three bits."""
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % 2**CHANNELS
    bits = (y[:, None] >> np.arange(CHANNELS)) & 1
    ramp = np.linspace(-1.2, 1.2, T)[None, :, None]
    return (2 * bits[:, None, :] - 1) * ramp + 0.7 * rng.normal(size=(rows, T, CHANNELS)), y


def in_units(offsets: list[float], scales: list[float]) -> Units:
    return lambda s: np.array(offsets) + np.array(scales) * s


def heavy(s: Numbers) -> Numbers:
    """Counts that differ by orders of magnitude."""
    return np.stack([np.round(np.exp(2.0 * s[..., 0] + 5)), s[..., 1], 20 + 5 * s[..., 2]], axis=-1)


def spiked(s: Numbers) -> Numbers:
    """A sensor that says 99999 where it has nothing to say, once in thousands of frames."""
    found = np.array([1013.0, 20.0, 0.0]) + np.array([3.0, 5.0, 1.0]) * s
    flat = found.reshape(-1, CHANNELS)
    flat[::3001, 0] = 99999.0
    return found


SETS: dict[str, Units] = {
    "g, Pa, deg C": in_units([0.0, 101325.0, 20.0], [1.0, 300.0, 5.0]),
    "g, lux, deg C": in_units([0.0, 50000.0, 20.0], [1.0, 20000.0, 5.0]),
    "deg C, %, Pa": in_units([20.0, 50.0, 101325.0], [0.5, 10.0, 40.0]),
    "all times 1e8": in_units([0.0] * 3, [1e8] * 3),
    "all times 1e9": in_units([0.0] * 3, [1e9] * 3),
    "all times 1e-9": in_units([0.0] * 3, [1e-9] * 3),
    "all times 1e36": in_units([0.0] * 3, [1e36] * 3),
    "1e-3, 1, 1e3": in_units([0.0] * 3, [1e-3, 1.0, 1e3]),
    "1e-9, 1, 1e6": in_units([0.0] * 3, [1e-9, 1.0, 1e6]),
    "epoch seconds beside noise": in_units([1.7e9, 0.0, 0.0], [900.0, 1.0, 1.0]),
    "epoch milliseconds, V, A": in_units([1.7e12, 3.3, 0.02], [5e4, 0.1, 0.004]),
    "a 24-bit converter's counts": in_units([8388608.0, 120000.0, -30.0], [700.0, 40000.0, 5.0]),
    "T, rpm, hPa": in_units([4e-5, 3000.0, 1013.25], [6e-6, 800.0, 2.0]),
    "altitude from a barometer": in_units([101325.0, 101300.0, 0.0], [9.0, 9.0, 0.02]),
    "counts over orders of magnitude": heavy,
    "a sentinel among hectopascals": spiked,
}


def trained(folder: Path, units: Units, *overrides: str) -> tuple[Record, list[str]]:
    """Train on signals in these units; return the record and what was warned of."""
    arrays: dict[str, Numbers | npt.NDArray[np.int64]] = {}
    for part, rows in (("train", 400), ("test", 800)):
        s, y = signals(rows, seed=len(part))
        arrays |= {f"x_{part}": units(s), f"y_{part}": y}
    np.savez(folder / "set.npz", **arrays)  # type: ignore[arg-type]
    config = composed(
        "data=npy", f"data.path={folder / 'set.npz'}", f"outputs_dir={folder}", "progress=false", "schedule=dense",
        "cell.hidden_size=10", "train.epochs=15", "train.batch_size=40", *overrides,
    )  # fmt: skip
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", EdgesearchWarning)
        record = train(config)
    return record, [str(w.message) for w in said]


def kept(record: Record, said: list[str]) -> bool:
    """Whether every level of integers is the same, and as good as floats or a channel is named."""
    accuracy = record["test_accuracy"]
    assert accuracy["fake_quant"] == accuracy["integer"] == accuracy["c"]
    return accuracy["integer"] >= accuracy["float"] - 0.01 or any("channel" in words for words in said)


@pytest.mark.parametrize("name", SETS)
def test_integers_and_c_keep_what_floats_know(tmp_path: Path, name: str) -> None:
    record, said = trained(tmp_path, SETS[name])
    assert kept(record, said)
    assert record["test_accuracy"]["float"] > (0.4 if SETS[name] in (heavy, spiked) else 0.85)
    assert any("channel 0 (from 0)" in words for words in said) == (SETS[name] in (heavy, spiked))


MIXED = SETS["epoch milliseconds, V, A"]


@pytest.mark.parametrize(
    "overrides",
    [
        ("quant.activation_bits=8",),
        ("cell=lstm", "train.arithmetic=fixed", "train.lr=0.03"),
        ("cell=lenet5", "cell.channels=4", "cell.hidden_size=16"),
        ("schedule.quantize_from=0.5", "cell=ugrnn"),
        ("data.augment=true", "data.noise=0.1", "cell=gru", "cell.num_layers=2"),
    ],
    ids=" ".join,
)
def test_every_way_to_a_program_keeps_units(tmp_path: Path, overrides: tuple[str, ...]) -> None:
    record, said = trained(tmp_path, MIXED, *overrides)
    assert kept(record, said)
    assert record["test_accuracy"]["float"] > 0.7
    assert "[" in record["formats"]["input"]
    assert said == []


@pytest.mark.parametrize("target", ["c", "secure", "ezpc", "onnx", "edgeml"])
def test_every_export_says_how_values_become_integers(tmp_path: Path, target: str) -> None:
    trained(tmp_path, MIXED, "train.epochs=1")
    (run,) = tmp_path.glob("npy/fastgrnn/*")
    export(composed("task=export", f"run={run}", f"export={target}"))
    program = IntegerProgram.load(run / "program.npz")
    x = np.load(tmp_path / "set.npz")["x_test"][:50].transpose(1, 0, 2)
    expected = program.values["input"].format.integers(x)
    if target == "c":
        assert np.array_equal(quantized(run / "export" / "c", x.reshape(-1, CHANNELS)), expected.reshape(-1, CHANNELS))
    elif target == "secure":
        text = (run / "export" / "secure" / "README.md").read_text()
        line = next(line for line in text.splitlines() if line.strip().startswith("windows ="))
        found: dict[str, Any] = {"numpy": np, "x": x}
        exec(line.strip(), found)  # noqa: S102  (what the README tells people to run)
        assert np.array_equal(found["windows"], expected)
    elif target == "ezpc":
        assert "floor(value * 2^-3 - 212499999893 + 1/2)" in (run / "export" / "ezpc" / "README.md").read_text()


@pytest.mark.parametrize("cell", ["fastgrnn", "lstm", "lenet5"])
@pytest.mark.parametrize("units", ["g, Pa, deg C", "epoch seconds beside noise"])
def test_onnx_and_edgeml_take_raw_frames(tmp_path: Path, cell: str, units: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    cells = {"lenet5": ("cell.channels=4", "cell.hidden_size=16")}
    trained(tmp_path, SETS[units], "train.epochs=3", f"cell={cell}", *cells.get(cell, ()))
    (run,) = tmp_path.glob(f"npy/{cell}/*")
    wide = units.startswith("epoch")
    raw = np.load(tmp_path / "set.npz")["x_test"][:60].astype(np.float64 if wide else np.float32)
    expected = normalised_logits(run)[:60]

    export(composed("task=export", f"run={run}", "export=onnx"))
    session = onnxruntime.InferenceSession(run / "export" / "onnx" / "model.onnx", providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"x": raw.transpose(1, 0, 2)})
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)
    if cell == "lenet5":
        return
    export(composed("task=export", f"run={run}", "export=edgeml"))
    files = run / "export" / "edgeml"
    mean, std = np.load(files / "mean.npy"), np.load(files / "std.npy")
    assert mean.shape == std.shape == (T * CHANNELS,)
    assert mean.dtype == std.dtype == raw.dtype
    model = edgesearch.load_edgeml(files, cell=cell)
    rows = ((raw.reshape(len(raw), -1) - mean) / std).reshape(raw.shape).astype(np.float32)
    with torch.no_grad():
        found = model(torch.from_numpy(rows).transpose(0, 1)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert_quantised_model_takes(raw, model, expected)


def assert_quantised_model_takes(raw: npt.NDArray[Any], model: edgesearch.Classifier, expected: Numbers) -> None:
    quantizer = edgesearch.Quantizer(model, bits=16)
    with torch.no_grad():
        floats = quantizer.model(torch.from_numpy(raw).transpose(0, 1)).numpy()
    np.testing.assert_allclose(floats, expected, rtol=1e-4, atol=1e-4)
    answers = quantizer.program.run(raw.transpose(1, 0, 2).astype(np.float64)).answers
    assert (answers == expected.argmax(axis=1)).mean() > 0.95


def normalised_logits(run: Path) -> Numbers:
    """What the run's float model makes of the test rows, normalised as in training."""
    variant = load_variant(composed("task=test", f"run={run}"))
    with torch.no_grad():
        logits: Numbers = variant.model()(tensors(variant.dataset, variant.dataset.test)[0]).numpy()
    return logits


@pytest.mark.parametrize("target", ["onnx", "edgeml"])
def test_an_export_without_its_data_is_one_line(tmp_path: Path, target: str) -> None:
    trained(tmp_path, MIXED, "train.epochs=1")
    (run,) = tmp_path.glob("npy/fastgrnn/*")
    moved = (tmp_path / "set.npz").rename(tmp_path / "moved.npz")
    with pytest.raises(DataError, match=rf"^export={target} holds [^\n]+set\.npz must exist[^\n]+; set data\.path="):
        export(composed("task=export", f"run={run}", f"export={target}"))
    assert not (run / "export" / target).exists()
    export(composed("task=export", f"run={run}", f"export={target}", f"data.path={moved}"))
    arrays = dict(np.load(moved))
    np.savez(moved, **arrays | {"x_train": arrays["x_train"] + 1})
    with pytest.raises(ModelFileError, match="other content"):
        export(composed("task=export", f"run={run}", f"export={target}", f"data.path={moved}"))


def quantized(folder: Path, frames: Numbers) -> npt.NDArray[np.int64]:
    """What the C folder's model_quantize makes of frames (N, D)."""
    source = folder.parent / "quantize.c"
    source.write_text(
        '#include <stdio.h>\n#include "c/model.h"\nint main(void) { double v; int d = 0;\n'
        'while (scanf("%lf", &v) == 1) { printf("%ld\\n", (long)model_quantize(d, v)); d = (d + 1) % MODEL_INPUTS; }\n'
        "return 0; }\n"
    )
    program = str(source.with_suffix(""))
    command = ["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", str(source), "-o", program]
    subprocess.run(command, check=True)
    text = "\n".join(repr(float(v)) for v in frames.reshape(-1))
    done = subprocess.run([program], input=text, capture_output=True, text=True, check=True)
    return np.array(done.stdout.split(), np.int64).reshape(frames.shape)


@pytest.mark.parametrize("target", ["c", "edgeml", "onnx"])
@pytest.mark.parametrize("linked", ["export", "export/TARGET"])
def test_an_export_does_not_leave_its_run_through_a_link(tmp_path: Path, target: str, linked: str) -> None:
    trained(tmp_path, MIXED, "train.epochs=1")
    (run,) = tmp_path.glob("npy/fastgrnn/*")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "U2.npy").write_text("mine")
    (run / "export").rename(tmp_path / "export")
    link = run / linked.replace("TARGET", target)
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(elsewhere)
    with pytest.raises(ModelFileError, match=f"{link} must be a folder [^\n]+, got a link; delete it$"):
        export(composed("task=export", f"run={run}", f"export={target}"))
    assert [path.name for path in elsewhere.iterdir()] == ["U2.npy"]
