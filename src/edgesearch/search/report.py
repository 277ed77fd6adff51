"""From a study's storage to the plain values that reports are made of; task=report."""

from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from edgesearch.config import BudgetConfig, Config
from edgesearch.errors import ModelFileError
from edgesearch.report.console import PlainConsole
from edgesearch.report.page import write_page
from edgesearch.report.record import Record, metric_of, read_summary
from edgesearch.report.study import ProgramView, StudyView, TrialView
from edgesearch.report.tables import with_best
from edgesearch.search.ledger import Ledger, kind
from edgesearch.search.programs import Point
from edgesearch.search.storage import storage_errors, storage_of
from edgesearch.search.study import DEFINITION, load_ledger
from edgesearch.search.trained import Trained
from edgesearch.search.tuning import Tuned, load_tunings

_LIMITS = (
    ("flash_bytes", "firmware_flash_bytes"),
    ("ram_bytes", "firmware_ram_bytes"),
    ("macs", None),
)


def report(config: Config, folder: Path) -> Record:
    """Write report.html of the study that `config.study` names, of what there is so far.

    Raises:
        ConfigError: there is no such study.
        StorageError: the storage cannot be used.
    """
    url = storage_of(config, folder)
    with storage_errors(url):
        ledger = load_ledger(folder.name, url)
        view = study_view(ledger, load_tunings(folder.name, ledger.storage), read_summary(folder))
    write_page(view, folder / "report.html")
    PlainConsole().print(f"report: {folder / 'report.html'}", soft_wrap=True)
    return view.summary or {}


def study_view(ledger: Ledger, tunings: list[Tuned], summary: Record | None) -> StudyView:
    """Return a study as plain values."""
    definition = ledger.study.user_attrs[DEFINITION]
    budget = BudgetConfig(**{k.removeprefix("budget."): v for k, v in definition.items() if k.startswith("budget.")})
    tuned: dict[int, list[Point]] = {}
    for found in tunings:
        tuned.setdefault(found.source, []).append(found.point)
    metric = str(definition.get("train.metric", "accuracy"))
    if summary is not None and any(metric_of(record) != metric for record in with_best(summary)):
        raise ModelFileError(f"study.json must be of the study's metric {metric}, got another; run its search again")
    return StudyView(
        name=ledger.study.study_name,
        objective=str(definition["search.objective"]),
        about=f"{definition['data.name']}, {definition.get('cell.name', 'several cells')}",
        limits=_limits(budget),
        metric=metric,
        trials=tuple(
            _trial(t, tuned.get(t.number, []), budget) for t in ledger.trials() if _kind(t) not in ("", "surplus")
        ),
        summary=summary,
    )


def _kind(trial: FrozenTrial) -> str:
    return "running" if trial.state == TrialState.RUNNING else kind(trial)


def _trial(trial: FrozenTrial, tuned: list[Point], budget: BudgetConfig) -> TrialView:
    ended = _kind(trial)
    if ended != "trained":
        return TrialView(trial.number, ended, dict(trial.params), str(trial.user_attrs.get("reason", "")))
    found = Trained.of(trial)
    programs = tuple(_program(trial.number, point, budget) for point in (*found.points, *tuned))
    return TrialView(
        trial.number, ended, found.params, float_accuracy=found.float_accuracy, programs=programs, curve=found.curve
    )


def _program(number: int, point: Point, budget: BudgetConfig) -> ProgramView:
    values: dict[str, Any] = point.to_json()
    return ProgramView(trial=number, fits=point.fits(budget), **values)


def _limits(budget: BudgetConfig) -> dict[str, int]:
    """What the model may take of each limit."""
    found = {}
    for name, firmware in _LIMITS:
        limit = getattr(budget, name)
        if limit is not None:
            found[name] = limit - (getattr(budget, firmware) if firmware else 0)
    return found
