"""Weights & Biases: the only module that imports wandb. Offline unless asked, and offline when the server is away."""

import sys
import urllib.error
import urllib.request
import warnings
from itertools import chain
from pathlib import Path
from typing import Any

import wandb

from edgesearch.config import Config, identity
from edgesearch.config.passwords import storages_of
from edgesearch.errors import ConfigError, EdgesearchWarning
from edgesearch.report.record import Record

PROBE_SECONDS = 3.0
INIT_SECONDS = 7.0
FINISH_SECONDS = 9.0


class WandbLogger:
    """One W&B run: config, curves by epoch, confusion matrix and size table.

    A server that does not answer costs at most `PROBE_SECONDS` + `INIT_SECONDS` at the start and `FINISH_SECONDS` at
    the end; the run's data is then complete in the folder and `wandb sync` uploads it.
    """

    def __init__(self, config: Config, folder: Path) -> None:
        self._run = open_run(config, folder, name=folder.name, job_type=config.task.name)

    def epoch(self, row: dict[str, Any]) -> None:
        """Log the row at its epoch."""
        self._run.log({name: value for name, value in row.items() if name != "epoch"}, step=row["epoch"])

    def finish(self, record: Record | None) -> None:
        """Log the record and close the run; a failed training closes it as failed.

        A trial of a search has no record of its own yet: what there is of it goes to the summary.
        """
        if record is not None and "confusion" in record:
            self._log_record(record)
        elif record is not None:
            self._run.summary.update(record)
        self._run.finish(exit_code=0 if record is not None else 1)

    def _log_record(self, record: Record) -> None:
        names = record["data"]["class_names"]
        pairs = [(t, p, n) for t, row in enumerate(record["confusion"]) for p, n in enumerate(row)]
        sizes = wandb.Table(
            columns=["level", "flash_bytes", "ram_bytes"],
            data=[[level, size["flash_bytes"], size["ram_bytes"]] for level, size in record["sizes"].items()],
        )
        matrix = wandb.plot.confusion_matrix(
            y_true=list(chain.from_iterable([t] * n for t, _, n in pairs)),
            preds=list(chain.from_iterable([p] * n for _, p, n in pairs)),
            class_names=list(names),
        )
        self._run.log({"confusion": matrix, "sizes": sizes})
        keys = ("epoch", "nonzeros", "parameters", "flash_bytes", "ram_bytes", "macs", "val_accuracy", "test_accuracy")
        self._run.summary.update({key: record[key] for key in keys})


def open_run(config: Config, folder: Path, *, name: str, job_type: str) -> wandb.Run:
    """Begin a run as `config.logger` says.

    Raises:
        ConfigError: W&B does not accept the settings.
    """
    settings = config.logger
    options: dict[str, Any] = {
        "project": settings.project,
        "entity": settings.entity,
        "group": settings.group or f"{config.data.name}-{config.cell.name}",
        "job_type": job_type,
        "tags": settings.tags,
        "name": name,
        "config": identity(config),
        "dir": str(folder),
        "reinit": "create_new",
    }
    try:
        return _online(options) if settings.mode == "online" else _offline(options)
    except (wandb.Error, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"W&B must accept the settings of logger, got: {reason}; see logger.project and tags"
        ) from error


def _offline(options: dict[str, Any]) -> wandb.Run:
    return wandb.init(mode="offline", settings=wandb.Settings(silent=True, x_disable_meta=_secret()), **options)


def _secret() -> bool:
    """Tell whether the command line, which W&B keeps with a run, may hold a password."""
    return bool(storages_of(sys.argv))


def _online(options: dict[str, Any]) -> wandb.Run:
    settings = wandb.Settings(
        silent=True,
        x_disable_meta=_secret(),
        init_timeout=INIT_SECONDS,
        login_timeout=INIT_SECONDS,
        finish_timeout=FINISH_SECONDS,
    )
    url = wandb.setup().settings.base_url
    reason = _unreachable(url)
    if reason is None:
        try:
            return wandb.init(mode="online", id=options["name"], resume="allow", settings=settings, **options)
        except (wandb.Error, TimeoutError) as error:
            reason = str(error)
    warnings.warn(
        f"the W&B server {url} cannot be used ({' '.join(reason.split())}); logging offline to {options['dir']}/wandb, "
        "upload it later with `wandb sync`",
        EdgesearchWarning,
        stacklevel=2,
    )
    return _offline(options)


def _unreachable(url: str) -> str | None:
    """Return why nothing answers at `url`, or None; any HTTP answer counts as life."""
    try:
        with urllib.request.urlopen(url, timeout=PROBE_SECONDS):  # noqa: S310  (the user's own server)
            return None
    except urllib.error.HTTPError:
        return None
    except OSError as error:
        return str(error)
