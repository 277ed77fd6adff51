"""The command line: `python -m edgesearch KEY=VALUE ...`, or `edgesearch KEY=VALUE ...`."""

import contextlib
import io
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, TextIO

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from edgesearch.command.arguments import by_key, is_sweep, prepared, where_configs_are
from edgesearch.command.mistakes import message_of
from edgesearch.config import Config, typed_config
from edgesearch.config.passwords import storages_of, without_passwords
from edgesearch.config.taken import unread
from edgesearch.errors import EdgesearchError, EdgesearchWarning
from edgesearch.plain import one_line, printable

_PACKAGE = Path(__file__).parent
_INSTALLED = _PACKAGE / "conf"
CONF = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parents[1] / "conf"
_SHOWN = 8  # failed points whose messages are given


@dataclass
class _Sweep:
    """The points that were run in the process `pid`: their overrides, and their records or what failed.

    `points` are runs, which can be compared; `done` are all that ended well, tables of task=approximate among them.
    """

    pid: int = 0
    ran: bool = False
    done: list[list[str]] = field(default_factory=list)
    points: list[tuple[list[str], dict[str, Any]]] = field(default_factory=list)
    failures: list[tuple[list[str], Exception]] = field(default_factory=list)

    def begin(self) -> None:
        """Forget what was before."""
        self.pid, self.ran = os.getpid(), False
        self.done.clear()
        self.points.clear()
        self.failures.clear()


_sweep = _Sweep()


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def _app(tree: DictConfig) -> None:
    given = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    overrides = [str(text) for text in given or ()]
    _sweep.ran = True
    try:
        record = _run(typed_config(tree), overrides)
        _sweep.done.append(overrides)
        if "sizes" in record:  # (a study's summary is no run)
            _sweep.points.append((overrides, record))
    except BrokenPipeError:
        raise
    except (EdgesearchError, OSError) as error:
        if _sweep.pid != os.getpid():  # (a launcher of processes)
            raise
        _sweep.failures.append((overrides, error))


def _run(config: Config, overrides: list[str]) -> dict[str, Any]:
    for doubt in unread(config.task.name, by_key(overrides)):
        warnings.warn(doubt, EdgesearchWarning, stacklevel=2)
    if config.task.name not in ("search", "report") and config.study is None:
        from edgesearch.pipeline import run_task

        return run_task(config)
    from edgesearch.search.tasks import run_study_task

    name = str(HydraConfig.get().job.config_name)

    def composed(overrides: Sequence[str]) -> Config:
        return typed_config(hydra.compose(name, overrides=list(overrides)))

    return run_study_task(config, overrides, where_configs_are(sys.argv[1:]), composed)


def main() -> None:
    """Run the command; errors made on purpose become one line on standard error and an exit code."""
    _prepare_output()
    _sweep.begin()
    whole = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing
    try:
        if "--version" in sys.argv:
            print(f"edgesearch {version('edgesearch')}", flush=True)
            return
        sys.argv[1:] = prepared(sys.argv[1:])
        with _hydra_exits():
            _app()
    except KeyboardInterrupt as interrupt:
        _say(f"interrupted; {str(interrupt) or 'the same command goes on with what is finished'}")
        sys.exit(130)
    except Exception as error:
        if whole == "1":
            raise
        if isinstance(error, BrokenPipeError):  # the reader of our output has gone, as in `edgesearch --help | head`
            _drop_output()
            sys.exit(1)
        message = message_of(error, sys.argv[1:], CONF)
        if message is None:
            raise
        _end(*message)
    finally:
        os.environ.pop("HYDRA_FULL_ERROR") if whole is None else os.environ.update(HYDRA_FULL_ERROR=whole)
        if len(_sweep.points) > 1:
            _compare()
    if _sweep.failures:
        _end(*_failed_points())
    if is_sweep(sys.argv[1:]) and not _sweep.ran:
        _end("a sweep must have points, got none; see the values that its choices stand for", 2)


def _prepare_output() -> None:
    warnings.showwarning, sys.excepthook = _show_warning, _show_crash
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # what is open is closed, as at Ctrl-C
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal without a name's letters shows them as escapes


@contextlib.contextmanager
def _hydra_exits() -> Iterator[None]:
    """What Hydra writes before it ends the process itself, as --cfg makes it, is a line of ours with our exit code."""
    if not {"--cfg", "-c"} & {argument.partition("=")[0] for argument in sys.argv[1:]}:
        yield
        return
    written = io.StringIO()
    try:
        with contextlib.redirect_stderr(written):
            yield
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        _end(written.getvalue(), 2)


def _failed_points() -> tuple[str, int]:
    """Return a line that names every failed point of the sweep, and the exit code."""
    failures = _sweep.failures
    every = [set(overrides) for overrides in (*(overrides for overrides, _ in failures), *_sweep.done)]
    common = set.intersection(*every)
    names = [" ".join(o for o in overrides if o not in common) or " ".join(overrides) for overrides, _ in failures]
    told = [message_of(error, sys.argv[1:], CONF) or (str(error), 1) for _, error in failures]
    if len(every) == 1:
        return told[0]
    shown = [f"{name}: {text}" for name, (text, _) in zip(names, told, strict=True)][:_SHOWN]
    more = [f"and {', '.join(names[_SHOWN:])}"] if len(names) > _SHOWN else []
    return f"{len(failures)} of {len(every)} points failed: {' | '.join(shown + more)}", max(code for _, code in told)


def _drop_output() -> None:
    """Have what standard output can no longer take go nowhere, so that Python does not fail once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _end(message: str, code: int) -> NoReturn:
    _say(message)
    try:
        sys.stdout.flush()
    except OSError:  # (a full disk, which the message is about)
        _drop_output()
    sys.exit(code)


def _say(message: str) -> None:
    print(f"edgesearch: {one_line(message, storages_of(sys.argv))}", file=sys.stderr)


def _compare() -> None:
    """Print one line a sweep point, for points run in this process."""
    from edgesearch.report.console import PlainConsole
    from edgesearch.report.tables import comparison

    PlainConsole().print(comparison(_sweep.points))


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
