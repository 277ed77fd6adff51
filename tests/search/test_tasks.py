"""The commands: a search, its report in a browser, its export, its Weights & Biases runs, its messages."""

import errno
import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgesearch.errors import StorageError
from edgesearch.search.storage import open_storage
from tests.report.wandb_file import read_offline
from tests.search.helpers import run, summary

NAME = "digits-fastgrnn-none"
OPTIONS = (
    "search.n_trials=6", "train.epochs=12", "search.finetune=1", "finetune.epochs=3", "budget.flash_bytes=600",
    "search.objective=pareto",
)  # fmt: skip


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs of a small search."""
    folder = tmp_path_factory.mktemp("ended")
    done = run(folder, *OPTIONS, "logger=wandb")
    assert done.returncode == 0, done.stderr
    assert "report:" in done.stdout
    return folder


def edgesearch(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "edgesearch", *arguments], capture_output=True, text=True)


def test_study_json_has_the_chosen_programs_tested_once(ended: Path) -> None:
    found = summary(ended)
    assert found["trained"] == 6
    assert found["best"]["val_accuracy"]["integer"] <= found["front"][-1]["val_accuracy"]["integer"]
    sizes = [record["flash_bytes"] for record in found["front"]]
    accuracies = [record["val_accuracy"]["integer"] for record in found["front"]]
    assert sizes == sorted(sizes)
    assert accuracies == sorted(accuracies)
    assert max(sizes) <= 600
    for record in found["front"]:
        kept = json.loads((Path(record["folder"]) / "record.json").read_text())
        assert kept == record
        assert record["test_accuracy"]["integer"] == record["test_accuracy"]["fake_quant"]


def test_nothing_is_tested_before_the_search_is_over(tmp_path: Path) -> None:
    code = """
import sys
from edgesearch.data.dataset import Dataset
from edgesearch.search import chosen
tested = []
plain, ending = Dataset.__getattribute__, chosen.finish
Dataset.__getattribute__ = lambda self, name: (tested.append(1) if name == "test" else 0, plain(self, name))[1]
def finish(*given):
    print("before the end:", len(tested))
    found = ending(*given)
    print("after the end:", len(tested) > 0)
    return found
