"""Hundreds of command lines that cannot be right: one line each, exit code 2, no traceback, nothing left behind."""

import shlex
import shutil
from pathlib import Path

import pytest

from edgesearch.config.load import key_rules, key_types
from edgesearch.config.schema import TASKS
from tests.test_main import run

Patch = pytest.MonkeyPatch
Capture = pytest.CaptureFixture[str]
STORED = Path(__file__).parent / "fixtures/v0_1/outputs/digits/fastgrnn/99a338940e4f"
LISTED = Path(__file__).parent / "fixtures/command_lines.txt"
OF_A_RUN = ("test", "quantize", "prune", "profile", "finetune", "export", "show", "secure")
GROUPS = ("task", "data", "cell", "schedule", "train", "quant", "budget", "search", "export", "logger", "experiment")
NEEDED = {
    "data.features": ("data=fsdd",),
    "approximate": ("task=approximate", "function=x", "approximate.low=0", "approximate.high=1"),
    "function": ("task=approximate",),
    "search": ("task=search",),
    "secure": ("task=secure", "run=nowhere"),
}


def needed(key: str) -> tuple[str, ...]:
    return next((given for start, given in NEEDED.items() if f"{key}.".startswith(f"{start}.")), ())


def of_keys() -> list[tuple[str, ...]]:
    """Every key with values that are out of its range or of another type."""
    lines: list[tuple[str, ...]] = []
    for key, rule in key_rules().items():
        declared = key_types()[key]
        values = ["[[1]]", "{a:{b:1}}"]
        if declared in (int, int | None):
            values = [str(2**70), "-1", "many"]
        elif declared in (float, float | None):
            values = ["1e400", "nan", "many"]
        elif declared is bool:
            values = ["maybe"]
        elif rule.choices:
            values = ["nope", "[a]"]
        lines += [(*needed(key), f"{'++' if needed(key) else ''}{key}={value}") for value in values]
    return lines


def of_names() -> list[tuple[str, ...]]:
    """Options and keys that are not there, in every group."""
    lines: list[tuple[str, ...]] = [
        (f"{group}={name}",) for group in GROUPS for name in ("nope", "FastGRNN ", "../config", "[nope]", "1")
    ]
    keys = (
        "cell.wrank",
        "cell.hiden_size",
        "cell",
        "schedule.sW",
        "train.momentum",
        "a",
        "a.b.c",
        "_",
        "config",
        "hydra_",
    )
    lines += [(f"{sign}{key}=1",) for key in keys for sign in ("", "+", "++")]
    return lines


def of_tasks() -> list[tuple[str, ...]]:
    places = ("nowhere", "/", "/dev/null", "''", "x" * 300, "${oc.env:NOPE}", "null")
    lines: list[tuple[str, ...]] = [(f"task={task}", f"run={place}") for task in OF_A_RUN for place in places]
    lines += [(f"task={task}", "run=RUN", "seed=3") for task in OF_A_RUN]
    return lines


LINES = [
    *of_keys(),
    *of_names(),
    *of_tasks(),
    *(tuple(shlex.split(line)) for line in LISTED.read_text().splitlines() if not line.startswith("#")),
    ("cell.hidden_size=" + "[" * 3000,),
    ("cell.hidden_size=" + "9" * 5000,),
    ("run=" + "x" * 100_000,),
    ("cell=\udcff",),
    ("run=a\0b",),
    ("run=a\nb",),
]


def tree(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(STORED, tmp_path_factory.mktemp("stored") / "run"))


def test_there_are_enough() -> None:
    assert len(set(LINES)) >= 650
    assert {task for task in TASKS if any(f"task={task}" in line for line in LINES)} >= set(OF_A_RUN)


@pytest.mark.parametrize("line", LINES, ids=lambda line: ascii(" ".join(line))[:80])
def test_a_mistake_is_one_line_and_exit_code_2(
    line: tuple[str, ...], monkeypatch: Patch, capsys: Capture, tmp_path: Path, stored: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGESEARCH_DATA", str(tmp_path / "nothing"))
    monkeypatch.setattr("edgesearch.data.sources._fetch", lambda source: Path("nowhere/to/fetch"))
    before = tree(stored)
    code, out, err = run(monkeypatch, capsys, *(part.replace("RUN", str(stored)) for part in line))
    err = "".join(line for line in err.splitlines(keepends=True) if "building the native op" not in line)
    assert code == 2, (out[-300:], err)
    assert err.startswith("edgesearch: ")
    assert err.count("\n") == 1, err
    assert len(err) < 1500
    assert "Traceback" not in out + err
    assert tree(stored) == before
    written = tree(tmp_path).keys() - {"outputs/multirun/multirun.yaml", "multirun/multirun.yaml"}  # (Hydra's own)
    assert not written


@pytest.mark.parametrize(
    "line",
    [
        "--help", "-h", "--hydra-help", "--version", "--cfg job", "--cfg hydra", "--cfg job --resolve --package cell",
        "--cfg job cell=gru",
    ],
)  # fmt: skip
def test_what_only_shows_something_is_no_mistake(
    line: str, monkeypatch: Patch, capsys: Capture, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(monkeypatch, capsys, *line.split())
    assert (code, err) == (0, "")
    assert out
    assert not tree(tmp_path)
