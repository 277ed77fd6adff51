"""From a trial's parameters to the configuration it trains."""

import copy
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgesearch.budget import Size, check_memory, excess, model_size
from edgesearch.cells.classifier import AnySpec
from edgesearch.config import BudgetConfig, Config, DataConfig, config_hash
from edgesearch.config.checks import check
from edgesearch.config.identity import flat
from edgesearch.data import Dataset, load_dataset, source_digest
from edgesearch.errors import ConfigError
from edgesearch.pipeline.folder import RunFolder
from edgesearch.pipeline.train import program_widths, spec_for
from edgesearch.search.space import Params, Space, Value, assign

Compose = Callable[[Sequence[str]], Config]
_NOT_REBUILT = ("task", "search", "study", "pick", "run", "budget", "logger", "progress", "finetune")


@dataclass(frozen=True)
class Proposal:
    """A trial's configuration, checked, with its data and model.

    `identity` names the training it stands for, whatever the parameters that led to it.
    """

    config: Config
    dataset: Dataset
    spec: AnySpec
    identity: str


class Configurations:
    """Makes configurations of a study's base and parameters; data sets are read once.

    Args:
        base: the configuration of the command.
        overrides: the command's own overrides.
        compose: composes a configuration from overrides.
        flags: Hydra's, which say where configurations are.
    """

    def __init__(
        self, base: Config, space: Space, overrides: Sequence[str], compose: Compose, flags: Sequence[str] = ()
    ) -> None:
        self.space = space
        self._base, self._overrides, self._compose = base, list(overrides), compose
        self._composed: dict[tuple[Value, ...], Config] = {}
        self._datasets: dict[str, Dataset] = {}
        self._flags = list(flags)
        self.content = source_digest(base.data)

    def check(self) -> None:
        """Read the data and compose every group, so that mistakes are found before a study begins.

        Raises:
            EdgesearchError: the data cannot be used, or a group has no such option.
        """
        self.dataset(self._base.data)
        for options in itertools.product(*(self.space.options(name) for name in self.space.groups)):
            self._group_base(options)

    def propose(self, params: Params) -> Proposal:
        """Return what a trial with these parameters trains.

        Raises:
            ConfigError: the parameters contradict each other, or need more memory than is free.
        """
        config = self._config(params)
        dataset = self.dataset(config.data)
        config.cell.wRank = _useful_rank(config, dataset, "wRank")
        config.cell.uRank = _useful_rank(config, dataset, "uRank")
        if config.cell.bidirectional:
            raise ConfigError("a bidirectional model has no integer program to search; set cell.bidirectional=false")
        spec = spec_for(config, dataset)
        check_memory(config, spec, len(dataset.train), len(dataset.validation))
        return Proposal(config, dataset, spec, config_hash(config, self.content))

    def dataset(self, data: DataConfig) -> Dataset:
        """Return the data set; augmentation does not change it."""
        key = repr(replace(data, augment=False, shift_steps=0, shift_features=0, noise=0.0))
        if key not in self._datasets:
            self._datasets[key] = load_dataset(data)
        return self._datasets[key]

    def command(self, config: Config, params: Params) -> str:
        """Return the command that trains a trial's configuration again, on its own and without a budget."""
        given = [o for o in self._overrides if o.lstrip("+~").split("=")[0].split(".")[0] not in _NOT_REBUILT]
        groups = [f"{name}={params[name]}" for name in self.space.groups]
        given = [o for o in given if o.split("=")[0] not in self.space.groups] + groups
        composed = self._compose(given)
        if composed.task.name != "train":
            given.append("task=train")
        now, wanted = flat(composed), flat(_unlimited(config))
        changed = [f"{key}={_text(value)}" for key, value in wanted.items() if now[key] != value]
        kept = [o for o in given if o.split("=")[0] not in {line.split("=")[0] for line in changed}]
        return " ".join(["python -m edgesearch", *self._flags, *kept, *changed])

    def rebuilt(self, config: Config) -> Path:
        """Return the run folder of that command."""
        return RunFolder.of(_unlimited(config), self.content).path

    def _config(self, params: Params) -> Config:
        base = self._group_base(tuple(params[name] for name in self.space.groups))
        config = copy.deepcopy(base)
        for key, value in params.items():
            if key not in self.space.groups and key not in _absent(base):
                assign(config, key, value)
        check(config)
        return config

    def _group_base(self, options: tuple[Value, ...]) -> Config:
        if not options:
            return self._base
        if options not in self._composed:
            groups = self.space.groups
            kept = [o for o in self._overrides if o.split("=")[0] not in groups]
            chosen = [f"{name}={option}" for name, option in zip(groups, options, strict=True)]
            found = self._compose([*kept, *chosen])
            found.task, found.run = self._base.task, None
            found.search, found.logger = self._base.search, self._base.logger
            self._composed[options] = found
        return self._composed[options]


def narrowest(proposal: Proposal, widths: Sequence[tuple[int, int]]) -> dict[str, float]:
    """Return by what fraction each limit of the budget is exceeded at the best of the widths, at most 0 if it fits."""
    config = proposal.config
    candidates = [excess(size_at(proposal, *bits), config.budget) for bits in widths]
    return min(candidates, key=lambda found: max(found.values(), default=0.0))


def size_at(proposal: Proposal, weight_bits: int, activation_bits: int) -> Size:
    """Return the closed-form size of a proposal's program."""
    quant = replace(proposal.config.quant, weight_bits=weight_bits, activation_bits=activation_bits)
    return model_size(proposal.spec, program_widths(quant, proposal.dataset))


def _absent(base: Config) -> tuple[str, ...]:
    """Keys that the cell has not: a space may name them for the sake of others."""
    if base.cell.channels is not None:
        return ("cell.wRank", "cell.uRank", "cell.gate_nonlinearity", "cell.update_nonlinearity")
    gate = ("cell.gate_nonlinearity",) if base.cell.name == "fastrnn" else ()
    return ("cell.channels", *gate)


def _useful_rank(config: Config, dataset: Dataset, name: str) -> int | None:
    """Return the rank, or None for full rank where it would not save parameters."""
    rank: int | None = getattr(config.cell, name)
    if rank is None:
        return None
    full, low = copy.copy(config.cell), copy.copy(config.cell)
    full.wRank = full.uRank = low.wRank = low.uRank = None
    setattr(low, name, rank)
    try:
        parameters = spec_for(replace(config, cell=low), dataset).parameters
    except ConfigError:  # (above min(D, H))
        return None
    return rank if parameters < spec_for(replace(config, cell=full), dataset).parameters else None


def _unlimited(config: Config) -> Config:
    return replace(config, budget=BudgetConfig("none", None, None, 0, 0, None))


def _text(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
