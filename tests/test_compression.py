"""The compression tasks on finished runs: quantize, prune, profile, test, finetune, in any order and combination."""

import json
import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import edgesearch
from tests.test_main import run

Patch = pytest.MonkeyPatch
Capture = pytest.CaptureFixture[str]
CELLS = {
    "lenet5": ("cell=lenet5", "cell.hidden_size=16", "schedule=dense", "train.lr=0.01"),
    "dscnn": ("cell=dscnn", "cell.channels=6", "cell.num_layers=1", "schedule=dense", "train.lr=0.01"),
    "fastgrnn": ("cell=fastgrnn", "cell.hidden_size=12", "cell.uRank=4"),
}


@pytest.fixture(params=CELLS)
def finished(request: pytest.FixtureRequest, monkeypatch: Patch, capsys: Capture, tmp_path: Path) -> Path:
    """The folder of a short run of each family."""
    options = ("train.epochs=12", "progress=false", f"outputs_dir={tmp_path}")
    code, _, err = run(monkeypatch, capsys, *CELLS[request.param], *options)
    assert code == 0, err
    return next(tmp_path.glob(f"digits/{request.param}/*"))


def test_the_chain_in_any_order(finished: Path, monkeypatch: Patch, capsys: Capture) -> None:
    def task(*arguments: str) -> str:
        code, out, err = run(monkeypatch, capsys, *arguments, f"run={finished}", "progress=false")
        assert code == 0, err
        assert err == ""
        return out

    quantization, pruning = f"quantization={finished}/quantization.yml", f"pruning={finished}/pruning.yml"
    out = task("task=quantize", "quant.error_margin=5")
    assert "chosen" in out
    narrowed = OmegaConf.to_container(OmegaConf.load(finished / "quantization.yml"))
    assert isinstance(narrowed, dict)
    assert narrowed["accuracy"] >= narrowed["reference_accuracy"] - 0.05 - 1e-9
    assert set(narrowed["bits"].values()) <= {2, 4, 8, 16}
    wanted = {"conv", "dense", "activations"} if "grnn" not in str(finished) else {"W", "U", "head", "state", "gates"}
    assert narrowed["groups"].keys() == wanted

    task("task=prune", quantization, "prune.error_margin=5")
    out = task("task=prune", "prune.error_margin=8")
    assert "pruned / total" in out
    pruned = OmegaConf.to_container(OmegaConf.load(finished / "pruning.yml"))
    assert isinstance(pruned, dict)
    assert pruned["accuracy"] >= pruned["accuracy_before"] - 0.08 - 1e-9
    assert pruned["parameters"] < pruned["parameters_before"]
    assert sum(layer["pruned"] for layer in pruned["layers"].values()) > 0

    task("task=quantize", pruning, "quant.error_margin=5")
    out = task("task=profile", quantization, pruning)
    assert all(words in out for words in ("float32", "quantized", "pruned", "quantized, pruned", "by layer"))

    out = task("task=test", quantization, pruning)
    tested = re.search(r"integer +([\d.]+) %", out)
    assert tested is not None
    assert "gcc -O2" in out
    assert "true" in out

    task("task=finetune", quantization, pruning, "finetune.epochs=3")
    (tuned,) = finished.glob("finetune/*")
    record = json.loads((tuned / "record.json").read_text())
    assert 100 * record["before"]["test_accuracy"]["integer"] == pytest.approx(float(tested[1]), abs=0.006)
    assert record["parameters"] == pruned["parameters"]
    program = edgesearch.IntegerProgram.load(tuned / "program.npz")
    assert program.flash_bytes == record["flash_bytes"]
    widths = OmegaConf.to_container(OmegaConf.load(finished / "quantization.yml"))
    assert isinstance(widths, dict)
    assert all(program.format(name).bits == bits for name, bits in widths["bits"].items())
    code, out, err = run(monkeypatch, capsys, "task=test", f"run={tuned}")
    assert code == 0, err
    assert "no difference" in out


def test_the_whole_chain_is_one_command(monkeypatch: Patch, capsys: Capture, tmp_path: Path) -> None:
    options = ("train.epochs=10", "finetune.epochs=2", "progress=false", f"outputs_dir={tmp_path}", *CELLS["lenet5"])
    code, out, err = run(monkeypatch, capsys, "task=compress", *options, "prune.error_margin=5")
    assert code == 0, err
    for words in ("pruned / total", "chosen", "quantized, pruned", "before", "confusion matrix"):
        assert words in out
    code, _, err = run(monkeypatch, capsys, "task=compress", *options, "prune.error_margin=5")
    assert code == 0, err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("task=quantize", "quantization=x.yml"), "leave quantization out"),
        (("task=prune", "pruning=x.yml"), "leave pruning out"),
        (("task=test", "quantization=absent.yml"), "what task=quantize wrote, got no such file"),
        (("task=test", "pruning=README"), "what task=prune wrote, got another file"),
        (("task=test", "pruning=swapped"), "got no kept in it"),
        (("task=finetune", "quantization=foreign"), "is no tensor of the model"),
        (("task=profile", "pruning=foreign_structure"), "run task=prune again"),
        (("task=train", "pruning=foreign_structure"), "take quantization and pruning"),
    ],
)
def test_mistakes_are_one_line(
    arguments: tuple[str, ...], words: str, monkeypatch: Patch, capsys: Capture, tmp_path: Path
) -> None:
    code, _, err = run(monkeypatch, capsys, "train.epochs=1", "progress=false", f"outputs_dir={tmp_path}")
    assert code == 0, err
    finished = next(tmp_path.glob("digits/fastgrnn/*"))
    files = {
        "README": "a: [1\n",
        "swapped": "bits: {l0_W: 8}\n",
        "foreign": "bits: {K1: 8}\n",
        "foreign_structure": "kept: {K1: [0]}\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    given = [
        a if a.split("=")[1] not in files else f"{a.split('=')[0]}={tmp_path / a.split('=')[1]}" for a in arguments
    ]
    named = [] if "task=train" in given else [f"run={finished}"]
    code, _, err = run(monkeypatch, capsys, *given, *named, "progress=false", f"outputs_dir={tmp_path}")
    assert code == 2, err
    assert words in err
    assert len(err.strip().splitlines()) == 1
