"""The command line: `python -m edgesearch KEY=VALUE ...`, or `edgesearch KEY=VALUE ...`."""

import os
import sys
import warnings
from pathlib import Path
from typing import Any, TextIO

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from edgesearch.config import typed_config
from edgesearch.config.load import unknown_key
from edgesearch.errors import EdgesearchError, EdgesearchWarning

_PACKAGE = Path(__file__).parent
_INSTALLED = _PACKAGE / "conf"
_points: list[tuple[list[str], dict[str, Any]]] = []
CONF = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parents[1] / "conf"


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def _app(tree: DictConfig) -> None:
    from edgesearch.pipeline import run_task

    try:
        record = run_task(typed_config(tree))
        _points.append((list(HydraConfig.get().overrides.task), record))
    except EdgesearchError as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise
        sys.exit(_complain(str(error), error.exit_code))


def main() -> None:
    """Run the command; errors made on purpose become one line on standard error and an exit code."""
    warnings.showwarning = _show_warning
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        _app()
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        _app()
        if len(_points) > 1:
            _compare()
    except EdgesearchError as error:
        sys.exit(_complain(str(error), error.exit_code))
    except (HydraException, OmegaConfBaseException) as error:
        sys.exit(_complain(_composition_error(error), 2))
    except KeyboardInterrupt:
        sys.exit(_complain("interrupted; the same command goes on from the last checkpoint", 130))


def _compare() -> None:
    """Print one line a sweep point, for points run in this process."""
    from rich.console import Console

    from edgesearch.report.tables import comparison

    Console().print(comparison(_points))


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print warnings made on purpose as one line; others, of libraries, as Python would."""
    if issubclass(category, EdgesearchWarning):
        _complain(f"warning: {message}", 0)
    else:
        print(warnings.formatwarning(message, category, filename, lineno), file=sys.stderr, end="")


def _complain(message: str, code: int) -> int:
    print(f"edgesearch: {' '.join(message.split())}", file=sys.stderr)
    return code


def _composition_error(error: Exception) -> str:
    """Return Hydra's message on one line, with the nearest known key where an override names an unknown one."""
    text = str(error)
    if "Could not override '" in text:
        return unknown_key(text.split("'")[1])
    return text


if __name__ == "__main__":
    main()
