"""The command line: help, errors on one line with exit code 2, completion, runs, reuse."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgesearch.__main__ import main

FAST = ("train.epochs=2", "cell.hidden_size=4", "progress=false")


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *overrides: str) -> tuple[int, str, str]:
    """Run the command in this process; return exit code, standard output and standard error."""
    monkeypatch.setattr(sys, "argv", ["edgesearch", *overrides])
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setenv("COLUMNS", "160")
    try:
        main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        os.environ.pop("HYDRA_FULL_ERROR", None)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["cell.hiden_size=3"], "cell.hiden_size is not a key of the configuration; did you mean cell.hidden_size?"),
        (["cell.wrank=4"], "did you mean cell.wRank?"),
        (["data.features.bands=9"], "data.features.bands can be set only where data.features is not null"),
        (["data=fsdd", "data.features=null"], "data.features belongs to the audio sets"),
        (
            ["data.features={kind:mfcc,window_ms:9,hop_ms:9,bands:9,coefficients:3,seconds:1}"],
            "to no other, got a front",
        ),
        (["cell=null"], "Config group override must be a string or a list"),
        (["data.input_size=5"], "data.input_size must be null or the data's 8 features, got 5"),
        (["cell=fastgrn"], "Could not find 'cell/fastgrn' Available options in 'cell': dscnn fastgrnn"),
        (["cells=fastgrnn"], "cells is not a key of the configuration; did you mean cell?"),
        (["cell.hidden_size=many"], "cell.hidden_size has the wrong type"),
        (["train.epochs=[1,2]"], "train.epochs has the wrong type"),
        (["cell.wRank=16"], "cell.wRank must be at least 1 and at most min(D, H) = 8, got 16; set cell.wRank=null"),
        (["cell.uRank=64"], "cell.uRank must be at least 1 and at most min(H, H) = 32, got 64"),
        (["schedule.sparsity=1.0"], "schedule.sparsity must be less than 1, got 1"),
        (["data=npy", "data.path=nowhere", "data.input_size=3"], "nowhere/train.npy must exist"),
        (
            ["data=usps10", "data.path=nowhere"],
            "data.path must hold usps10/zip.train.gz, got no such file under nowhere",
        ),
        (["schedule=dense", "schedule.sparsity=0.5"], "schedule=dense cuts no weights"),
        (["cell.hidden_size=3", "cell.hidden_size=[}"], "no viable alternative at input"),
        (
            ["budget.flash_bytes=100"],
            "a model must fit its budget at 8-bit weights, got 1508 for budget.flash_bytes=100; lower",
        ),
        (["task=test", "run=nowhere"], "run must be the folder of a finished run, got nowhere"),
        (["task=test"], "task=test needs the folder of a finished run"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    overrides: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run(monkeypatch, capsys, *overrides, "progress=false")
    assert code == 2
    assert words in err
    assert err.count("\n") == 1
    assert not list(tmp_path.rglob("record.json"))


def test_a_run_a_rerun_and_a_test(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = (*FAST, f"outputs_dir={tmp_path}")
    code, out, _ = run(monkeypatch, capsys, *arguments)
    assert code == 0
    (record_path,) = tmp_path.glob("digits/fastgrnn/*/record.json")
    folder = record_path.parent
    for word in (
        "test accuracy",
        "validation accuracy",
        "non-zeros",
        "flash / RAM, float32",
        "flash / RAM, 8-bit",
        "MACs",
    ):
        assert word in out
    assert str(folder) in out
    record = json.loads(record_path.read_text())
    stable = {
        "status", "val_accuracy", "test_accuracy", "flash_bytes", "ram_bytes", "macs", "parameters", "nonzeros", "seed",
        "epoch", "wall_seconds", "config_hash", "versions",
    }  # fmt: skip
    assert stable <= record.keys()
    assert record["status"] == "finished"
    assert record["backend"] in ("fused", "eager")
    assert (record["backend_problem"] is None) == (record["backend"] == "fused")
    assert record["device"] == "cpu"
    assert record["config_hash"] == folder.name
    assert sum(map(sum, record["confusion"])) == record["data"]["rows"]["test"]
    expected = {".lock", "config.yaml", "record.json", "metrics.csv", "checkpoints", "program.npz", "export"}
    assert {path.name for path in folder.iterdir()} == expected
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"last.ckpt", "best.ckpt"}

    before = record_path.stat().st_mtime_ns
    code, out, _ = run(monkeypatch, capsys, *arguments, "logger=none", "train.threads=2")
    assert code == 0
    assert "finished before, nothing to train" in out
    assert record_path.stat().st_mtime_ns == before

    code, out, _ = run(monkeypatch, capsys, "task=test", f"run={folder}")
    assert code == 0
    assert "confusion matrix" in out
    assert f"{100 * record['test_accuracy']['float']:.2f} %" in out
    assert record_path.stat().st_mtime_ns == before

    best = folder / "checkpoints" / "best.ckpt"
    best.write_bytes(best.read_bytes()[:100])
    code, _, err = run(monkeypatch, capsys, "task=test", f"run={folder}")
    assert code == 2
    assert "best.ckpt is damaged" in err
    best.unlink()
    code, _, err = run(monkeypatch, capsys, "task=test", f"run={folder}")
    assert code == 2
    assert "is missing" in err


def test_a_failed_training_is_recorded_and_not_reused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = (
        *FAST,
        f"outputs_dir={tmp_path}",
        "train.lr=1e38",
        "train.clip_norm=null",
        "cell.update_nonlinearity=relu",
    )
    for _ in range(2):
        code, _, err = run(monkeypatch, capsys, *arguments)
        assert code == 1
        assert "the loss must stay finite" in err
    (record_path,) = tmp_path.glob("digits/fastgrnn/*/record.json")
    record = json.loads(record_path.read_text())
    assert record["status"] == "failed"
    assert "at step" in record["error"]


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from edgesearch.pipeline import lifecycle

    def full(folder: Path, record: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(folder))

    arguments = (*FAST, f"outputs_dir={tmp_path}")
    with monkeypatch.context() as patched:
        patched.setattr(lifecycle, "write_record", full)
        code, _, err = run(monkeypatch, capsys, *arguments)
    assert code == 1
    assert "must have room, got: No space left on device; free some there, or set outputs_dir=FOLDER" in err
    others = ("edgesearch: warning", "edgesearch: building the native op")
    assert sum(not line.startswith(others) for line in err.splitlines()) == 1
    assert run(monkeypatch, capsys, *arguments)[0] == 0


def test_a_folder_in_use_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from edgesearch.pipeline.folder import RunFolder
    from tests.conftest import composed

    arguments = (*FAST, f"outputs_dir={tmp_path}")
    with RunFolder.of(composed(*arguments), None).locked():
        code, _, err = run(monkeypatch, capsys, *arguments)
    assert code == 1
    assert "belongs to one process at a time" in err


def test_a_sweep_runs_every_point_and_names_a_bad_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = (*FAST, f"outputs_dir={tmp_path}", "cell.wRank=2,3", "schedule.sparsity=0,0.5", "-m")
    code, out, _ = run(monkeypatch, capsys, *arguments)
    assert code == 0
    assert out.count("test accuracy (c)") == 4
    assert len(list(tmp_path.glob("digits/fastgrnn/*/record.json"))) == 4
    code, out, err = run(monkeypatch, capsys, *FAST, f"outputs_dir={tmp_path}", "cell.wRank=99,4", "-m")
    assert code == 2
    assert "cell.wRank=99" in err
    assert "must be at least 1 and at most min(D, H) = 4, got 99" in err
    assert out.count("test accuracy (c)") == 1
    code, out, _ = run(monkeypatch, capsys, FAST[0], f"outputs_dir={tmp_path}", "-m", "cell.wRank=99,2,3", *FAST[1:])
    assert code == 2
    assert "sweep" in out


@pytest.mark.parametrize("command", [[sys.executable, "-m", "edgesearch"], ["edgesearch"]], ids=["module", "script"])
def test_help_and_completion(command: list[str]) -> None:
    script = Path(sys.executable).parent / command[0]
    command = [str(script)] if script.exists() and command[0] == "edgesearch" else command
    output = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True).stdout
    for word in (
        "cell: dscnn, fastgrnn, fastrnn, gru, lenet5, lstm, ugrnn",
        "wRank: null",
        "edgesearch cell=fastgrnn data=usps10",
    ):
        assert word in output
    line = "edgesearch cell=fast"
    environment = {**os.environ, "COMP_LINE": line, "COMP_POINT": str(len(line))}
    query = [*command, "-sc", "query=bash"]
    answer = subprocess.run(query, capture_output=True, text=True, check=True, env=environment).stdout
    assert answer.split() == ["cell=fastgrnn", "cell=fastrnn"]
    install = subprocess.run([*command, "-sc", "install=bash"], capture_output=True, text=True, check=True).stdout
    assert "complete -o nospace" in install


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe", b"[" * 20_000, b"a: *b", b"a: !!python/name:os.system"])
def test_a_file_of_the_users_that_is_no_yaml(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cell").mkdir()
    (tmp_path / "cell" / "bad.yaml").write_bytes(content)
    code, _, err = run(monkeypatch, capsys, "--config-dir", str(tmp_path), "cell=bad")
    assert code == 2
    assert err.startswith("edgesearch: ")
    assert err.count("\n") == 1


def test_aliases_without_end_in_a_file_of_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{chr(98 + k)}: &{chr(98 + k)} [{', '.join(['*' + chr(97 + k)] * 9)}]" for k in range(9)]
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "lol.yaml").write_text("\n".join(lines))
    code, _, err = run(monkeypatch, capsys, "--config-dir", str(tmp_path), "experiment=lol")
    assert code == 2
    assert "lol.yaml must be a configuration that ends" in err


def test_a_full_output_is_told() -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "edgesearch", "--version"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr


@pytest.mark.parametrize("given", ["quant.named.FC=4", "quant.named={FC:4}"])
def test_a_width_by_name_is_added(
    given: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(monkeypatch, capsys, given)
    assert code == 2
    assert "write +quant.named." in err


@pytest.mark.parametrize("task", ["search", "compress"])
def test_a_model_that_runs_both_ways_is_refused_before_anything_is_trained(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(monkeypatch, capsys, f"task={task}", "cell.bidirectional=true", f"outputs_dir={tmp_path}/o")
    assert code == 2
    assert "set cell.bidirectional=false" in err
    assert list(tmp_path.iterdir()) == []


def test_a_failed_point_of_any_task_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    points = ("-m", "task=approximate", "error=0.01,1e-99", f"outputs_dir={tmp_path}/o")
    code, _, err = run(monkeypatch, capsys, *points)
    assert code == 2
    assert "1 of 2 points failed: error=1e-99: " in err
