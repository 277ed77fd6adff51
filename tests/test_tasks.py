"""Tasks on a finished run: test, show, export, finetune; training in the program's numbers, resumed."""

import csv
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

import edgesearch
from edgesearch.cells.edgeml import load_edgeml
from edgesearch.export import c
from edgesearch.measure import compiled
from edgesearch.pipeline.folder import RunFolder
from tests.test_main import FAST, run

Patch = pytest.MonkeyPatch
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def finished(monkeypatch: Patch, capsys: Capture, tmp_path: Path) -> Path:
    """The folder of a short run on the embedded data."""
    code, _, err = run(monkeypatch, capsys, *FAST, f"outputs_dir={tmp_path}", "quant.weight_bits=4")
    assert code == 0, err
    return next(tmp_path.glob("digits/fastgrnn/*"))


def test_training_ends_with_the_program_and_c_that_agree(finished: Path) -> None:
    record = json.loads((finished / "record.json").read_text())
    accuracy = record["test_accuracy"]
    assert accuracy.keys() == {"float", "fake_quant", "integer", "c"}
    assert accuracy["fake_quant"] == accuracy["integer"] == accuracy["c"]
    program = edgesearch.IntegerProgram.load(finished / "program.npz")
    assert (record["flash_bytes"], record["macs"]) == (program.flash_bytes, program.macs)
    assert record["formats"]["l0_W"].startswith("s4.")
    assert {len(counts) for counts in record["saturations"].values()} == {1, 8}
    done = subprocess.run(["make", "-C", str(finished / "export" / "c")], capture_output=True, text=True, check=False)  # noqa: S607
    assert "no difference" in done.stdout
    assert "warning" not in done.stderr


def test_task_test_runs_every_variant_and_names_a_difference(
    finished: Path, monkeypatch: Patch, capsys: Capture
) -> None:
    code, out, _ = run(monkeypatch, capsys, "task=test", f"run={finished}")
    assert code == 0
    assert "gcc -O2" in out
    assert "sanitize" in out
    assert "no difference" in out

    def broken(program: edgesearch.IntegerProgram) -> dict[str, str]:
        made = c.files(program)
        return made | {"model.c": made["model.c"].replace("l0_z_i = (int32_t)", "l0_z_i = 1 + (int32_t)").replace(
            "l0_z_i = model_sigmoid", "l0_z_i = 1 + model_sigmoid")}  # fmt: skip

    monkeypatch.setattr(compiled, "files", broken)
    code, _, err = run(monkeypatch, capsys, "task=test", f"run={finished}")
    assert code == 1
    assert "differs first in sequence 0, step 0, operation l0_z, unit 0" in err


def test_show_lists_the_program(finished: Path, monkeypatch: Patch, capsys: Capture) -> None:
    code, out, _ = run(monkeypatch, capsys, "task=show", f"run={finished}")
    assert code == 0
    assert "l0_h_next[4] s16" in out
    assert "logits[10] s16" in out
    (finished / "program.npz").write_bytes(b"PK")
    code, _, err = run(monkeypatch, capsys, "task=show", f"run={finished}")
    assert code == 2
    assert "is not a program or is damaged" in err


def test_export_writes_every_target(finished: Path, monkeypatch: Patch, capsys: Capture) -> None:
    pytest.importorskip("onnx", reason="needs the extra onnx")
    before = (finished / "export" / "c" / "model.c").read_text()
    for target in ("c", "onnx", "edgeml", "secure", "ezpc"):
        code, out, _ = run(monkeypatch, capsys, "task=export", f"export={target}", f"run={finished}")
        assert code == 0
        assert f"export/{target}" in out
    assert (finished / "export" / "c" / "model.c").read_text() == before
    assert (finished / "export" / "onnx" / "model.onnx").stat().st_size > 500
    files = finished / "export" / "edgeml"
    U = load_edgeml(files, cell="fastgrnn").state_dict()["rnn.cells.0.U"].numpy()
    for arguments, largest, kind in ((), 127, np.int8), (("export.largest=32767",), 32767, np.int16):
        code, _, _ = run(monkeypatch, capsys, "task=export", "export=edgeml", f"run={finished}", *arguments)
        assert code == 0
        scale = np.load(files / "QuantizedFastModel" / "paramScaleFactor.npy")
        quantised = np.load(files / "QuantizedFastModel" / "qU.npy")
        assert quantised.dtype == kind
        np.testing.assert_array_equal(quantised, np.round(U * np.float32(scale)).clip(-largest - 1, largest))
    code, _, _ = run(monkeypatch, capsys, "task=export", "export=edgeml", f"run={finished}", "export.scalar_scale=99")
    zeta = np.load(files / "zeta.npy")
    assert code == 0
    assert np.load(files / "QuantizedFastModel" / "scalarScaleFactor.npy") == 99
    assert np.load(files / "QuantizedFastModel" / "qzeta.npy") == np.round(99 / (1 + np.exp(-zeta)))


