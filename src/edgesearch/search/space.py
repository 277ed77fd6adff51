"""The search space: keys of the configuration and what they may become, read from Hydra's sweep syntax."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any, get_args

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from edgesearch.config import Config
from edgesearch.config.load import key_rules, key_types, unknown_key
from edgesearch.errors import ConfigError
from edgesearch.search.sweeps import sweep_length

Value = bool | int | float | str | None
Params = dict[str, Any]
_GRID = 100_000
_SAME_DATA = ("data", "data.name", "data.path", "data.validation", "data.validation_by", "data.split_seed")
_FIXED = ("task", "search", "budget", "run", "study", "pick", "outputs_dir", "progress", "logger", "finetune", "export")


@dataclass(frozen=True)
class Space:
    """What is searched.

    Attributes:
        texts: each key as it was written.
        distributions: each key as Optuna takes it.
    """

    texts: dict[str, str]
    distributions: dict[str, BaseDistribution]

    @classmethod
    def parse(cls, space: Mapping[str, Any]) -> "Space":
        """Read `search.space`.

        Raises:
            ConfigError: an unknown key, one that a search must not change, or a text that is no sweep.
        """
        flat = _flat(space)
        if not flat:
            raise ConfigError("search.space must name a key, got none; see conf/search/tpe.yaml")
        texts = {key: "null" if value is None else str(value) for key, value in flat.items()}
        return cls(texts, {key: _distribution(key, value) for key, value in flat.items()})

    @property
    def groups(self) -> list[str]:
        """The keys that are configuration groups, such as `cell`."""
        return [key for key in self.distributions if is_dataclass(key_types()[key])]

    def options(self, key: str) -> list[Value]:
        """Return what a key may become, for one that has choices."""
        found = self.distributions[key]
        assert isinstance(found, CategoricalDistribution)
        return list(found.choices)

    def grid(self) -> list[Params]:
        """Return every combination, the last key changing fastest.

        Raises:
            ConfigError: a key may take any number of an interval, or there are too many combinations.
        """
        count = math.prod(len(values) for values in self._values())
        if count > _GRID:
            raise ConfigError(
                f"search=grid takes up to {_GRID:,} combinations, got {count:,}; leave some out of the space"
            )
        return [dict(zip(self.distributions, point, strict=True)) for point in itertools.product(*self._values())]

    def _values(self) -> list[list[Value]]:
        values: list[list[Value]] = []
        for key, found in self.distributions.items():
            if isinstance(found, CategoricalDistribution):
                values.append(list(found.choices))
            elif isinstance(found, IntDistribution):
                values.append(list(range(found.low, found.high + 1, found.step)))
            else:
                assert isinstance(found, FloatDistribution)
                if found.step is None:
                    raise ConfigError(
                        f"search=grid needs single values, got search.space.{key}={self.texts[key]}; give a choice(...)"
                    )
                count = round((found.high - found.low) / found.step)
                values.append([found.low + k * found.step for k in range(count + 1)])
        return values


def _flat(space: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested and dotted keys as dotted ones."""
    found: dict[str, Any] = {}
    for name, value in space.items():
        if value is None and is_dataclass(key_types().get(f"{prefix}{name}")):
            continue  # a group that an experiment takes out
        inner = _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
        twice = found.keys() & inner.keys()
        if twice:
            raise ConfigError(f"search.space.{min(twice)} is given nested and dotted; leave one of them out")
        found |= inner
    return found


def _distribution(key: str, value: Any) -> BaseDistribution:
    declared = key_types().get(key)
    if declared is None:
        raise ConfigError(f"search.space: {unknown_key(key)}")
    if "." in key and is_dataclass(declared):
        raise ConfigError(f"search.space.{key} holds keys of its own, got {value}; give search.space.{key}.KEY")
    if key.split(".")[0] in _FIXED or key in _SAME_DATA:
        raise ConfigError(f"search.space.{key} is the same for all trials of a study; take it out of search.space")
    found = (
        _choices(key, value if isinstance(value, list) else [value])
        if not isinstance(value, str)
        else _swept(key, value)
    )
    _check_range(key, found)
    return found


