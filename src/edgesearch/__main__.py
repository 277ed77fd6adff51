"""The command line: `python -m edgesearch KEY=VALUE ...`, or `edgesearch KEY=VALUE ...`."""

import os
import re
import sys
import traceback
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, TextIO

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from edgesearch.atomic import told
from edgesearch.config import Config, typed_config
from edgesearch.config.load import unknown_key
from edgesearch.config.passwords import storages_of, without_passwords
from edgesearch.errors import EdgesearchError, EdgesearchWarning
from edgesearch.plain import one_line, printable

_PACKAGE = Path(__file__).parent
_INSTALLED = _PACKAGE / "conf"
_points: list[tuple[list[str], dict[str, Any]]] = []
CONF = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parents[1] / "conf"


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def _app(tree: DictConfig) -> None:
    try:
        record = _run(typed_config(tree))
        if "sizes" in record:  # (a study's summary is no run)
            _points.append((list(HydraConfig.get().overrides.task), record))
    except (EdgesearchError, OSError) as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise
        _exit(error)


def _run(config: Config) -> dict[str, Any]:
    if config.task.name not in ("search", "report") and config.study is None:
        from edgesearch.pipeline import run_task

        return run_task(config)
    from edgesearch.search.tasks import run_study_task

    job = HydraConfig.get()

    def composed(overrides: Sequence[str]) -> Config:
        return typed_config(hydra.compose(str(job.job.config_name), overrides=list(overrides)))

    return run_study_task(config, list(job.overrides.task), _flags(sys.argv[1:]), composed)


def _flags(arguments: list[str]) -> list[str]:
    """Hydra's flags that say where configurations are, with their values."""
    found = []
    for flag, value in zip(arguments, [*arguments[1:], ""], strict=True):
        name, _, joined = flag.partition("=")
        if name in ("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp"):
            found += [flag] if joined else [flag, value]
    return found


def main() -> None:
    """Run the command; errors made on purpose become one line on standard error and an exit code."""
    warnings.showwarning, sys.excepthook = _show_warning, _show_crash
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal without a name's letters shows them as escapes
    _points.clear()
    if "--version" in sys.argv:
        print(f"edgesearch {version('edgesearch')}")
        return
    if {"-m", "--multirun"} & set(sys.argv) and storages_of(sys.argv):
        _say("a storage is given to one search at a time, as Hydra writes down what -m was given; leave -m out")
        sys.exit(2)
    # Hydra takes overrides in one piece, after its own flags
    sys.argv[1:] = sorted(map(_quoted, sys.argv[1:]), key=lambda argument: argument not in ("-m", "--multirun"))
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        _app()
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        _app()
    except (EdgesearchError, OSError, ValueError, HydraException, OmegaConfBaseException) as error:
        _exit(error)
    except KeyboardInterrupt as interrupt:
        _say(f"interrupted; {str(interrupt) or 'the same command goes on from the last checkpoint'}")
        sys.exit(130)
    finally:
        if len(_points) > 1:
            _compare()


def _quoted(argument: str) -> str:
    """Put quotes around an expression, as function=exp(-x) would be a call in Hydra's grammar."""
    name, given, value = argument.partition("=")
    if name != "function" or not given or re.fullmatch(r"[\w,]*|[\"'].*", value):
        return argument
    return f'function="{value}"'


def _exit(error: Exception) -> NoReturn:
    """End the process with one line for an error a user can act on; raise any other."""
    if isinstance(error, EdgesearchError):
        _say(str(error))
        sys.exit(error.exit_code)
    if isinstance(error, HydraException | OmegaConfBaseException) or _raised_in_hydra(error):
        text = str(error).partition("Config search path:")[0]
        _say(unknown_key(text.split("'")[1]) if "Could not override '" in text else text)
        sys.exit(2)
    if isinstance(error, BrokenPipeError):  # the reader of our output has gone, as in `edgesearch --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    if isinstance(error, OSError):
        _say(told(error))
        sys.exit(1)
    raise error


def _raised_in_hydra(error: Exception) -> bool:
    """Tell whether Hydra itself rejected an override with a plain ValueError, as it does for cell=null."""
    frames = traceback.extract_tb(error.__traceback__)
    return isinstance(error, ValueError) and Path(hydra.__file__).parent in Path(frames[-1].filename).parents


def _say(message: str) -> None:
    print(f"edgesearch: {one_line(message, storages_of(sys.argv))}", file=sys.stderr)


def _compare() -> None:
    """Print one line a sweep point, for points run in this process."""
    from edgesearch.report.console import PlainConsole
    from edgesearch.report.tables import comparison

    PlainConsole().print(comparison(_points))


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
        _say(f"warning: {message}")
    else:
        _print_foreign(warnings.formatwarning(message, category, filename, lineno))


def _show_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print what nobody expected as Python would, without the passwords of the command."""
    _print_foreign("".join(traceback.format_exception(kind, error, trace)))


def _print_foreign(text: str) -> None:
    print(printable(without_passwords(text, storages_of(sys.argv)), keep="\n\t"), file=sys.stderr, end="")


if __name__ == "__main__":
    main()