def test_finetune_keeps_zeros_and_tells_what_comes_back(finished: Path, monkeypatch: Patch, capsys: Capture) -> None:
    arguments = ("task=finetune", f"run={finished}", "quant.weight_bits=2", "finetune.epochs=3", "progress=false")
    code, out, _ = run(monkeypatch, capsys, *arguments)
    assert code == 0
    assert "before" in out
    folder = next((finished / "finetune").iterdir())
    record = json.loads((folder / "record.json").read_text())
    assert record["before"]["test_accuracy"]["integer"] >= 0
    assert record["test_accuracy"]["integer"] == record["test_accuracy"]["c"]
    weights = [RunFolder(path).best()["rnn.cells.0.U"] for path in (finished, folder)]
    assert (weights[0] == 0).any()
    assert not weights[1][weights[0] == 0].any()
    code, out, _ = run(monkeypatch, capsys, *arguments)
    assert "finished before" in out


def test_a_quantised_training_goes_on_to_the_same_weights(monkeypatch: Patch, capsys: Capture, tmp_path: Path) -> None:
    settings = (
        "schedule.quantize_from=0.5", "quant.weight_bits=4", "cell.hidden_size=4", "progress=false",
        "train.epochs=4", "train.checkpoint_seconds=0",
    )  # fmt: skip
    code, _, _ = run(monkeypatch, capsys, *settings, f"outputs_dir={tmp_path}/whole")
    assert code == 0
    with monkeypatch.context() as patch:
        from edgesearch.training.callbacks import Checkpoints

        write = Checkpoints.on_train_epoch_end

        def stop(self: Checkpoints, trainer: object, module: object) -> None:
            write(self, trainer, module)  # type: ignore[arg-type]
            if trainer.current_epoch == 2:  # type: ignore[attr-defined]
                raise KeyboardInterrupt

        patch.setattr(Checkpoints, "on_train_epoch_end", stop)
        code, _, err = run(monkeypatch, capsys, *settings, f"outputs_dir={tmp_path}/cut")
        assert code == 130, err
    code, _, _ = run(monkeypatch, capsys, *settings, f"outputs_dir={tmp_path}/cut")
    assert code == 0
    programs = [next((tmp_path / way).glob("digits/*/*/program.npz")).read_bytes() for way in ("whole", "cut")]
    record = json.loads(next((tmp_path / "cut").glob("digits/*/*/record.json")).read_text())
    assert record["resumed_at"] == 3
    assert record["epoch"] >= 2
    assert programs[0] == programs[1]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["task=finetune"], "task=finetune needs the folder of a finished run, got run=null"),
        (["schedule.quantize_from=1"], "schedule.quantize_from must be less than 1, got 1"),
        (["quant.weight_bits=1"], "quant.weight_bits must be at least 2, got 1"),
        (["quant.range=all"], "quant.range must be one of max, percentile, error, got all"),
    ],
)
def test_bad_settings_are_one_line(monkeypatch: Patch, capsys: Capture, overrides: list[str], words: str) -> None:
    code, _, err = run(monkeypatch, capsys, *overrides)
    assert code == 2
    assert words in err
    assert err.count("\n") == 1


def test_a_tuned_run_is_tested_and_tuned_again(finished: Path, monkeypatch: Patch, capsys: Capture) -> None:
    settings = ("quant.weight_bits=4", "finetune.epochs=2", "progress=false")
    assert run(monkeypatch, capsys, "task=finetune", f"run={finished}", *settings)[0] == 0
    tuned = next((finished / "finetune").iterdir())
    assert (tuned / "metrics.csv").exists()
    code, out, err = run(monkeypatch, capsys, "task=test", f"run={tuned}")
    assert code == 0, err
    assert "no difference" in out
    code, _, err = run(monkeypatch, capsys, "task=finetune", f"run={tuned}", *settings)
    assert code == 0, err


def test_a_program_that_was_swapped_or_lost_is_refused(finished: Path, monkeypatch: Patch, capsys: Capture) -> None:
    program = finished / "program.npz"
    other = edgesearch.IntegerProgram.load(program)
    program.unlink()
    for task in ("test", "show", "export"):
        code, _, err = run(monkeypatch, capsys, f"task={task}", f"run={finished}")
        assert (code, err.count("\n")) == (2, 1)
    other.about["cell"] = "another"
    other.save(program)
    for task in ("test", "show", "export"):
        code, _, err = run(monkeypatch, capsys, f"task={task}", f"run={finished}")
        assert code == 2
        assert "is not the program that was measured" in err


