"""record.json: everything downstream reads about a run."""

import json
from pathlib import Path
from typing import Any

from edgesearch.atomic import write_text
from edgesearch.errors import ModelFileError

Record = dict[str, Any]
NAME = "record.json"
_FINISHED = (
    "cell", "data", "val_accuracy", "test_accuracy", "confusion", "epoch", "epochs", "parameters", "nonzeros",
    "flash_bytes", "ram_bytes", "macs", "sizes", "edgeml_bytes", "seed", "config_hash",
)  # fmt: skip


def write_record(folder: Path, record: Record) -> None:
    """Write record.json, complete and on the disk, or not at all."""
    write_text(folder / NAME, json.dumps(record, indent=1, allow_nan=False) + "\n")


def metric_of(record: Record) -> str:
    """Return the metric that decided on validation data; version 0.1 knew the accuracy alone."""
    return str(record["config"]["train"].get("metric", "accuracy"))


def read_record(folder: Path) -> Record | None:
    """Return the record of a run folder, or None where there is none yet.

    Raises:
        ModelFileError: the file is not a record.
    """
    path = folder / NAME
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise ModelFileError(f"{path} is not JSON ({error}); delete it and run the command again") from error
    if not isinstance(record, dict) or "status" not in record:
        raise ModelFileError(f"{path} is not a run record; delete it and run the command again")
    missing = [key for key in _FINISHED if key not in record] if record["status"] == "finished" else []
    if missing:
        raise ModelFileError(f"{path} is not a run record of this version, it lacks {missing[0]}; train the run again")
    return record
