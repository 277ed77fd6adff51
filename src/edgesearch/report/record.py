"""record.json and study.json: everything downstream reads about a run and about a search, checked when it is read."""

import json
from pathlib import Path
from typing import Any

from edgesearch.atomic import write_text
from edgesearch.config.schema import METRICS
from edgesearch.errors import ModelFileError
from edgesearch.report.shape import (
    COUNT,
    NUMBER,
    SHARE,
    TEXT,
    WHOLE,
    YES_OR_NO,
    Kind,
    Shape,
    fault,
    one_of,
)
from edgesearch.untrusted.files import DamagedError
from edgesearch.untrusted.text import read_json

Record = dict[str, Any]
NAME = "record.json"
SUMMARY = "study.json"
_LEVELS = {"float": SHARE, "*": SHARE}  # by the arithmetic that gave the answers
_SIZE = {"flash_bytes": WHOLE, "ram_bytes": WHOLE}
_FINISHED: Shape = {
    "status": TEXT,
    "cell": TEXT,
    "data": {
        "name": TEXT,
        "variant": (TEXT, None),
        "subset_of": (TEXT, None),
        "class_names": [TEXT],
        "rows": {"train": COUNT, "validation": COUNT, "test": COUNT},
        "content?": (TEXT, None),
    },
    "config": {"train": {"metric?": one_of(*METRICS)}},
    "versions": {"edgesearch": TEXT},
    "val_accuracy": _LEVELS,
    "test_accuracy": _LEVELS,
    **{f"{part}_{metric}?": _LEVELS for part in ("val", "test") for metric in METRICS if metric != "accuracy"},
    "majority_share?": SHARE,
    "per_class_accuracy": [(SHARE, None)],
    "per_class_precision?": [(SHARE, None)],
    "confusion": [[WHOLE]],
    "epoch": WHOLE,
    "epochs": WHOLE,
    "parameters": WHOLE,
    "nonzeros": WHOLE,
    "flash_bytes": WHOLE,
    "ram_bytes": WHOLE,
    "macs": WHOLE,
    "sizes": {"float32": _SIZE, "*": _SIZE},
    "edgeml_bytes": WHOLE,
    "seed": WHOLE,
    "config_hash": TEXT,
    "overflows?": ({"*": WHOLE}, None),
    "formats?": {"*": TEXT},
    "encodings?": {"*": TEXT},
    "saturations?": {"*": [WHOLE]},
    "doubts?": [TEXT],
    "variants?": [TEXT],
    "lost?": ({"points": NUMBER, "explained": NUMBER, "kind": TEXT, "value": TEXT, "try": TEXT}, None),
    "before?": {"test_accuracy?": {"*": SHARE}},
    "program_sha256?": TEXT,
}
_FOLDER = Kind("the path of a folder", lambda v: isinstance(v, str) and _is_path(v))
_PROGRAM: Shape = {
    "folder": _FOLDER,
    "trial": WHOLE,
    "tuned": YES_OR_NO,
    "weight_bits": COUNT,
    "activation_bits": COUNT,
    "command": [TEXT],
    "formats": {"*": TEXT},
    "encodings": {"*": TEXT},
    "saturations": {"*": [WHOLE]},
}
_SEARCHED: Shape = {
    "study": TEXT,
    "best": ({}, None),
    "front": [{}],
    "seconds": NUMBER,
    **dict.fromkeys(("trained", "infeasible", "repeated", "pruned", "failed"), WHOLE),
}


def _is_path(text: str) -> bool:
    """Tell whether the system takes a text for a path, whose last part becomes one of ours."""
    return "\0" not in text and len(text) <= 4096 and len(Path(text).name.encode(errors="replace")) < 256


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
    path, remedy = folder / NAME, "delete it and run the command again"
    record = _read(path, remedy)
    if record is None:
        return None
    if not isinstance(record, dict) or not isinstance(record.get("status"), str):
        raise ModelFileError(f"{path} is not a run record; {remedy}")
    found = _fault(record) if record["status"] == "finished" else None
    if found:
        raise ModelFileError(f"{path} is not a run record of this version: {found}; train the run again")
    return record


def read_summary(folder: Path) -> Record | None:
    """Return study.json of a study's folder, None where there is none.

    Raises:
        ModelFileError: it is damaged.
    """
    path, remedy = folder / SUMMARY, "delete it and run the search again"
    summary = _read(path, remedy)
    if summary is None:
        return None
    found = fault(summary, _SEARCHED)
    if found is None:
        records = [*summary["front"], *([summary["best"]] if summary["best"] is not None else [])]
        found = next((f for record in records if (f := _fault(record) or _fault_of_program(record))), None)
    if found:
        raise ModelFileError(f"{path} is not the summary of a search: {found}; {remedy}")
    return dict(summary)


def _read(path: Path, remedy: str) -> Any | None:
    """What a JSON file holds, None where there is none."""
    try:
        found = read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except DamagedError as error:
        raise ModelFileError(f"{path} is not JSON of a size that is read: {error}; {remedy}") from error
    if found is None:
        raise ModelFileError(f"{path} is not to be null; {remedy}")
    return found


def _fault(record: Any) -> str | None:
    """What is wrong with the record of a finished run: its parts, then how they fit together."""
    found = fault(record, _FINISHED)
    if found:
        return found
    classes = len(record["data"]["class_names"])
    if len(record["confusion"]) != classes or any(len(row) != classes for row in record["confusion"]):
        return f"confusion must have a row and a column for each of {classes} classes"
    for name in ("per_class_accuracy", "per_class_precision"):
        if len(record.get(name, record["per_class_accuracy"])) != classes:
            return f"{name} must have {classes} values"
    metric = metric_of(record)
    levels = ("float", *(["integer"] if "program_sha256" in record else []))
    for name in (f"val_{metric}", "test_accuracy"):
        missing = [level for level in levels if level not in record.get(name, {})]
        if missing:
            return f"{name}.{missing[0]} is missing"
    return None


def _fault_of_program(record: Record) -> str | None:
    """What is wrong with the record of a program of a study beyond that."""
    found = fault(record, _PROGRAM)
    if found:
        return found
    metric = metric_of(record)
    wanted = (f"val_{metric}", f"test_{metric}", "val_accuracy", "test_accuracy")
    return next((f"{name}.integer is missing" for name in wanted if "integer" not in record.get(name, {})), None)
