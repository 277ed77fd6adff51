"""task=search, and what can be asked of a study afterwards: task=report, task=export."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgesearch.atomic import check_writable
from edgesearch.budget import check_processes
from edgesearch.config import Config
from edgesearch.errors import ConfigError, ModelFileError
from edgesearch.pipeline.doubts import doubt_tails, say
from edgesearch.pipeline.export import export
from edgesearch.pipeline.tasks import limit_threads
from edgesearch.report.console import PlainConsole
from edgesearch.report.page import write_page
from edgesearch.report.record import Record, metric_of, read_summary
from edgesearch.report.search_progress import SearchProgress
from edgesearch.report.tables import study_summary, with_best
from edgesearch.search.chosen import finish
from edgesearch.search.configurations import Compose, Configurations
from edgesearch.search.report import report, study_view
from edgesearch.search.space import Space
from edgesearch.search.storage import default_url, storage_errors
from edgesearch.search.study import Study, definition, open_ledger, study_name
from edgesearch.search.trial import Limit, Stopped, train_trial
from edgesearch.search.tuning import Tuning
from edgesearch.search.workers import cores, dismissed, is_worker, workers

_WORKER_BYTES = 400 << 20  # torch and a small data set


def run_study_task(config: Config, overrides: Sequence[str], flags: Sequence[str], compose: Compose) -> Record:
    """Run task=search, task=report, or task=export of a study.

    Args:
        config: the composed configuration.
        overrides: the command's own.
        flags: Hydra's, which say where configurations are; workers get them too.
        compose: composes a configuration from overrides.
    """
    limit_threads(config.train.threads)
    if config.task.name == "search":
        return search(config, overrides, flags, compose)
    if config.task.name == "report":
        return report(config, study_folder(config, str(config.study)))
    return export_study(config)


def search(config: Config, overrides: Sequence[str], flags: Sequence[str], compose: Compose) -> Record:
    """Search, fine-tune the most promising programs, test the front once, and return study.json's content.

    The same command goes on where the study was.

    Raises:
        ConfigError: a bad space, a study of other settings, or nothing that fits.
        StorageError: the storage cannot be used.
    """
    started = time.monotonic()
    folder = study_folder(config, study_name(config))
    check_writable(folder)
    url = config.search.storage or default_url(folder)
    base = _without_secrets(config, study_name(config))
    space = Space.parse(config.search.space)
    configurations = Configurations(base, space, overrides, compose, flags)
    count = config.search.workers or cores()
    if not is_worker():
        check_processes(count, _WORKER_BYTES)
    configurations.check()
    if not is_worker():
        say(doubt_tails(configurations.dataset(base.data)))
    with storage_errors(url):
        ledger = open_ledger(base, url, definition(base, space, configurations.content))
        shared = count > 1 or config.search.storage is not None
        study = Study(base, configurations, ledger, alone=not shared)
        tuning = Tuning(study)
        if is_worker():
            _work(study, tuning, folder, started)
            return {}
        with workers(count - 1, [*flags, *overrides]):
            _work(study, tuning, folder, started)
        summary = finish(study, tuning, folder, time.monotonic() - started)
        page = folder / "report.html"
        view = study_view(ledger, tuning.results(), summary)
        write_page(view, page)
        if base.logger.name == "wandb":
            from edgesearch.report.wandb_study import log_study

            log_study(base, view, folder)
    if summary["best"] is None:
        raise ConfigError(_nothing(summary))
    say(summary["best"].get("doubts", []), "the best program")
    console = PlainConsole()
    console.print(study_summary(summary))
    console.print(f"report: {page}", soft_wrap=True)
    return summary


def _nothing(summary: dict[str, Any]) -> str:
    if summary["trained"]:
        return "a search needs a program that fits the budget, got none; raise the budget or widen search.space"
    if summary["failed"]:
        return f"a search needs trainings that succeed, got {summary['failed']} that failed; see task=report for why"
    return "a search needs a training that is finished, got none; raise search.timeout, or run the command again"


def export_study(config: Config) -> Record:
    """Export the program of a study that `pick` names, as task=export does a run's.

    Raises:
        ModelFileError: the search has not ended yet.
        ConfigError: no program is that small.
    """
    folder = study_folder(config, str(config.study))
    summary = read_summary(folder)
    if summary is None or summary["best"] is None:
        raise ModelFileError(
            f"study must name a study whose search has ended, got {config.study} without {folder}/study.json; "
            "run its search to the end"
        )
    record = picked(summary, config.pick)
    return export(replace(config, run=str(folder / "programs" / Path(record["folder"]).name)))


def picked(summary: dict[str, Any], pick: str) -> Record:
    """Return the record of the best program, or of the most accurate one of at most so many bytes of flash.

    Raises:
        ConfigError: no program is that small.
    """
    if pick == "best":
        return dict(summary["best"])
    small: list[Record] = [record for record in with_best(summary) if record["flash_bytes"] <= int(pick)]
    if not small:
        least = min(record["flash_bytes"] for record in summary["front"])
        raise ConfigError(f"pick must be at least the smallest program's {least} bytes, got {pick}; set pick={least}")
    small.sort(key=_worth)
    return dict(small[-1])


def _worth(record: Record) -> tuple[float, int]:
    return record[f"val_{metric_of(record)}"]["integer"], -record["flash_bytes"]


def study_folder(config: Config, name: str) -> Path:
    """Return the folder of a study, of its name or given as a folder."""
    if "/" in name:
        return Path(name)
    return Path(config.outputs_dir) / "search" / name


def _without_secrets(config: Config, name: str) -> Config:
    """Run folders keep their configuration: it must not hold the password of a storage. Trials train plainly."""
    logger = replace(config.logger, group=config.logger.group or name)
    task = replace(config.task, name="train")
    return replace(config, task=task, logger=logger, search=replace(config.search, storage=None))


def _work(study: Study, tuning: Tuning, folder: Path, started: float) -> None:
    """Train and tune until the study has enough, or the time is up."""
    search = study.config.search
    end = None if search.timeout is None else started + search.timeout
    share = search.finetune_share if search.finetune else 0.0
    trials_end = None if search.timeout is None else started + (1 - share) * search.timeout
    name, config = study.ledger.study.study_name, study.config
    with SearchProgress(name, search.n_trials, config.progress, config.train.metric) as progress:
        try:
            with contextlib.suppress(Stopped):
                _train(study, folder, progress, Limit(trials_end, dismissed))
        except KeyboardInterrupt:
            counts = study.counts()
            raise KeyboardInterrupt(
                f"{counts.done} of {search.n_trials} trials are done; the same command goes on"
            ) from None
        progress.phase("fine-tuning")
        with contextlib.suppress(Stopped):
            tuning.work(folder, progress.epoch, Limit(end, dismissed))


def _train(study: Study, folder: Path, progress: SearchProgress, limit: Limit) -> None:
    _show(study, progress)
    while (claim := study.claim(limit.reached)) is not None:
        progress.begin(claim.number, claim.proposal.config.train.epochs)
        train_trial(study, claim, folder, progress.epoch, limit)
        _show(study, progress)


def _show(study: Study, progress: SearchProgress) -> None:
    best = max((p.score for _, p in study.fitting()), default=None)
    counts = study.counts()
    progress.study(counts.done, best, counts.infeasible, counts.pruned)
