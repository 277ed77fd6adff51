"""The command's arguments before Hydra sees them: text that can be handled, flags that exist, sweeps that end."""

import argparse
import contextlib
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import yaml
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from edgesearch.config.passwords import storages_of
from edgesearch.errors import ConfigError
from edgesearch.search.sweeps import sweep_length
from edgesearch.untrusted.files import DamagedError
from edgesearch.untrusted.text import check_aliases

POINTS = 10_000  # of a sweep
_FILES = 1000  # of a folder of configurations
_LONGEST, _DEEPEST = 20_000, 40  # characters and brackets of an argument
_MULTIRUN = ("-m", "--multirun")
_CONFIG_FLAGS = ("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp")


def prepared(arguments: Sequence[str]) -> list[str]:
    """Return the arguments as Hydra takes them.

    Raises:
        ConfigError: an argument that nothing can be made of, an unknown flag, a sweep of too many points.
    """
    for argument in arguments:
        _check_text(argument)
    # Hydra takes overrides in one piece, after its own flags
    ordered = sorted(map(_quoted, arguments), key=lambda argument: argument not in _MULTIRUN)
    flags = _flags(ordered)
    _check_files(flags.config_dir)
    if flags.experimental_rerun is not None:
        raise ConfigError("--experimental-rerun is not supported, got it; give the run's overrides again")
    if flags.cfg is None:
        for name, given in (("--resolve", flags.resolve), ("--package", flags.package)):
            if given and not flags.help:
                raise ConfigError(f"{name} goes with --cfg, got it alone; add --cfg job")
    if flags.multirun or any(override.startswith("hydra.mode=") for override in flags.overrides):
        _check_sweep(flags.overrides)
        if storages_of(flags.overrides):
            raise ConfigError(
                "a storage is given to one search at a time, as Hydra writes down what -m was given; leave -m out"
            )
    return ordered


def is_sweep(arguments: Sequence[str]) -> bool:
    """Tell whether these make a sweep of Hydra's, all of whose points are run by this process."""
    return bool(set(_MULTIRUN) & set(arguments)) and not any("hydra/launcher=" in argument for argument in arguments)


def where_configs_are(arguments: Sequence[str]) -> list[str]:
    """Return Hydra's flags that say where configurations are, with their values."""
    found = []
    for flag, value in zip(arguments, [*arguments[1:], ""], strict=True):
        name, _, joined = flag.partition("=")
        if name in _CONFIG_FLAGS:
            found += [flag] if joined else [flag, value]
    return found


def by_key(overrides: Sequence[str]) -> dict[str, str]:
    """Return overrides by the keys and groups that they set."""
    parsed = zip(map(_parsed, overrides), overrides, strict=True)
    return {found.key_or_group: text for found, text in parsed if found is not None}


def _check_text(argument: str) -> None:
    try:
        argument.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"an argument must be UTF-8 text, got {ascii(argument)[:80]}; write it again") from None
    broken = next((character for character in argument if not character.isprintable()), None)
    if broken is not None:
        raise ConfigError(
            f"an argument must hold printable characters, got {broken!a} in {ascii(argument)[:80]}; leave it out"
        )
    if len(argument) > _LONGEST:
        raise ConfigError(
            f"an argument has at most {_LONGEST} characters, got {len(argument)}; put it into a file for --config-dir"
        )
    depth = deepest = 0
    for character in argument:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    if deepest > _DEEPEST:
        raise ConfigError(f"brackets go at most {_DEEPEST} deep, got {deepest} in {argument[:40]}...; leave some out")


def _check_files(folder: str | None) -> None:
    """Look for aliases without end in the user's own configurations; what else is wrong with one, Hydra says."""
    for path in sorted(Path(folder).rglob("*.yaml"))[:_FILES] if folder else ():
        with contextlib.suppress(OSError, UnicodeDecodeError, RecursionError, yaml.YAMLError):
            try:
                check_aliases(path.read_text(encoding="utf-8"))
            except DamagedError as error:
                raise ConfigError(
                    f"{path} must be a configuration that ends, got one of which {error}; repair it"
                ) from error


def _quoted(argument: str) -> str:
    """Put quotes around an expression, as function=exp(-x) would be a call in Hydra's grammar."""
    name, given, value = argument.partition("=")
    if name != "function" or not given or re.fullmatch(r"[\w,]*|[\"'].*", value):
        return argument
    return f'function="{value}"'


class _Refused(Exception):  # noqa: N818  (what argparse says, on its way to a ConfigError)
    pass


def _flags(arguments: Sequence[str]) -> argparse.Namespace:
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise _Refused(message)

    parser.error = refuse  # type: ignore[method-assign]
    try:
        return parser.parse_args([argument for argument in arguments if argument != "--version"])
    except _Refused as error:
        raise ConfigError(f"{error}; overrides are KEY=VALUE, `edgesearch --hydra-help` lists the flags") from None


def _parsed(override: str) -> Override | None:
    """None where Hydra will say what is wrong with it."""
    try:
        return OverridesParser.create().parse_override(override)
    except HydraException:
        return None


def _check_sweep(overrides: Sequence[str]) -> None:
    count = math.prod(sweep_length(parsed) for parsed in map(_parsed, overrides) if parsed is not None)
    if count > POINTS:
        raise ConfigError(f"a sweep has at most {POINTS:,} points, got {count:,}; use task=search for large spaces")