def _check_range(key: str, found: BaseDistribution) -> None:
    """Hold the choices, or both ends, to the rule of the key."""
    if isinstance(found, CategoricalDistribution):
        values = list(found.choices)
    else:
        assert isinstance(found, IntDistribution | FloatDistribution)
        values = [found.low, found.high]
    for value in values:
        broken = None if value is None or key not in key_rules() else key_rules()[key].broken_by(value)
        if broken:
            raise ConfigError(f"search.space.{key} must be {broken}, got {value}; see conf/ for its default")


def _swept(key: str, value: str) -> BaseDistribution:
    try:
        override: Override = OverridesParser.create().parse_override(f"{key}={value}")
        swept = override.value()
        if isinstance(swept, ChoiceSweep):
            return _choices(key, [_plain(item) for item in swept.list])
        if isinstance(swept, RangeSweep):
            if sweep_length(override) > _GRID:
                raise ValueError(f"a range has at most {_GRID:,} values, use interval(low, high)")
            return _range(key, swept, list(override.sweep_iterator()))
        if isinstance(swept, IntervalSweep):
            return _interval(key, swept)
        return _choices(key, [swept] if isinstance(swept, bool | int | float | str) else [])
    except (HydraException, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"search.space.{key} must be choice(a, b), range(start, stop, step), interval(low, high) or a list, got "
            f"{value}: {reason}"
        ) from error


def _choices(key: str, values: list[Any]) -> CategoricalDistribution:
    if not values or not all(value is None or isinstance(value, bool | int | float | str) for value in values):
        raise ConfigError(f"search.space.{key} must hold single values, got {values}; give it as choice(a, b)")
    for value in values:
        if not _accepts(key, value):
            raise ConfigError(f"search.space.{key} must hold values of {key}, got {value}; see conf/ for its default")
    return CategoricalDistribution(values)


def _accepts(key: str, value: Value) -> bool:
    """Tell whether a key of this type can have the value; a group's is the name of an option."""
    declared = key_types()[key]
    if is_dataclass(declared):
        return isinstance(value, str)
    types = get_args(declared) or (declared,)
    return type(value) in types or (type(value) is int and float in types)


def assign(config: Config, key: str, value: Value) -> None:
    """Set a dotted key.

    Raises:
        ConfigError: its group is null in this configuration.
    """
    *parents, name = key.split(".")
    node: Any = config
    for parent in parents:
        node = getattr(node, parent)
        if node is None:
            raise ConfigError(f"{key} can be set only where {parent} is not null; take it out of search.space")
    whole = type(value) is int and float in (get_args(key_types()[key]) or (key_types()[key],))
    setattr(node, name, float(value) if whole and value is not None else value)


def _plain(item: Any) -> Any:
    """A quoted string as a string."""
    return getattr(item, "text", item)


def _range(key: str, swept: RangeSweep, values: list[Any]) -> BaseDistribution:
    """Hydra's range leaves out its end."""
    numbers = sorted(float(value) for value in values)
    if not numbers:
        raise ValueError("it is empty")
    step = abs(float(swept.step or 1))
    if _integer(key) or all(isinstance(value, int) for value in values):
        return IntDistribution(int(numbers[0]), int(numbers[-1]), step=int(step))
    return FloatDistribution(numbers[0], numbers[-1], step=step)


def _interval(key: str, swept: IntervalSweep) -> BaseDistribution:
    log = "log" in swept.tags
    assert swept.start is not None
    assert swept.end is not None
    if _integer(key):
        return IntDistribution(round(swept.start), round(swept.end), log=log)
    return FloatDistribution(float(swept.start), float(swept.end), log=log)


def _integer(key: str) -> bool:
    declared = key_types()[key]
    return declared is int or int in get_args(declared)
