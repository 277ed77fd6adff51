"""task=approximate from the command line: its files, what it prints, and its errors on one line."""

import json
import runpy
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from tests.test_main import run

Patch = pytest.MonkeyPatch
Capture = pytest.CaptureFixture[str]


def test_tanh_is_written_as_python_and_c_with_a_report_and_a_plot(
    monkeypatch: Patch, capsys: Capture, tmp_path: Path
) -> None:
    arguments = ("task=approximate", "function=tanh", "error=1e-4", f"outputs_dir={tmp_path}")
    code, out, err = run(monkeypatch, capsys, *arguments)
    assert code == 0, err
    folder = tmp_path / "approximate" / "tanh_s16.11_s16.14"
    assert sorted(path.name for path in folder.iterdir()) == ["plot.svg", "table.h", "table.json", "table.py"]
    report = json.loads((folder / "table.json").read_text())
    assert report["segments"] <= 16
    assert report["degree"] == 2
    assert report["jump"] <= 1
    for words in ("segments of degree", "worst absolute error", "units of the last place", "over every input"):
        assert words in out
    x = np.arange(-32768, 32768)
    y = runpy.run_path(str(folder / "table.py"))["tanh_fixed"](x)
    worst = np.abs(y * 2.0**-14 - np.tanh(x * 2.0**-11)).max()
    assert worst == pytest.approx(report["error"], rel=1e-9)
    assert worst <= 1e-4
    picture = ET.parse(folder / "plot.svg").getroot()  # noqa: S314
    joints = [line for line in picture.iter() if line.get("class") == "joint"]
    assert len(joints) == 2 * (2 * report["segments"] + 1)


@pytest.mark.parametrize(
    "arguments",
    [
        ["function=rsqrt", "error=2e-4"],
        ["function=rsqrt", "error=2e-4", "approximate.bits=32", "approximate.method=minimax"],
        ["function=exp(-x)", "error=1e-3", "approximate.low=0", "approximate.high=15"],
        ['function="x/(1+abs(x))"', "error=1e-3", "approximate.low=-4", "approximate.high=4"],
        ["function=sigmoid", "approximate.bits=32"],
        ["function=sigmoid", "approximate.source=s12.8", "approximate.to=u8.7", "error=1e-2"],
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_other_functions_and_formats(arguments: list[str], monkeypatch: Patch, capsys: Capture, tmp_path: Path) -> None:
    code, _, err = run(monkeypatch, capsys, "task=approximate", f"outputs_dir={tmp_path}", *arguments)
    assert code == 0, err
    report = json.loads(next(tmp_path.glob("approximate/*/table.json")).read_text())
    assert report["error"] <= report["allowed"]
    assert report["segments"] <= 16


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["function=tanhh"], "got tanhh in tanhh; rewrite it"),
        (
            ["function=exp(-x)"],
            "an expression needs an interval, got function=exp(-x) without one; set approximate.low",
        ),
        (["function=exp(-x)", "approximate.low=0"], "go together, got only one; set approximate.high too"),
        (
            ["function=log(x)", "error=0.01", "approximate.low=-1", "approximate.high=1"],
            "log(x) must be finite on its interval",
        ),
        (["approximate.low=2", "approximate.high=1"], "approximate.low must be less than approximate.high = 1, got 2"),
        (
            ["function=x", "error=0.01", "approximate.low=0", "approximate.high=9", "approximate.source=s8.7"],
            "must lie in s8.7",
        ),
        (["error=1e-6"], "error must be at least one step of s16.14"),
        (["error=0"], "error must be greater than 0"),
        (["approximate.segments=4"], "more than approximate.segments = 4"),
        (["approximate.source=16"], "approximate.source must be a format of at most 32 bits such as s16.11, got 16"),
        (["approximate.method=cubic"], "approximate.method must be one of gpc, minimax, got cubic"),
        (["function=rsqrt", "error=1e-5"], "1 / sqrt(x) cannot be had"),
        (["function=rsqrt", "error=0.5", "approximate.to=s8.0"], "error must be more than what rounding to s8.0 takes"),
        (["function=1/x", "approximate.low=-1", "approximate.high=1"], "1/x must be finite on its interval"),
        (["function=x", "approximate.low=1e-300", "approximate.high=2e-300"], "an interval and its values must reach"),
        (["run=somewhere"], "which task=approximate does not take"),
        (["function=__import__('os')"], "an expression has numbers"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    arguments: list[str], words: str, monkeypatch: Patch, capsys: Capture, tmp_path: Path
) -> None:
    code, _, err = run(monkeypatch, capsys, "task=approximate", f"outputs_dir={tmp_path}", *arguments)
    assert code == 2
    assert words in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())
