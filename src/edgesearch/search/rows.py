"""What the rows of a study must hold: a database may come from a stranger, or be damaged."""

import math
import re
from collections.abc import Callable
from typing import Any, TypeVar

from optuna.exceptions import OptunaError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from edgesearch.config import BudgetConfig
from edgesearch.config.schema import METRICS
from edgesearch.errors import EdgesearchError, ModelFileError
from edgesearch.report.shape import COUNT, NUMBER, PLAIN, SHARE, TEXT, WHOLE, YES_OR_NO, Kind, Shape, fault, one_of

T = TypeVar("T")
_REMEDY = "name another study, or get the storage again"
_KEY_OF_TUNING = re.compile(r"\d{1,9} \d{1,2} \d{1,2} \d{1,9} \d[\d.]{0,20}(e[+-]?\d{1,2})?", re.ASCII)
_TUNING = Kind(
    "a trial, two widths, epochs and a rate",
    lambda v: isinstance(v, str) and _KEY_OF_TUNING.fullmatch(v) is not None and v.count(".") <= 1,
)
_USER: Shape = {
    "owner?": TEXT, "kind?": TEXT, "dropped?": YES_OR_NO, "reason?": TEXT, "identity?": TEXT, "confirmed?": YES_OR_NO,
    "program?": _TUNING, "repeats?": WHOLE,
}  # fmt: skip
_SYSTEM: Shape = {"edgesearch:retried?": WHOLE, "edgesearch:weights?": TEXT, "fixed_params?": {"*": PLAIN}}
_POINT: Shape = {
    "weight_bits": COUNT, "activation_bits": COUNT, "flash_bytes": COUNT, "ram_bytes": WHOLE, "macs": WHOLE,
    "val_accuracy": SHARE, "val_loss": NUMBER, "tuned?": YES_OR_NO, "val_score?": (SHARE, None),
}  # fmt: skip
_RESULT: Shape = {
    "identity": Kind("a digest", lambda v: isinstance(v, str) and re.fullmatch(r"[0-9a-f]{1,64}", v) is not None),
    "points": [_POINT],
    "float_accuracy": SHARE,
    "epoch": WHOLE,
    "curve": [[PLAIN]],
    "seconds": NUMBER,
    "formats": {"*": TEXT},
    "overflows": ({"*": WHOLE}, None),
    "ran?": ({"device": TEXT, "backend": TEXT, "backend_problem": (TEXT, None)}, None),
}
_PHASES = one_of("dense", "iht", "retrain", "quantized")
_LIMIT = (WHOLE, None)
_DEFINITION: Shape = {
    "search.objective": one_of("accuracy", "pareto"),
    "data.name": TEXT,
    "cell.name?": TEXT,
    "train.metric?": one_of(*METRICS),
    "budget.name": TEXT,
    **{f"budget.{name}?": _LIMIT for name in ("flash_bytes", "ram_bytes", "macs")},
    **{f"budget.firmware_{name}?": WHOLE for name in ("flash_bytes", "ram_bytes")},
}


def damaged(what: str, why: object) -> ModelFileError:
    """Return the error for rows that are none of ours."""
    return ModelFileError(f"{what} must hold what edgesearch wrote, got other rows: {why}; {_REMEDY}")


def read(operation: Callable[[], T], place: str) -> T:
    """Return what a reading operation of Optuna returns, whose parsers raise whatever they stumble on.

    Raises:
        ModelFileError: it holds what Optuna cannot have written.
        OptunaError, SQLAlchemyError, KeyError: as it raises them; the last one where there is no such study or trial.
    """
    try:
        found = operation()
    except (OptunaError, SQLAlchemyError, EdgesearchError):
        raise
    except Exception as error:
        if (isinstance(error, KeyError) and "Record does not exist" in str(error)) or isinstance(error, OSError):
            raise
        raise damaged(place, f"{type(error).__name__} {str(error)[:100]}".strip()) from error
    for item in found if isinstance(found, list) else [found]:
        if isinstance(item, FrozenTrial) and (why := _unsortable(item)):
            raise damaged(place, why)
    return found


def _unsortable(trial: FrozenTrial) -> str | None:
    """Tell what a trial is found by, if it has not the type: SQLite keeps anything in any column."""
    if type(trial.number) is not int or trial.number < 0:
        return f"a trial that is numbered {trial.number!r}"
    names = [name for name in (*trial.params, *trial.user_attrs, *trial.system_attrs) if not isinstance(name, str)]
    return f"a part of trial {trial.number} that is named {names[0]!r}" if names else None


def check_definition(name: str, definition: Any) -> dict[str, Any]:
    """Return what a study was begun with.

    Raises:
        ModelFileError: it is none.
    """
    found = fault(definition, _DEFINITION)
    if found is None:
        known = {f"budget.{item}" for item in BudgetConfig.__dataclass_fields__}
        unknown = [key for key in definition if key.startswith("budget.") and key not in known]
        found = f"{unknown[0]} is no limit" if unknown else None
    if found:
        raise damaged(f"the study {name}", found)
    return dict(definition)


def check_trial(trial: FrozenTrial, objectives: int) -> None:
    """Hold a trial to what every part of a search takes for granted.

    Raises:
        ModelFileError: it is none of ours.
    """
    found = (
        fault(trial.user_attrs, _USER)
        or fault(trial.system_attrs, _SYSTEM)
        or fault(trial.params, {"*": PLAIN})
        or _fault_of_numbers(trial, objectives)
    )
    if found:
        raise damaged(f"trial {trial.number} of the study", found)


def _fault_of_numbers(trial: FrozenTrial, objectives: int) -> str | None:
    for name, value in trial.params.items():
        if isinstance(value, float) and not math.isfinite(value):
            return f"{name} must be finite, got {value}"
    for key, value in trial.system_attrs.items():
        if key.startswith("constraints") and (found := fault(value if isinstance(value, list) else [value], [NUMBER])):
            return f"constraints: {found}"
    if trial.state == TrialState.COMPLETE and (len(trial.values or ()) != objectives or fault(trial.values, [NUMBER])):
        return f"it must have {objectives} finite values, got {trial.values}"
    if trial.datetime_start is None and trial.state != TrialState.WAITING:
        return "it must have begun"
    return None


def check_result(trial: FrozenTrial, result: Any) -> dict[str, Any]:
    """Return what a training left to read.

    Raises:
        ModelFileError: it is no such result.
    """
    found = fault(result, _RESULT, "result")
    if found is None:
        extra = [key for key in result if key not in _RESULT and f"{key}?" not in _RESULT]
        points = [key for point in result["points"] for key in point if key not in _POINT and f"{key}?" not in _POINT]
        rows = [row for row in result["curve"] if len(row) != 3 or fault(row[0], _PHASES) or fault(row[1:], [NUMBER])]
        if extra or points:
            found = f"{(extra or points)[0]} is unknown"
        elif rows:
            found = f"a row of a curve must be a phase and two numbers, got {str(rows[0])[:40]}"
        elif not result["points"]:
            found = "it must have a program"
    if found:
        raise damaged(f"trial {trial.number} of the study", found)
    return dict(result)
