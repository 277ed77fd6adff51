"""Where a run's rows go while it trains: metrics.csv, and Weights & Biases or TensorBoard where asked for."""

import csv
from pathlib import Path
from typing import Any, Protocol

from edgesearch.atomic import check_no_link, open_own
from edgesearch.config import Config
from edgesearch.report.record import Record

Row = dict[str, Any]


class MetricLogger(Protocol):
    """Receives the config at the start, a row an epoch, the record at the end."""

    def epoch(self, row: Row) -> None:
        """Take the row of one epoch."""

    def finish(self, record: Record | None) -> None:
        """Close; the record is None where training failed."""


class CsvLogger:
    """metrics.csv: one line an epoch, written at once. A resumed run writes its earlier rows again first."""

    def __init__(self, path: Path) -> None:
        self._file = open_own(path, empty=True)
        self._writer: csv.DictWriter[str] | None = None

    def epoch(self, row: Row) -> None:
        """Append the row."""
        if self._writer is None:
            self._writer = csv.DictWriter(self._file, fieldnames=list(row))
            self._writer.writeheader()
        self._writer.writerow(row)
        self._file.flush()

    def finish(self, record: Record | None) -> None:
        """Close the file."""
        self._file.close()


def open_loggers(config: Config, folder: Path) -> list[MetricLogger]:
    """Return the loggers of `logger.name`; every one but `none` includes metrics.csv."""
    if config.logger.name == "none":
        return []
    for name in ("tensorboard", "wandb"):
        check_no_link(folder, folder / name)
    loggers: list[MetricLogger] = [CsvLogger(folder / "metrics.csv")]
    if config.logger.name == "wandb":
        from edgesearch.report.wandb_logger import WandbLogger

        loggers.append(WandbLogger(config, folder))
    elif config.logger.name == "tensorboard":
        from edgesearch.report.tensorboard_logger import TensorBoardLogger

        loggers.append(TensorBoardLogger(folder))
    return loggers
