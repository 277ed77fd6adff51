"""What version 0.1 left behind goes on: its runs, studies, programs and ranges, kept as fixtures."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import edgesearch
from edgesearch.cells.classifier import Classifier
from edgesearch.config import config_hash, load_config
from edgesearch.data import source_digest
from tests.conftest import composed
from tests.test_main import run

Patch = pytest.MonkeyPatch
Capture = pytest.CaptureFixture[str]

FIXTURES = Path(__file__).parent / "fixtures" / "v0_1"
RUNS = sorted(path.parent.relative_to(FIXTURES) for path in FIXTURES.glob("outputs/*/*/*/record.json"))
PROGRAMS = sorted(
    path.parent.relative_to(FIXTURES) for path in FIXTURES.glob("outputs/search/*/programs/*/record.json")
)
TUNED = sorted(path.parent.relative_to(FIXTURES) for path in FIXTURES.glob("outputs/*/*/*/finetune/*/record.json"))
SPACE = (
    "search.space.train=null", "search.space.schedule=null", "search.space.cell.wRank='choice(4)'",
    "search.space.cell.uRank='choice(4)'",
)  # fmt: skip


@pytest.fixture
def there(tmp_path: Path, monkeypatch: Patch) -> Path:
    """A copy of what 0.1 left, as the working folder."""
    shutil.copytree(FIXTURES, tmp_path / "v0_1")
    monkeypatch.chdir(tmp_path / "v0_1")
    return tmp_path / "v0_1"


def test_there_are_runs_of_every_kind() -> None:
    assert {str(path.parent) for path in RUNS} >= {
        f"outputs/digits/{cell}" for cell in ("fastgrnn", "gru", "lstm", "lenet5")
    } | {"outputs/npy/fastgrnn"}
    assert len(PROGRAMS) >= 8
    assert len(TUNED) == 1


@pytest.mark.parametrize("path", RUNS, ids=str)
def test_a_run_keeps_its_hash(there: Path, path: Path) -> None:
    config = load_config(path / "config.yaml")
    assert config_hash(config, source_digest(config.data)) == path.name


def test_a_new_key_that_is_turned_is_another_run() -> None:
    assert config_hash(composed("train.metric=macro_f1")) != config_hash(composed())
    assert config_hash(composed("train.metric=accuracy")) == config_hash(composed())


@pytest.mark.parametrize("path", [*RUNS, *PROGRAMS[:2], *TUNED], ids=str)
@pytest.mark.parametrize("task", ["test", "show", "profile"])
def test_a_run_is_read(there: Path, monkeypatch: Patch, capsys: Capture, path: Path, task: str) -> None:
    recorded = json.loads((path / "record.json").read_text())["test_accuracy"]["integer"]
    code, out, err = run(monkeypatch, capsys, f"task={task}", f"run={path}")
    assert code == 0, err
    if task == "test":
        assert f"{100 * recorded:.2f} %" in out
        assert "no difference" in out


@pytest.mark.parametrize("path", RUNS, ids=str)
@pytest.mark.parametrize("target", ["c", "onnx", "edgeml", "secure", "ezpc"])
def test_a_run_is_exported(there: Path, monkeypatch: Patch, capsys: Capture, path: Path, target: str) -> None:
    if target == "onnx":
        pytest.importorskip("onnx")
    code, _, err = run(monkeypatch, capsys, "task=export", f"run={path}", f"export={target}")
    refused = target == "edgeml" and path.parent.name in ("gru", "lenet5")
    assert code == (2 if refused else 0), err
    assert refused or any((path / "export" / target).iterdir())


@pytest.mark.parametrize("path", RUNS, ids=str)
def test_a_run_is_compressed(there: Path, monkeypatch: Patch, capsys: Capture, path: Path) -> None:
    for arguments in (("task=quantize",), ("task=prune",), ("task=finetune", "finetune.epochs=1")):
        code, _, err = run(monkeypatch, capsys, *arguments, f"run={path}", "progress=false")
        assert code == 0, err
    files = (f"quantization={path / 'quantization.yml'}", f"pruning={path / 'pruning.yml'}")
    code, _, err = run(monkeypatch, capsys, "task=profile", f"run={path}", *files)
    assert code == 0, err


def test_the_files_that_0_1_made_of_a_run_are_taken(there: Path, monkeypatch: Patch, capsys: Capture) -> None:
    (path,) = (path for path in RUNS if path.parts[1:3] == ("digits", "fastgrnn"))
    files = (f"quantization={path / 'quantization.yml'}", f"pruning={path / 'pruning.yml'}")
    for task in ("test", "profile", "finetune"):
        code, _, err = run(
            monkeypatch, capsys, f"task={task}", f"run={path}", *files, "finetune.epochs=1", "progress=false"
        )
        assert code == 0, err


@pytest.mark.parametrize("cell", ["fastgrnn", "lstm"])
def test_the_same_command_finds_a_run_and_goes_on_with_an_interrupted_one(
    there: Path, monkeypatch: Patch, capsys: Capture, cell: str
) -> None:
    (path,) = (path for path in RUNS if path.parts[1:3] == ("digits", cell))
    stored = load_config(path / "config.yaml")
    command = [
        f"cell={cell}", f"cell.hidden_size={stored.cell.hidden_size}", f"train.epochs={stored.train.epochs}",
        f"cell.wRank={stored.cell.wRank or 'null'}", f"train.arithmetic={stored.train.arithmetic}",
        f"schedule={stored.schedule.name}", f"train.lr={stored.train.lr}", f"data.augment={stored.data.augment}",
        f"data.noise={stored.data.noise}", f"data.shift_steps={stored.data.shift_steps}", "progress=false",
        f"data.shift_features={stored.data.shift_features}", f"schedule.sparsity={stored.schedule.sparsity}",
    ]  # fmt: skip
    code, out, err = run(monkeypatch, capsys, *command)
    assert (code, err) == (0, "")
    assert "finished before, nothing to train" in out
    before = json.loads((path / "record.json").read_text())
    (path / "record.json").unlink()
    code, out, err = run(monkeypatch, capsys, *command)
    assert code == 0, err
    after = json.loads((path / "record.json").read_text())
    assert after["resumed_at"] == stored.train.epochs
    assert after["test_accuracy"]["float"] == before["test_accuracy"]["float"]


def test_a_study_goes_on_reports_and_exports(there: Path, monkeypatch: Patch, capsys: Capture) -> None:
    name = "digits-fastgrnn-none"
    before = json.loads((there / "outputs" / "search" / name / "study.json").read_text())
    command = [
        "task=search", "cell.hidden_size=8", "train.epochs=3", *SPACE, "data.augment=false", "data.noise=0",
        "data.shift_steps=1", "data.shift_features=1",
        "search.space.cell.hidden_size='choice(4,6,8)'", "search.n_trials=5", "search.finetune=1", "finetune.epochs=2",
        "search.weight_bits=[4,8]", "budget.flash_bytes=1024", "search.pruner=median", "search.workers=1",
        "schedule.sparsity=0.5", "progress=false",
    ]  # fmt: skip
    code, _, err = run(monkeypatch, capsys, *command)
    assert code == 0, err
    after = json.loads((there / "outputs" / "search" / name / "study.json").read_text())
    assert (before["trained"], after["trained"] + after["pruned"]) == (4, 5)
    assert "another processor" not in err
    code, _, err = run(monkeypatch, capsys, "task=report", f"study={name}")
    assert (code, err) == (0, "")
    assert (there / "outputs" / "search" / name / "report.html").is_file()
    for pick in ("best", "400"):
        code, _, err = run(monkeypatch, capsys, "task=export", f"study={name}", f"pick={pick}")
        assert (code, err) == (0, "")


def test_a_study_of_0_1_that_nobody_went_on_with_is_exported(there: Path, monkeypatch: Patch, capsys: Capture) -> None:
    for arguments in (("task=report",), ("task=export", "pick=best"), ("task=export", "export=edgeml")):
        code, _, err = run(monkeypatch, capsys, *arguments, "study=tiny")
        assert (code, err) == (0, "")


def test_a_program_and_ranges_are_read(there: Path) -> None:
    x = np.load("data.npz")["x_test"].transpose(1, 0, 2)
    expected = np.load("quantizer/logits.npy")
    assert np.array_equal(edgesearch.IntegerProgram.load("quantizer/program.npz").run(x).logits, expected)
    model = Classifier(edgesearch.FastGRNN(3, 4), 2)
    model.load_state_dict(torch.load("quantizer/weights.pt", weights_only=True))
    quantizer = edgesearch.Quantizer(model, bits=8, mode="test", load="quantizer")
    assert np.array_equal(quantizer.program.run(x).logits, expected)


DAMAGED = (
    "{", "[]", "null", '"finished"', '{"status": "finished"}', '{"status": ["finished"]}', "[" * 100_000,
    '{"status": NaN}',
)  # fmt: skip


@pytest.mark.parametrize("task", ["show", "test", "export", "finetune", "quantize", "prune", "profile", "secure"])
def test_every_task_refuses_a_record_that_is_none(there: Path, monkeypatch: Patch, capsys: Capture, task: str) -> None:
    path = there / RUNS[0]
    whole = json.loads((path / "record.json").read_text())
    texts = [*DAMAGED, json.dumps(whole | {"test_accuracy": 3}), json.dumps(whole | {"data": {}})]
    for text in texts if task == "show" else texts[-2:]:
        (path / "record.json").write_text(text)
        code, _, err = run(monkeypatch, capsys, f"task={task}", f"run={path}", "progress=false")
        assert code == 2
        assert "record.json is not" in err
        assert err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [("task=report", "study=tiny"), ("task=export", "study=tiny"), ("task=export", "study=tiny", "pick=500")],
)
def test_a_summary_of_a_search_that_is_none_is_refused(
    there: Path, monkeypatch: Patch, capsys: Capture, arguments: tuple[str, ...]
) -> None:
    path = there / "outputs" / "search" / "tiny" / "study.json"
    whole = json.loads(path.read_text())
    for text in (*DAMAGED, json.dumps(whole | {"front": [{}]}), json.dumps(whole | {"best": whole["front"]})):
        path.write_text(text)
        code, _, err = run(monkeypatch, capsys, *arguments)
        assert code == 2
        assert "study.json is not" in err
        assert err.count("\n") == 1