import edgesearch.search.tasks
edgesearch.search.tasks.finish = finish
from edgesearch.__main__ import main
main()
"""
    from tests.search.helpers import SMALL

    arguments = (*SMALL, f"outputs_dir={tmp_path}", "search.n_trials=2", "search.finetune=1", "finetune.epochs=2")
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert "before the end: 0" in done.stdout, done.stderr
    assert "after the end: True" in done.stdout


def test_the_command_of_a_program_makes_it_again(ended: Path, tmp_path: Path) -> None:
    record = summary(ended)["best"]
    for line in record["command"]:
        arguments = line.removeprefix("python -m edgesearch ").split()
        moved = [a.replace(str(ended), str(tmp_path)) for a in arguments]
        done = edgesearch(*moved, "progress=false")
        assert done.returncode == 0, done.stderr
    made = [json.loads(path.read_text()) for path in tmp_path.rglob("record.json")]
    assert record["program_sha256"] in {found["program_sha256"] for found in made}


def test_the_same_command_again_changes_nothing(ended: Path) -> None:
    before = summary(ended)
    done = run(ended, *OPTIONS)
    assert done.returncode == 0, done.stderr
    after = summary(ended)
    assert after.pop("seconds") >= before.pop("seconds")
    assert after == before


def test_the_picked_program_is_exported(ended: Path) -> None:
    found = summary(ended)
    for pick, record in (("best", found["best"]), (str(found["front"][0]["flash_bytes"]), found["front"][0])):
        target = Path(record["folder"]) / "export" / "c"
        shutil.rmtree(target)
        done = edgesearch("task=export", f"study={NAME}", f"pick={pick}", f"outputs_dir={ended}")
        assert done.returncode == 0, done.stderr
        assert (target / "model.c").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("task=export", f"study={NAME}", "pick=10"), "pick must be at least the smallest program's"),
        (("task=export", f"study={NAME}", "pick=large"), "pick must be best or a number of bytes"),
        (("task=export", "study=absent"), "a study whose search has ended, got absent"),
        (("task=report", "study=absent"), "study must name a study"),
        (("task=report",), "task=report needs the name of a study"),
        (("task=search", f"study={NAME}"), f"set search.study={NAME}"),
        (("task=search", "cell.bidirectional=true"), "bidirectional"),
        (("task=search", "search.space.cell.hiden=1"), "hiden"),
        (("task=search", "search.study=a/b"), "a name that a folder can have"),
    ],
)
def test_mistakes_are_one_line(ended: Path, arguments: tuple[str, ...], words: str) -> None:
    done = edgesearch(*arguments, f"outputs_dir={ended}", "progress=false")
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


PROBE = """<script>addEventListener("load", () => {
  const wide = [...document.querySelectorAll("main *")].filter((node) => !node.closest(".wide, .tall, svg")
    && node.getBoundingClientRect().right > innerWidth + 1).map((node) => node.outerHTML.slice(0, 80));
  const point = document.querySelector("circle.best");
  point.dispatchEvent(new PointerEvent("pointermove", {bubbles: true, clientX: 200, clientY: 300}));
  const tip = document.getElementById("tip"), box = tip.getBoundingClientRect();
  const found = {width: innerWidth, scroll: document.documentElement.scrollWidth, wide, tip: tip.textContent,
    inside: box.left >= 0 && box.right <= innerWidth,
    titles: [...document.querySelectorAll("h2")].map((h) => h.textContent),
    charts: [...document.querySelectorAll("svg")].map((chart) => chart.getBoundingClientRect().height),
    outside: performance.getEntriesByType("resource").map((entry) => entry.name), errors: window.failures};
  parent.postMessage(JSON.stringify(found), "*");
});</script>"""
FRAME = """<body><script>addEventListener("message", (event) => { document.body.textContent = event.data; });</script>
<iframe src="probed.html" width="WIDTH" height="900" style="border: 0"></iframe></body>"""
LISTEN = '<script>window.failures = []; addEventListener("error", (e) => failures.push(e.message));</script>'


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_the_report_in_a_browser(ended: Path, tmp_path: Path, width: int) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs a browser: no chromium; apt install chromium")
    done = edgesearch("task=report", f"study={NAME}", f"outputs_dir={ended}")
    assert done.returncode == 0, done.stderr
    text = (ended / "search" / NAME / "report.html").read_text()
    assert "http://" not in text
    assert "https://" not in text
    probed = tmp_path / "probed.html"
    probed.write_text(text.replace("<body>", f"<body>{LISTEN}").replace("</body>", f"{PROBE}</body>"))
    frame = tmp_path / "frame.html"  # (a window of the browser itself is at least 500 wide)
    frame.write_text(FRAME.replace("WIDTH", str(width)))
    dumped = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000",
         "--allow-file-access-from-files", f"--user-data-dir={tmp_path}/profile", "--dump-dom",
         frame.as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    body = dumped.stdout.partition("<body>")[2].partition("</body>")[0]
    found: dict[str, Any] = json.loads(body)
    assert found["errors"] == []
    assert found["outside"] == []
    assert found["width"] == width
    assert found["scroll"] <= width
    assert found["wide"] == []
    assert "bytes" in found["tip"]
    assert found["inside"]
    assert {"Accuracy against flash", "For every bit width", "What was tried", "Learning curves"} <= set(
        found["titles"]
    )
    assert len(found["charts"]) == 4
    assert all(height > 150 for height in found["charts"])


def test_weights_and_biases_has_every_trial_and_the_study(ended: Path) -> None:
    folder = ended / "search" / NAME
    study = read_offline(folder)
    assert study["run"].run_group == NAME
    assert study["run"].job_type == "study"
    assert study["summary"]["trained"] == 6
    assert study["exit_code"] == 0
    (row,) = study["history"]
    assert {"trials", "pareto_table", "parallel_coordinates", "report"} <= {key.split(".")[0] for key in row}
    (table,) = folder.glob("wandb/offline-run-*/files/media/table/trials_*.table.json")
    rows = json.loads(table.read_text())
    assert len(rows["data"]) >= 6
    assert "cell.hidden_size" in rows["columns"]
    trials = [read_offline(path) for path in folder.glob("trials/*") if (path / "wandb").exists()]
    assert sorted(t["summary"]["trial"] for t in trials if "flash_bytes" in t["summary"])
    assert len(trials) == 6
    assert {t["run"].run_group for t in trials} == {NAME}
    assert all(len(t["history"]) == 12 for t in trials)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_dashboard_is_code(ended: Path) -> None:
    pytest.importorskip("wandb_workspaces", reason="needs wandb-workspaces: pip install 'edgesearch[wandb]'")
    from edgesearch.report.study import StudyView, TrialView
    from edgesearch.report.wandb_study import workspace

    view = StudyView(NAME, "accuracy", "", {}, "accuracy", (TrialView(0, "trained", {"cell.hidden_size": 8}),), None)
    model = workspace("me", "edgesearch", view, NAME)._to_model()
    text = model.model_dump_json()
    assert "hidden_size" in text
    assert NAME in text
    assert "Parallel" in text


def test_outputs_that_cannot_be_written_are_named_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.test_main import run

    def read_only(path: Path, content: bytes) -> int:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "write_bytes", read_only)
    code, _, err = run(monkeypatch, capsys, "task=search", "search.workers=2", f"outputs_dir={tmp_path}")
    assert code == 2
    folder = tmp_path / "search" / "digits-fastgrnn-none"
    assert f"{folder} must be a place that can be written and read, got: Read-only file system" in err
    assert "set outputs_dir=FOLDER" in err
    assert err.count("\n") == 1
    assert list(folder.iterdir()) == []


def test_a_storage_that_cannot_be_written_is_not_told_to_be_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: Any, **named: Any) -> None:
        raise sqlite3.OperationalError("attempt to write a readonly database")

    monkeypatch.setattr(sqlite3, "connect", refuse)
    with pytest.raises(StorageError, match="must be a file that can be written, got: attempt to write") as caught:
        open_storage(f"sqlite:///{tmp_path}/study.db", 20)
    assert "delete" not in str(caught.value)
