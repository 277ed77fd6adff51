"""Exceptions that a user's own command can cause, as one line and an exit code."""

import difflib
import errno
import re
import traceback
from collections.abc import Sequence
from pathlib import Path

import hydra
import yaml
from hydra.errors import HydraException, MissingConfigException
from omegaconf.errors import OmegaConfBaseException

from edgesearch.atomic import told
from edgesearch.config.load import unknown_key
from edgesearch.errors import EdgesearchError

_PARSERS = tuple(Path(hydra.__path__[0]).parent / package for package in ("hydra", "omegaconf", "antlr4"))
_PLACES = (
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP,
    errno.EEXIST, errno.EINVAL,
)  # fmt: skip
_OURS = Path(__file__).parents[1]


def message_of(error: BaseException, arguments: Sequence[str], conf: Path) -> tuple[str, int] | None:
    """Return the line and the exit code for an error that a user can act on; None for any other.

    Args:
        error: what was raised.
        arguments: the command's.
        conf: the folder of the groups, for hints.
    """
    if isinstance(error, EdgesearchError):
        return str(error), error.exit_code
    if isinstance(error, MissingConfigException):
        return _without_search_path(error) + _option_hint(error, conf), 2
    if isinstance(error, yaml.YAMLError | UnicodeDecodeError | RecursionError) and _inside_hydra(error):
        reason = " ".join(str(error).split())[:200]
        return f"a file of --config-dir must be plain YAML in UTF-8, got another one ({reason}); repair it", 2
    if isinstance(error, HydraException | OmegaConfBaseException) or _raised_by_parsers(error):
        return _hydra_message(error, arguments), 2
    if isinstance(error, OSError):
        return told(error), 2 if error.errno in _PLACES else 1
    return None


def near(wanted: str, names: Sequence[str]) -> list[str]:
    """Return up to two names that are meant by `wanted`: the same but for case and signs, or a few letters away."""
    plain = {re.sub(r"[\W_]", "", name.lower()): name for name in names}
    text = re.sub(r"[\W_]", "", wanted.lower())
    if text in plain:
        return [plain[text]]
    close = difflib.get_close_matches(text, plain, n=2, cutoff=0.6)
    within = [name for name in plain if len(name) > 2 and (name in text or text in name)] if len(text) > 2 else []
    return [plain[name] for name in dict.fromkeys((*close, *within))][:2]


def _option_hint(error: MissingConfigException, conf: Path) -> str:
    group, _, wanted = str(error.missing_cfg_file or "").rpartition("/")
    if not group or not error.options:
        return ""
    described = [
        path.stem
        for path in sorted((conf / group).glob("*.yaml"))
        if len(wanted) > 2 and wanted.lower() in _opening(path).lower()
    ]
    meant = near(wanted, list(error.options)) or described[:2]
    return f"; did you mean {' or '.join(f'{group}={name}' for name in meant)}?" if meant else ""


def _opening(path: Path) -> str:
    """The comment that a file begins with."""
    with path.open(encoding="utf-8") as lines:
        first = next(lines, "")
        return first if first.startswith("#") else ""


def _hydra_message(error: BaseException, arguments: Sequence[str]) -> str:
    text = _without_search_path(error)
    if "Could not override '" in text:
        key = text.split("'")[1]
        values = dict(argument.lstrip("+~").partition("=")[::2] for argument in arguments)
        return unknown_key(key, values.get(key))
    if isinstance(error, HydraException | OmegaConfBaseException):
        return text.partition(" See https://hydra.cc")[0]
    found = f"{type(error).__name__}{f': {text}' if text else ''}"
    return f"Hydra cannot use these arguments ({found}); check those that begin with hydra., and the quotes"


def _without_search_path(error: BaseException) -> str:
    return " ".join(str(error).partition("Config search path:")[0].split())


def _inside_hydra(error: BaseException) -> bool:
    """Whether nothing of ours but the command line was at work."""
    files = [Path(frame.filename) for frame in traceback.extract_tb(error.__traceback__)]
    ours = [path for path in files if _OURS in path.parents and path.name != "__main__.py"]
    return not ours and any(_PARSERS[0] in path.parents for path in files)


def _raised_by_parsers(error: BaseException) -> bool:
    """Whether Hydra rejected an argument with an exception of another kind, as it does for cell=null."""
    if not isinstance(error, ValueError | TypeError | AttributeError | LookupError | AssertionError | RecursionError):
        return False
    files = [Path(frame.filename) for frame in traceback.extract_tb(error.__traceback__)]
    inside = [path for path in files if _OURS in path.parents and path.name != "__main__.py"]
    return not inside and any(package in files[-1].parents for package in _PARSERS)