@pytest.mark.parametrize(
    "arguments", [("task=test",), ("task=quantize",), ("task=finetune", "finetune.epochs=1")], ids=lambda a: a[0]
)
def test_without_a_compiler_the_rest_is_done_and_the_exit_code_says_so(
    finished: Path, monkeypatch: Patch, capsys: Capture, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setattr("edgesearch.measure.compiled.shutil.which", lambda name: None)
    code, out, err = run(monkeypatch, capsys, *arguments, f"run={finished}", "progress=false")
    assert code == 1
    assert (
        "comparing C needs a compiler that builds it here, got none; install gcc, or ask for none: set export=onnx"
        in err
    )
    assert "(integer)" in out or "quantization.yml" in out
    assert "(c)" not in out
    code, _, err = run(monkeypatch, capsys, *arguments, f"run={finished}", "progress=false", "export=onnx")
    assert code == 0, err


def test_a_compiler_without_its_sanitizer_runtime_is_named_and_the_others_are_run(
    finished: Path, monkeypatch: Patch, capsys: Capture, tmp_path: Path
) -> None:
    clang = tmp_path / "bin" / "clang"
    clang.parent.mkdir()
    clang.write_text(
        '#!/bin/sh\ncase "$*" in *-fsanitize*) echo "ld: error: no libclang_rt.asan.a" >&2; exit 1;; esac\n'
        'exec gcc "$@"\n'
    )
    clang.chmod(0o755)
    monkeypatch.setenv("PATH", str(clang.parent), prepend=os.pathsep)
    code, out, err = run(monkeypatch, capsys, "task=test", f"run={finished}")
    assert code == 0
    assert "clang -O0 -fsanitize=undefined,address is skipped: ld: error: no libclang_rt.asan.a" in err
    assert "install clang's sanitizer runtime (Debian: libclang-rt-dev)" in err
    assert "test accuracy (c)" in out
    for name in ("gcc -O0 -fsanitize=undefined,address", "gcc -O2", "gcc -Os", "clang -O2", "clang -Os"):
        assert f"C, {name}" in out
    assert "C, clang -O0" not in out


def rare(folder: Path) -> list[str]:
    """The command of a training on windows of which most are of one class."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], [1152, 44, 32])
    x = rng.normal(size=(len(y), 6, 2)) + 0.5 * y[:, None, None]
    np.savez(folder / "rare.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    return [
        "data=npy", f"data.path={folder / 'rare.npz'}", f"outputs_dir={folder}", "progress=false", "schedule=dense",
        "cell.hidden_size=6", "train.epochs=15",
    ]  # fmt: skip


def test_a_majority_is_told_from_an_answer(monkeypatch: Patch, capsys: Capture, tmp_path: Path) -> None:
    code, out, err = run(monkeypatch, capsys, *rare(tmp_path), "train.epochs=1", "train.lr=1e-6", "seed=3")
    assert code == 0, err
    assert "most common class's share" in out
    assert "93.81 %" in out
    (record,) = (json.loads(path.read_text()) for path in tmp_path.glob("npy/fastgrnn/*/record.json"))
    assert ("never found" in err) == (0 in record["per_class_accuracy"])
    above = record["test_accuracy"]["integer"] > record["majority_share"]
    assert ("above the most common class's share, 93.81 %" in err) == (not above)


@pytest.mark.parametrize("arithmetic", ["train.arithmetic=float", "train.arithmetic=fixed"])
def test_weights_and_the_metric_serve_rare_classes(
    monkeypatch: Patch, capsys: Capture, tmp_path: Path, arithmetic: str
) -> None:
    command = [*rare(tmp_path), arithmetic]
    balanced = ("train.class_weights=balanced", "train.metric=balanced_accuracy")
    for more in ((), balanced):
        code, _, err = run(monkeypatch, capsys, *command, *more)
        assert code == 0, err
    records = [json.loads(path.read_text()) for path in tmp_path.glob("npy/fastgrnn/*/record.json")]
    plain, weighed = sorted(records, key=lambda record: "metric" in record["config"]["train"])
    assert weighed["test_balanced_accuracy"]["integer"] > plain["test_balanced_accuracy"]["integer"] + 0.1
    assert weighed["test_macro_f1"].keys() == {"float", "fake_quant", "integer", "c"}
    assert weighed["majority_share"] == 1152 / 1228
    with (tmp_path / "npy/fastgrnn" / weighed["config_hash"] / "metrics.csv").open() as file:
        ranks = [(float(row["val_balanced_accuracy"]), -float(row["val_loss"])) for row in csv.DictReader(file)]
    assert weighed["epoch"] == ranks.index(max(ranks))


def test_an_export_replaces_nothing_but_an_export(finished: Path, tmp_path: Path) -> None:
    program = edgesearch.IntegerProgram.load(finished / "program.npz")
    mine = tmp_path / "mine"
    (mine / "src").mkdir(parents=True)
    (mine / "src" / "work.c").write_text("precious")
    with pytest.raises(edgesearch.EdgesearchError, match=r"nothing but an earlier export, got .*mine with src"):
        program.export(mine)
    assert (mine / "src" / "work.c").read_text() == "precious"
    for _ in range(2):
        program.export(tmp_path / "new" / "c")
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"c"}


def test_a_bidirectional_run_says_that_it_has_no_program(monkeypatch: Patch, capsys: Capture, tmp_path: Path) -> None:
    code, out, err = run(monkeypatch, capsys, *FAST, f"outputs_dir={tmp_path}", "cell.bidirectional=true")
    assert code == 0
    assert "no integer program" in err
    assert "(integer)" not in out
    folder = next(tmp_path.glob("digits/fastgrnn/*"))
    for task in ("show", "export", "finetune"):
        code, _, err = run(monkeypatch, capsys, f"task={task}", f"run={folder}")
        assert code == 2
        assert "bidirectional" in err
    assert not (folder / "finetune").exists()


def test_patience_waits_for_the_quantised_phase(monkeypatch: Patch, capsys: Capture, tmp_path: Path) -> None:
    settings = ("train.epochs=6", "train.patience=1", "train.lr=1e-9", "schedule=dense", "schedule.quantize_from=0.5")
    code, _, err = run(monkeypatch, capsys, *settings, "progress=false", f"outputs_dir={tmp_path}")
    assert code == 0, err
    folder = next(tmp_path.glob("digits/fastgrnn/*"))
    rows = (folder / "metrics.csv").read_text().splitlines()[1:]
    assert ["quantized" in row for row in rows] == [False] * 3 + [True] * (len(rows) - 3)
    assert 3 <= json.loads((folder / "record.json").read_text())["epoch"] < len(rows) < 6


def test_a_failed_fine_tuning_is_recorded_and_tried_again(finished: Path, monkeypatch: Patch, capsys: Capture) -> None:
    tuning = ("task=finetune", f"run={finished}", "finetune.epochs=1", "progress=false")
    for _ in range(2):
        code, _, err = run(monkeypatch, capsys, *tuning, "finetune.lr=1e38")
        assert code == 1
        assert "the weights must stay finite, got others in epoch 0; lower finetune.lr=1e+38" in err
        assert err.count("\n") == 1
    (folder,) = (finished / "finetune").iterdir()
    record = json.loads((folder / "record.json").read_text())
    assert record["status"] == "failed"
    assert record["error"] in err
    assert not (folder / "program.npz").exists()
    code, _, err = run(monkeypatch, capsys, "task=test", f"run={folder}")
    assert code == 2
    assert "run must be the folder of a finished run" in err


def test_memory_that_is_refused_is_one_line_and_recorded(monkeypatch: Patch, capsys: Capture, tmp_path: Path) -> None:
    from edgesearch.training.module import SequenceClassifier

    def refused(self: SequenceClassifier, x: torch.Tensor) -> torch.Tensor:
        return torch.empty(2**60)

    monkeypatch.setattr(SequenceClassifier, "logits", refused)
    code, _, err = run(monkeypatch, capsys, *FAST, f"outputs_dir={tmp_path}")
    assert code == 1
    assert err.count("\n") == 1
    assert "an allocation that was refused; lower train.batch_size" in err
    (record,) = tmp_path.glob("digits/fastgrnn/*/record.json")
    assert json.loads(record.read_text())["status"] == "failed"


def test_a_model_beyond_the_memory_leaves_nothing(monkeypatch: Patch, capsys: Capture, tmp_path: Path) -> None:
    from edgesearch.budget import memory

    monkeypatch.setattr(memory, "free_bytes", lambda device: 10_000)
    code, _, err = run(monkeypatch, capsys, *FAST, f"outputs_dir={tmp_path}")
    assert code == 2
    assert "a training must fit into the memory that is free" in err
    assert not list(tmp_path.iterdir())
