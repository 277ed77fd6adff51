"""TensorBoard event files in the run's folder (extra `tensorboard`)."""

import shutil
from pathlib import Path
from typing import Any

from edgesearch.errors import ConfigError
from edgesearch.report.record import Record


class TensorBoardLogger:
    """Scalars by epoch.

    Raises:
        ConfigError: tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ConfigError(
                "logger=tensorboard needs the package tensorboard; run pip install 'edgesearch[tensorboard]'"
            ) from error
        shutil.rmtree(folder / "tensorboard", ignore_errors=True)  # a resumed run writes its earlier rows again
        self._writer: Any = SummaryWriter(str(folder / "tensorboard"))

    def epoch(self, row: dict[str, Any]) -> None:
        """Write the row's numbers."""
        for name, value in row.items():
            if name != "epoch" and not isinstance(value, str):
                self._writer.add_scalar(name, value, row["epoch"])

    def finish(self, record: Record | None) -> None:
        """Flush and close."""
        self._writer.close()
